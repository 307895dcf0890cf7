mod stream;
mod task;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use etcd_client::{WatchOptions, WatchResponse};
use libkv_core::{Error, ErrorKind};
use tokio::sync::mpsc;

use self::task::Task;
use crate::cluster::Cluster;
use crate::error::ETCD;
use crate::mailbox::{Mailbox, Note, Overflow};
use crate::names::Span;

/// All watches of a handle on one stream, so that thousands cost as much as one.
///
/// Watches that begin in the past have a second stream: the server says when all watches of a
/// stream are level, and does not while one of them waits for a revision that is yet to come.
#[derive(Debug)]
pub(crate) struct Hub {
    now: mpsc::UnboundedSender<Order>,
    past: mpsc::UnboundedSender<Order>,
    last_id: AtomicI64,
    /// The newest revision that a watch from now on depends on.
    newest: Arc<AtomicI64>,
}

/// One watch of the hub. Dropping it cancels the watch, at the server too.
#[derive(Debug)]
pub(crate) struct Subscription {
    id: i64,
    mailbox: Arc<Mailbox>,
    orders: mpsc::UnboundedSender<Order>,
}

#[derive(Debug)]
enum Order {
    Open(i64, Watch),
    Level(i64, i64),
    Cancel(i64),
    End,
}

/// A watch as the task knows it.
#[derive(Debug)]
struct Watch {
    span: Span,
    /// The revision to go on from; none before the server has begun to watch "now".
    next: Option<i64>,
    /// It began in the past, and is never to wait for a revision that is yet to come.
    past: bool,
    opened: bool,
    mailbox: Arc<Mailbox>,
}

impl Hub {
    /// Starts the tasks. They end with the last of the hub and its subscriptions.
    pub(crate) fn start(cluster: &Arc<Cluster>) -> Self {
        let newest = Arc::<AtomicI64>::default();
        let now = Task::start(cluster.clone(), newest.clone());
        let past = Task::start(cluster.clone(), Arc::default());
        Self { now, past, last_id: AtomicI64::new(0), newest }
    }

    /// A consumer depends on the server's history up to this revision, and is to be told if it goes
    /// back.
    pub(crate) fn saw(&self, revision: i64) {
        self.newest.fetch_max(revision, Ordering::Relaxed);
    }

    /// Watches `span` from now on. `buffer` is how many changes may wait.
    pub(crate) fn open(&self, span: Span, buffer: usize) -> Subscription {
        let mailbox = Arc::new(Mailbox::new(buffer, Overflow::DropAll));
        let watch = Watch { span, next: None, past: false, opened: false, mailbox };
        self.begin(&self.now, watch)
    }

    /// Watches `span` from the revision `start` on, which is past or the next.
    pub(crate) fn open_past(&self, span: Span, start: i64, buffer: usize) -> Subscription {
        let mailbox = Arc::new(Mailbox::new(buffer, Overflow::KeepWaiting));
        let watch = Watch { span, next: Some(start), past: true, opened: false, mailbox };
        self.begin(&self.past, watch)
    }

    fn begin(&self, orders: &mpsc::UnboundedSender<Order>, watch: Watch) -> Subscription {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let mailbox = watch.mailbox.clone();
        if orders.send(Order::Open(id, watch)).is_err() {
            mailbox.say(Note::Closed);
        }
        Subscription { id, mailbox, orders: orders.clone() }
    }

    /// Ends all watches.
    pub(crate) fn end(&self) {
        let _ = self.now.send(Order::End);
        let _ = self.past.send(Order::End);
    }
}

impl Subscription {
    /// The next note.
    pub(crate) async fn next(&mut self) -> Note {
        poll_fn(|cx| self.mailbox.poll(cx)).await
    }

    /// Asks for a [`Note::Level`] once all changes up to `revision` have been said.
    pub(crate) fn ask_level(&self, revision: i64) {
        let _ = self.orders.send(Order::Level(self.id, revision));
    }

    /// From now on a consumer that is too slow must look at the state again.
    pub(crate) fn be_strict(&self) {
        self.mailbox.be_strict();
    }

    /// Takes changes again after a [`Note::Lagged`].
    pub(crate) fn listen_again(&self) {
        self.mailbox.listen_again();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // The task may have ended, and with it the watch.
        let _ = self.orders.send(Order::Cancel(self.id));
    }
}

/// What is sent on a stream.
#[derive(Debug)]
enum Request {
    Watch(i64, Vec<u8>, WatchOptions),
    Cancel(i64),
    Progress,
}

impl Watch {
    fn request(&self, id: i64) -> Request {
        let mut options = WatchOptions::new().with_watch_id(id);
        if let Some(end) = &self.span.end {
            options = options.with_range(end.clone());
        }
        if let Some(next) = self.next {
            // What is before `next` is left out when it comes.
            let start = if self.past { (next - 1).max(1) } else { next };
            options = options.with_start_revision(start);
        }
        Request::Watch(id, self.span.from.clone(), options)
    }

    /// Passes on changes. What was passed on before, what is from before the start, and what is
    /// outside of the range is left out: servers have sent each of these.
    fn tell(&mut self, message: WatchResponse) {
        let next = self.next.unwrap_or_default();
        let mut events = message.0.events;
        events.retain(|event| {
            let kv = event.kv.as_ref();
            kv.is_some_and(|kv| kv.mod_revision >= next && self.span.holds(&kv.key))
        });
        let last = events.last().and_then(|event| event.kv.as_ref());
        let Some(last) = last.map(|kv| kv.mod_revision) else {
            return;
        };
        self.next = Some(last + 1);
        self.mailbox.add(events.into_iter());
    }
}

/// The error of a watch on a closed handle.
pub(crate) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, ETCD, operation)
}
