mod feed;
mod found;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libkv_core::{Error, ErrorKind};
use tokio::sync::watch;

use self::feed::Feed;
use crate::client::{Client, Span};
use crate::error::CONSUL;
use crate::mailbox::{Mailbox, Note};
use crate::rights::Rights;

/// All that a handle watches: one blocking query for each span, however many listen.
#[derive(Debug)]
pub(crate) struct Hub {
    shared: Arc<Shared>,
    /// Dropped with the handle, which ends the feeds too.
    end: watch::Sender<bool>,
}

/// What feeds need.
#[derive(Debug)]
struct Shared {
    client: Arc<Client>,
    rights: Arc<Rights>,
    feeds: Mutex<HashMap<Span, Arc<Feed>>>,
}

/// The state of a name that the listener knows already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// The modification index of the name; none where it is absent.
    pub(crate) modified: Option<u64>,
    /// The index at which it was so.
    pub(crate) index: u64,
}

/// Somebody who listens to a feed, until this is dropped.
#[derive(Debug)]
pub(crate) struct Subscription {
    feed: Arc<Feed>,
    mailbox: Arc<Mailbox>,
}

impl Hub {
    pub(crate) fn new(client: Arc<Client>, rights: Arc<Rights>) -> Self {
        let feeds = Mutex::default();
        Self { shared: Arc::new(Shared { client, rights, feeds }), end: watch::Sender::new(false) }
    }

    /// Listens to a span. Whoever is the first is told the state that is there as changes, and then
    /// that it is level; whoever comes later hears that it has begun, and looks at the state itself.
    pub(crate) fn listen(&self, span: Span, capacity: usize) -> Subscription {
        self.subscribe(span, capacity, None)
    }

    /// Listens to one name, whose state is known. Whoever is the first is told what is different
    /// from that; whoever comes later hears that it has begun, and looks at the state itself.
    pub(crate) fn listen_from(&self, name: String, capacity: usize, known: Known) -> Subscription {
        self.subscribe(Span::One(name), capacity, Some(known))
    }

    fn subscribe(&self, span: Span, capacity: usize, known: Option<Known>) -> Subscription {
        let mailbox = Arc::new(Mailbox::new(capacity));
        if *self.end.borrow() {
            mailbox.say(Note::Closed);
        }
        let mut feeds = self.shared.feeds();
        if let Some(feed) = feeds.get(&span)
            && feed.join(&mailbox)
        {
            return Subscription { feed: feed.clone(), mailbox };
        }
        let feed = Arc::new(Feed::new(span.clone(), mailbox.clone(), known));
        feeds.insert(span, feed.clone());
        tokio::spawn(feed::run(self.shared.clone(), feed.clone(), known, self.end.subscribe()));
        Subscription { feed, mailbox }
    }

    /// Ends all feeds; who listens is told.
    pub(crate) fn end(&self) {
        self.end.send_replace(true);
    }
}

impl Shared {
    fn feeds(&self) -> MutexGuard<'_, HashMap<Span, Arc<Feed>>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// The next note.
    ///
    /// # Cancel safety
    ///
    /// Safe: no note is lost.
    pub(crate) async fn next(&mut self) -> Note {
        poll_fn(|cx| self.mailbox.poll(cx)).await
    }

    /// The index up to which the feed knows what is there, and so will say when that is gone.
    pub(crate) fn known(&self) -> Option<u64> {
        self.feed.known()
    }

    /// Takes changes again after a [`Note::Lagged`].
    pub(crate) fn listen_again(&self) {
        self.mailbox.listen_again();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.leave(&self.mailbox);
    }
}

/// The error of a handle that was closed.
pub(crate) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, CONSUL, operation)
}
