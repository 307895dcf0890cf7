use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::{Error, Key, KvPair, Result, Version};

/// What a watch looks at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a backend must decide about every kind of target")]
pub enum WatchTarget {
    /// One key.
    Key(Key),
    /// All keys below a directory, without the directory itself.
    Tree(Key),
}

impl WatchTarget {
    /// The key or the directory.
    pub fn key(&self) -> &Key {
        match self {
            Self::Key(key) | Self::Tree(key) => key,
        }
    }

    /// Whether a change of `key` is to be reported.
    pub fn covers(&self, key: &Key) -> bool {
        match self {
            Self::Key(target) => target == key,
            Self::Tree(dir) => key.is_below(dir),
        }
    }
}

/// One item of a watch.
///
/// Applying `Put` and `Delete` in order always ends in the state of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The key has this state now.
    Put(KvPair),
    /// The key is gone.
    Delete {
        /// The key.
        key: Key,
        /// The index of the delete, or an upper bound of it where the server does not tell.
        last_index: u64,
    },
    /// Everything up to this index has been delivered.
    Synced {
        /// The store's index.
        index: u64,
    },
    /// Something may have been missed. What follows up to the next `Synced` makes it good.
    Resync {
        /// Why.
        reason: ResyncReason,
        /// Whether the whole state follows as `Put`s, so that keys not named are gone. Otherwise
        /// the difference follows as `Put`s and `Delete`s.
        complete: bool,
    },
}

impl Event {
    /// The index of a change; none for what is no change.
    pub fn index(&self) -> Option<u64> {
        match self {
            Self::Put(pair) => Some(pair.last_index()),
            Self::Delete { last_index, .. } => Some(*last_index),
            Self::Synced { .. } | Self::Resync { .. } => None,
        }
    }
}

/// Why a watch had to look at the state of the store again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ResyncReason {
    /// The consumer was slower than its buffer allows.
    #[error("the consumer fell behind its buffer")]
    Lagged,
    /// The connection was lost and came back.
    #[error("the connection was lost")]
    Reconnected,
    /// The session was lost and a new one opened.
    #[error("the session was lost")]
    SessionLost,
    /// The history that the watch needed is no longer there.
    #[error("the history was compacted")]
    Compacted,
    /// The server's history went back, as after restoring a backup.
    #[error("the server's history went back")]
    HistoryRewound,
}

/// The stream of a watch: owned, in order, and ended by its first error.
///
/// It is a [`Stream`] of `Result<Event>`. An `Err` is the last item.
///
/// # Cancel safety
///
/// Dropping the stream ends the watch. Dropping the future of [`next`](Self::next) loses nothing.
#[must_use = "a watch does nothing until it is polled"]
pub struct EventStream {
    inner: Option<Pin<Box<dyn Stream<Item = Result<Event>> + Send>>>,
}

impl EventStream {
    /// Wraps a backend's stream.
    pub fn new(inner: impl Stream<Item = Result<Event>> + Send + 'static) -> Self {
        Self { inner: Some(Box::pin(inner)) }
    }

    /// A watch that could not begin.
    pub fn failed(error: Error) -> Self {
        Self::new(futures_util::stream::iter([Err(error)]))
    }

    /// The next event; `None` after the error that ended the watch.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` when the right to read is lost, `Closed` when the handle was closed, and
    /// whatever else ends the watch.
    ///
    /// # Cancel safety
    ///
    /// Safe: no event is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for EventStream {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let item = std::task::ready!(inner.as_mut().poll_next(cx));
        if !matches!(item, Some(Ok(_))) {
            self.inner = None;
        }
        Poll::Ready(item)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("ended", &self.inner.is_none()).finish()
    }
}

/// What a watcher has told its consumer so far: the version of every key that is there.
///
/// After a gap, [`diff`] compares it with the state of the store.
pub type Picture = BTreeMap<Key, Version>;

/// The events that turn the picture `old` into the listing `new`, both in ascending order of keys.
///
/// A key whose version is the same gives nothing; a delete and re-creation in between is one `Put`.
/// `last_index` is what deletes report, since a listing does not tell when a key went.
pub fn diff<'a>(
    old: &Picture,
    new: impl IntoIterator<Item = &'a KvPair>,
    last_index: u64,
) -> Vec<Event> {
    let gone = |key: &Key| Event::Delete { key: key.clone(), last_index };
    let mut old = old.iter().peekable();
    let mut events = Vec::new();
    for pair in new {
        while let Some((key, _)) = old.next_if(|(key, _)| **key < pair.key) {
            events.push(gone(key));
        }
        let known = old.next_if(|(key, _)| **key == pair.key).map(|(_, version)| *version);
        if known != Some(pair.version) {
            events.push(Event::Put(pair.clone()));
        }
    }
    events.extend(old.map(|(key, _)| gone(key)));
    events
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{BackendName, ErrorKind, LifetimeKind};

    const MEM: BackendName = BackendName::new("mem");

    fn pair(key: &str, index: u64) -> KvPair {
        let key = Key::new(key).unwrap();
        KvPair::new(key, Bytes::new(), Version::new(MEM, index), LifetimeKind::Permanent)
    }

    fn picture(pairs: &[KvPair]) -> Picture {
        pairs.iter().map(|pair| (pair.key.clone(), pair.version)).collect()
    }

    #[test]
    fn diff_names_what_came_changed_and_went_in_key_order() {
        let old = picture(&[pair("a", 1), pair("b", 2), pair("c", 3)]);
        let new = [pair("a", 1), pair("b", 5), pair("d", 6)];
        let events = diff(&old, &new, 9);
        let gone = Event::Delete { key: Key::new("c").unwrap(), last_index: 9 };
        assert_eq!(events, [Event::Put(pair("b", 5)), gone, Event::Put(pair("d", 6))]);
    }

    #[tokio::test]
    async fn nothing_follows_an_error() {
        let error = || Error::new(ErrorKind::PermissionDenied, MEM, "watch");
        let items = [Ok(Event::Synced { index: 1 }), Err(error()), Ok(Event::Synced { index: 2 })];
        let mut events = EventStream::new(futures_util::stream::iter(items));
        assert!(events.next().await.unwrap().is_ok());
        assert!(events.next().await.unwrap().is_err());
        assert!(events.next().await.is_none());
        assert!(events.next().await.is_none());
    }

    proptest! {
        #[test]
        fn a_diff_applied_gives_the_new_state(
            old in prop::collection::btree_map("[a-e](/[a-e]){0,2}", 1u64..4, 0..12),
            new in prop::collection::btree_map("[a-e](/[a-e]){0,2}", 1u64..4, 0..12),
        ) {
            let pairs = |map: &BTreeMap<String, u64>| -> Vec<KvPair> {
                map.iter().map(|(key, index)| pair(key, *index)).collect()
            };
            let (old, new) = (pairs(&old), pairs(&new));
            let mut state = picture(&old);
            for event in diff(&state, &new, 7) {
                match event {
                    Event::Put(pair) => {
                        prop_assert_ne!(state.insert(pair.key, pair.version), Some(pair.version));
                    }
                    Event::Delete { key, .. } => prop_assert!(state.remove(&key).is_some()),
                    other => prop_assert!(false, "{other:?} in a diff"),
                }
            }
            prop_assert_eq!(state, picture(&new));
        }
    }
}
