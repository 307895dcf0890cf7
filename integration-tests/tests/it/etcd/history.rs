//! A consumer that believes what a watch says, a writer to watch, and the server's own history to
//! compare both with.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_client::{EventType, WatchOptions as ClientWatch};
use libkv_core::{
    Event, EventStream, Key, KvPair, ResyncReason, Store, StoreExt, WatchOptions, WatchTarget,
};
use libkv_etcd::EtcdStore;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::disturbed::{Truth, soon};

/// What everything here is below.
pub(super) const DIR: &str = "d";
/// How many keys are written to: few enough that each is often deleted and made again.
const KEYS: usize = 40;
const ROOM: usize = 1 << 20;

/// A change of a key: its name, its revision, and whether it was put.
pub(super) type Change = (String, u64, bool);

/// What a consumer was told so far.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) state: BTreeMap<Key, KvPair>,
    /// The changes since the first `Synced`.
    pub(super) changes: Vec<Change>,
    pub(super) resyncs: Vec<(ResyncReason, bool)>,
    /// The index of the first `Synced`.
    pub(super) begun: Option<u64>,
    synced: bool,
    last: BTreeMap<Key, u64>,
    ended: Option<String>,
}

/// A consumer that takes events as fast as they come.
#[derive(Debug)]
pub(super) struct Follower {
    told: watch::Receiver<Told>,
    /// How many changes were compared with the server's history, and up to which revision.
    checked: Mutex<(usize, Option<u64>)>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Watches the whole directory. What happened while it was cut off comes all at once, and has
    /// room.
    pub(super) fn watch(store: &EtcdStore) -> Self {
        let tree = WatchTarget::Tree(integration_tests::key(DIR));
        Self::of(store.watch_opts(&tree, WatchOptions::default().with_buffer(ROOM)))
    }

    pub(super) fn of(mut events: EventStream) -> Self {
        let (tell, told) = watch::channel(Told::default());
        let task = tokio::spawn(async move {
            while let Some(item) = events.next().await {
                tell.send_modify(|told| match item {
                    Ok(event) => told.apply(event),
                    Err(error) => told.ended = Some(error.to_string()),
                });
            }
        });
        Self { told, checked: Mutex::default(), task }
    }

