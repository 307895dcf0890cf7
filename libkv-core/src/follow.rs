use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::{Event, EventStream, Key, KvPair, Result};

/// The whole sorted listing of a directory, at first and after each change: a [`Stream`] of
/// `Result<Vec<KvPair>>`.
///
/// Changes of one index that arrive together, as those of a transaction do, make one listing. While
/// a watch makes good what it may have missed, nothing is given out; the listing after it is whole
/// again. It holds the listing in memory.
///
/// # Cancel safety
///
/// Dropping the stream ends the watch. Dropping the future of [`next`](Self::next) loses nothing.
#[must_use = "a watch does nothing until it is polled"]
pub struct ListingStream {
    events: EventStream,
    pairs: BTreeMap<Key, KvPair>,
    synced: bool,
    /// What came after the change that is being given out.
    ahead: Option<Option<Result<Event>>>,
}

impl ListingStream {
    pub(crate) fn new(events: EventStream) -> Self {
        Self { events, pairs: BTreeMap::new(), synced: false, ahead: None }
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
            let item = match self.ahead.take() {
                Some(item) => item,
                None => std::task::ready!(Pin::new(&mut self.events).poll_next(cx)),
            };
            let event = match item {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            let index = event.index();
            let due = self.apply(event);
            if let Poll::Ready(next) = Pin::new(&mut self.events).poll_next(cx) {
                let same = next.as_ref().and_then(|next| next.as_ref().ok()?.index()) == index;
                self.ahead = Some(next);
                if same && index.is_some() {
                    continue;
                }
            }
            if due {
                let listing = self.pairs.values().cloned().collect();
                return Poll::Ready(Some(Ok(listing)));
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;
    use crate::{BackendName, Error, ErrorKind, LifetimeKind, ResyncReason, Version};

    const TOY: BackendName = BackendName::new("toy");

    fn put(key: &str, index: u64) -> Result<Event> {
        let (key, version) = (Key::new(key).unwrap(), Version::new(TOY, index));
        Ok(Event::Put(KvPair::new(key, Bytes::new(), version, LifetimeKind::Permanent)))
    }

    fn delete(key: &str, last_index: u64) -> Result<Event> {
        Ok(Event::Delete { key: Key::new(key).unwrap(), last_index })
    }

    async fn listings(items: Vec<Result<Event>>) -> Vec<String> {
        let mut stream = ListingStream::new(EventStream::new(stream::iter(items)));
        let mut seen = Vec::new();
        while let Some(listing) = stream.next().await {
            seen.push(match listing {
                Ok(pairs) => {
                    pairs.iter().map(|pair| pair.key.as_str()).collect::<Vec<_>>().join(" ")
                }
                Err(error) => error.kind().to_string(),
            });
        }
        seen
    }

    #[tokio::test]
    async fn each_change_makes_a_listing_and_a_transaction_makes_one() {
        let synced = || Ok(Event::Synced { index: 2 });
        let seen = listings(vec![
            put("a", 1),
            put("b", 2),
            synced(),
            put("c", 3),
            put("d", 4),
            delete("a", 4),
            delete("b", 5),
        ]);
        assert_eq!(seen.await, ["a b", "a b c", "b c d", "c d"]);
    }

    #[tokio::test]
    async fn nothing_is_given_out_while_a_gap_is_made_good() {
        let resync = Ok(Event::Resync { reason: ResyncReason::Lagged, complete: true });
        let lost = Err(Error::new(ErrorKind::PermissionDenied, TOY, "watch"));
        let seen = listings(vec![
            put("a", 1),
            Ok(Event::Synced { index: 1 }),
            resync,
            put("b", 8),
            put("c", 9),
            Ok(Event::Synced { index: 9 }),
            lost,
        ]);
        assert_eq!(seen.await, ["a", "b c", "permission denied"]);
    }
}
