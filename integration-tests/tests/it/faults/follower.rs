//! A consumer that believes what a watch says.

use std::collections::BTreeMap;
use std::sync::Mutex;

use libkv_core::{Event, EventStream, Key, KvPair, ResyncReason, Store, WatchOptions, WatchTarget};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::writer::{DIR, Marker};
use super::{Stored, soon};

const ROOM: usize = 1 << 20;

/// A change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) index: u64,
    pub(crate) was: Option<String>,
    /// The value that was put; none where it was deleted.
    pub(crate) now: Option<String>,
}

/// What a consumer was told so far.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) state: BTreeMap<Key, KvPair>,
    /// The changes since the first `Synced`.
    pub(crate) changes: Vec<Change>,
    pub(crate) resyncs: Vec<(ResyncReason, bool)>,
    /// The index of the first `Synced`.
    pub(crate) begun: Option<u64>,
    /// The index of what was told last of each key.
    pub(crate) last: BTreeMap<Key, u64>,
    synced: bool,
    ended: Option<String>,
}

/// A consumer that takes events as fast as they come.
#[derive(Debug)]
pub(crate) struct Follower {
    told: watch::Receiver<Told>,
    /// How many changes were taken as news, and up to which index.
    taken: Mutex<(usize, Option<u64>)>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Watches the whole directory. What happened while it was cut off comes all at once, and has
    /// room.
    pub(crate) fn watch(store: &impl Store) -> Self {
        let tree = WatchTarget::Tree(integration_tests::key(DIR));
        Self::of(store.watch_opts(&tree, WatchOptions::default().with_buffer(ROOM)))
    }

    pub(crate) fn of(mut events: EventStream) -> Self {
        let (tell, told) = watch::channel(Told::default());
        let task = tokio::spawn(async move {
            while let Some(item) = events.next().await {
                tell.send_modify(|told| match item {
                    Ok(event) => told.apply(event),
                    Err(error) => told.ended = Some(error.to_string()),
                });
            }
        });
        Self { told, taken: Mutex::default(), task }
    }

    /// Waits until what was told is so, and looks at it.
    #[track_caller]
    pub(crate) fn until(
        &self,
        what: &str,
        is_so: impl Fn(&Told) -> bool + Send + Sync,
    ) -> impl Future<Output = ()> {
        let mut told = self.told.clone();
        soon(what, async move {
            let told = told.wait_for(|told| told.ended.is_some() || is_so(told)).await;
            let told = told.expect("the consumer goes on");
            assert!(told.ended.is_none(), "the watch ended: {:?}", told.ended);
        })
    }

    /// Waits until the first state was told.
    #[track_caller]
    pub(crate) fn until_begun(&self) -> impl Future<Output = ()> {
        self.until("the watch begins", |told| told.begun.is_some())
    }

    /// Waits until a key has this value.
    #[track_caller]
    pub(crate) fn until_marked(&self, marker: &Marker) -> impl Future<Output = ()> {
        let Marker { key, index } = marker.clone();
        let last = move |told: &Told| told.state.get(&key).map(KvPair::last_index) >= Some(index);
        self.until("the newest write is told", last)
    }

    pub(crate) fn look<T>(&self, at: impl FnOnce(&Told) -> T) -> T {
        at(&self.told.borrow())
    }

    /// The changes since this was asked the last time, and the index that they come after.
    pub(crate) fn news(&self) -> (Option<u64>, Vec<Change>) {
        let mut taken = self.taken.lock().unwrap();
        let (begun, news) = self.look(|told| (told.begun, told.changes[taken.0..].to_vec()));
        let after = taken.1.or(begun);
        if let Some(last) = news.last() {
            *taken = (taken.0 + news.len(), Some(last.index));
        }
        (after, news)
    }

    /// Compares the consumer's state with the server's.
    pub(crate) fn assert_state(&self, there: &[Stored]) {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let there: BTreeMap<_, _> = there
            .iter()
            .map(|stored| (stored.name.clone(), (stored.changed, text(&stored.value))))
            .collect();
        let told: BTreeMap<_, _> = self.look(|told| {
            let pairs = told.state.values();
            pairs
                .map(|pair| (pair.key.to_string(), (pair.last_index(), text(&pair.value))))
                .collect()
        });
        assert_eq!(told, there, "what was told, and what is there");
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Told {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Put(pair) => {
                let was = self.state.insert(pair.key.clone(), pair.clone());
                self.change(&pair.key, pair.last_index(), was, Some(&pair));
            }
            Event::Delete { key, last_index } => {
                let was = self.state.remove(&key);
                assert!(was.is_some(), "{key} was not there");
                self.change(&key, last_index, was, None);
            }
            Event::Synced { index } => {
                self.begun.get_or_insert(index);
                self.synced = true;
            }
            Event::Resync { reason, complete } => {
                if complete {
                    self.state.clear();
                }
                if reason == ResyncReason::HistoryRewound {
                    self.last.clear();
                }
                self.synced = false;
                self.resyncs.push((reason, complete));
            }
            other => panic!("{other:?} is new"),
        }
    }

    fn change(&mut self, key: &Key, index: u64, was: Option<KvPair>, now: Option<&KvPair>) {
        let last = self.last.insert(key.clone(), index).unwrap_or_default();
        assert!(last <= index && (last < index || !self.synced), "{key} went back");
        if self.synced {
            let text = |pair: &KvPair| String::from_utf8_lossy(&pair.value).into_owned();
            let (was, now) = (was.as_ref().map(text), now.map(text));
            self.changes.push(Change { name: key.to_string(), index, was, now });
        }
    }
}