    /// Waits until what was told is so, and looks at it.
    #[track_caller]
    pub(super) fn until(
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

    /// Waits until a key has this value.
    #[track_caller]
    pub(super) fn until_marked(&self, marker: &Marker) -> impl Future<Output = ()> {
        let Marker { key, revision } = marker.clone();
        let last =
            move |told: &Told| told.state.get(&key).map(KvPair::last_index) >= Some(revision);
        self.until("the newest write is told", last)
    }

    pub(super) fn look<T>(&self, at: impl FnOnce(&Told) -> T) -> T {
        at(&self.told.borrow())
    }

    /// Compares the consumer's state with the server's.
    pub(super) async fn assert_converged(&self, truth: &Truth) {
        let there: BTreeMap<_, _> = truth
            .below(&format!("{DIR}/"))
            .await
            .into_iter()
            .map(|kv| {
                let value = String::from_utf8(kv.value).unwrap();
                (String::from_utf8(kv.key).unwrap(), (kv.mod_revision.unsigned_abs(), value))
            })
            .collect();
        let told: BTreeMap<_, _> = self.look(|told| {
            let pairs = told.state.values().map(|pair| {
                let value = String::from_utf8(pair.value.to_vec()).unwrap();
                (pair.key.to_string(), (pair.last_index(), value))
            });
            pairs.collect()
        });
        assert_eq!(told, there, "what was told, and what is there");
    }

    /// Compares all that was told since the last time with the server's own history: everything once
    /// and in order, and never a word that something may have been missed.
    pub(super) async fn assert_all_told(&self, truth: &Truth) {
        let (count, revision) = *self.checked.lock().unwrap();
        let (begun, changes, resyncs) =
            self.look(|told| (told.begun, told.changes[count..].to_vec(), told.resyncs.clone()));
        assert_eq!(resyncs, [], "nothing was missed");
        // Who began to watch late may have found all of it.
        let Some((_, last, _)) = changes.last() else { return };
        let history = history(truth, revision.or(begun).unwrap() + 1, *last).await;
        *self.checked.lock().unwrap() = (count + changes.len(), Some(*last));
        if let Some(at) =
            (0..changes.len().max(history.len())).find(|at| changes.get(*at) != history.get(*at))
        {
            let around = |all: &[Change]| all[at.min(all.len())..(at + 3).min(all.len())].to_vec();
            panic!(
                "of {} changes, from number {at}: told {:?}, happened {:?}",
                history.len(),
                around(&changes),
                around(&history)
            );
        }
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
                self.change(&pair.key, pair.last_index(), true);
                self.state.insert(pair.key.clone(), pair);
            }
            Event::Delete { key, last_index } => {
                self.change(&key, last_index, false);
                assert!(self.state.remove(&key).is_some(), "{key} was not there");
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

    fn change(&mut self, key: &Key, index: u64, put: bool) {
        let last = self.last.insert(key.clone(), index).unwrap_or_default();
        assert!(last <= index && (last < index || !self.synced), "{key} went back");
        if self.synced {
            self.changes.push((key.to_string(), index, put));
        }
    }
}

/// What happened below the directory from one revision to another, as the server has it.
async fn history(truth: &Truth, from: u64, to: u64) -> Vec<Change> {
    let options = ClientWatch::new().with_prefix().with_start_revision(from.cast_signed());
    let mut events = truth.client().watch(format!("{DIR}/"), Some(options)).await.unwrap();
    let mut changes: Vec<Change> = Vec::new();
    soon("the server tells its history", async {
        while changes.last().is_none_or(|(_, revision, _)| *revision < to) {
            let message = events.message().await.unwrap().expect("the history goes on");
            assert!(!message.canceled(), "{}", message.cancel_reason());
            changes.extend(message.events().iter().map(|event| {
                let kv = event.kv().unwrap();
                let revision = kv.mod_revision().unsigned_abs();
                (kv.key_str().unwrap().to_owned(), revision, event.event_type() == EventType::Put)
            }));
        }
    })
    .await;
    changes.retain(|(_, revision, _)| *revision <= to);
    changes
}

/// Puts and deletes keys as fast as the server takes it.
#[derive(Debug)]
pub(super) struct Writer {
    done: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Begins to write, on a handle of its own that is not disturbed by what disturbs the watch.
    pub(super) fn start(store: EtcdStore, seed: u64) -> Self {
        let (done, ending) = <(Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let (count, ends) = (done.clone(), ending.clone());
        let task = tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            for number in 0_u64.. {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let key = format!("{DIR}/{:02}", random.usize(..KEYS));
                let written = match random.u8(..4) {
                    0 => store.delete(key).await,
                    _ => store.put(key, number.to_string()).await.map(drop),
                };
                let rest = match written {
                    Ok(()) => {
                        count.fetch_add(1, Ordering::Relaxed);
                        None
                    }
                    Err(error) if error.kind() == libkv_core::ErrorKind::KeyNotFound => None,
                    // The server may be away.
                    Err(_) => Some(Duration::from_millis(5)),
                };
                if let Some(rest) = rest {
                    tokio::time::sleep(rest).await;
                }
            }
        });
        Self { done, ending, task }
    }

    /// Waits for so many more writes.
    #[track_caller]
    pub(super) fn more(&self, count: u64) -> impl Future<Output = ()> {
        let wanted = self.count() + count;
        super::disturbed::until("the writer writes", async move || self.count() >= wanted)
    }

    /// Ends it, and says how much it wrote. Nothing of it is on its way any more.
    pub(super) async fn end(&mut self) -> u64 {
        self.ending.store(true, Ordering::Relaxed);
        (&mut self.task).await.expect("the writer does not fail");
        self.count()
    }

    fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A write that comes after all others so far.
#[derive(Debug, Clone)]
pub(super) struct Marker {
    key: Key,
    revision: u64,
}

/// Puts a key that nobody else puts.
pub(super) async fn mark(store: &EtcdStore) -> Marker {
    let key = integration_tests::key(&format!("{DIR}/marker"));
    let version = store.put(&key, "").await.expect("the server is well");
    Marker { key, revision: version.last_index() }
}
