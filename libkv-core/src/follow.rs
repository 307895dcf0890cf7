use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::{Event, EventStream, Key, KvPair, Result};

/// The whole sorted listing of a directory, at first and after each change: a [`Stream`] of
/// `Result<Vec<KvPair>>`.
///
/// While a watch makes good what it may have missed, nothing is given out; the listing after it is
/// whole again. It holds the listing in memory.
///
/// # Cancel safety
///
/// Dropping the stream ends the watch. Dropping the future of [`next`](Self::next) loses nothing.
#[must_use = "a watch does nothing until it is polled"]
pub struct ListingStream {
    events: EventStream,
    pairs: BTreeMap<Key, KvPair>,
    synced: bool,
}

impl ListingStream {
    pub(crate) fn new(events: EventStream) -> Self {
        Self { events, pairs: BTreeMap::new(), synced: false }
    }

    /// The next listing; `None` after the error that ended the watch.
    ///
    /// # Errors
    ///
    /// What ended the watch.
    ///
    /// # Cancel safety
    ///
    /// Safe: no listing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Vec<KvPair>>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Applies an event and tells whether there is a listing to give out.
    fn apply(&mut self, event: Event) -> bool {
        match event {
            Event::Put(pair) => {
                self.pairs.insert(pair.key.clone(), pair);
            }
            Event::Delete { key, .. } => {
                self.pairs.remove(&key);
            }
            Event::Synced { .. } => self.synced = true,
            Event::Resync { complete, .. } => {
                self.synced = false;
                if complete {
                    self.pairs.clear();
                }
            }
        }
        self.synced
    }
}

impl Stream for ListingStream {
    type Item = Result<Vec<KvPair>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.events).poll_next(cx)) {
                Some(Ok(event)) => {
                    if self.apply(event) {
                        let listing = self.pairs.values().cloned().collect();
                        return Poll::Ready(Some(Ok(listing)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for ListingStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListingStream")
            .field("pairs", &self.pairs.len())
            .field("synced", &self.synced)
            .finish()
    }
}

/// Runs the ancestor's `WatchCallback` over the stream.
pub(crate) async fn on_change(
    mut listings: ListingStream,
    mut callback: impl FnMut(&[KvPair]) + Send,
) -> Result<()> {
    while let Some(listing) = listings.next().await {
        callback(&listing?);
    }
    Ok(())
}
