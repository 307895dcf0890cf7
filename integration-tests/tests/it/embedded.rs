//! The embedded store.

use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use integration_tests::{Target, cases, key};
use libkv_core::{
    Event, Key, LockOptions, Result, ResyncReason, Store, StoreExt, WatchOptions, WatchTarget,
    WriteOptions,
};
use libkv_embedded::EmbeddedStore;
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// A store in memory; each connection is a handle of its own.
#[derive(Debug, Default)]
pub(crate) struct Memory(OnceCell<EmbeddedStore>);

#[async_trait]
impl Target for Memory {
    async fn open(&self, root: &Key) -> Result<Arc<dyn Store>> {
        let store = self.0.get_or_try_init(EmbeddedStore::memory).await?;
        Ok(Arc::new(store.new_handle_at(root.clone()).await?))
    }
}

/// A store in a file of its own; each connection is a handle of its own.
#[derive(Debug)]
pub(crate) struct InFile {
    folder: TempDir,
    store: OnceCell<EmbeddedStore>,
}

impl Default for InFile {
    fn default() -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        Self { folder, store: OnceCell::new() }
    }
}

#[async_trait]
impl Target for InFile {
    async fn open(&self, root: &Key) -> Result<Arc<dyn Store>> {
        let opening = || EmbeddedStore::file(self.folder.path().join("store.redb"));
        let store = self.store.get_or_try_init(opening).await?;
        Ok(Arc::new(store.new_handle_at(root.clone()).await?))
    }
}

mod file {
    integration_tests::conformance!(tests for crate::embedded::InFile::default());
}

mod memory {
    integration_tests::conformance!(tests for crate::embedded::Memory::default());
}

/// The embedded store keeps this many changes, as its README says.
const HISTORY: usize = 10_000;

/// A watch from before the kept history, and a consumer that fell behind all of it, get the whole
/// state: a key that it does not name is gone.
#[test]
fn a_watch_behind_the_history_gets_the_whole_state() {
    let name = "a_watch_behind_the_history_gets_the_whole_state";
    integration_tests::run(Memory::default(), name, |f| async move {
        let first = f.store.put("d/gone", "1").await.unwrap();
        f.store.put("d/stays", "1").await.unwrap();
        let tree = WatchTarget::Tree(key("d"));
        let slow = WatchOptions::default().with_buffer(1);
        let mut slow = f.follow(f.store.watch_opts(&tree, slow));
        slow.until_synced().await;
        f.store.delete("d/gone").await.unwrap();
        for _ in 0..=HISTORY {
            f.store.put("d/busy", "1").await.unwrap();
        }
        let listing = f.store.list("d").await.unwrap();

        let from = WatchOptions::default().with_from(first.last_index());
        let mut from = f.follow(f.store.watch_opts(&tree, from));
        let (_, events) = from.until_synced().await;
        let [Event::Resync { reason, complete }, state @ ..] = &events[..] else {
            panic!("a gap was not told: {} events", events.len());
        };
        assert_eq!((*reason, *complete), (ResyncReason::Compacted, true));
        assert!(state.iter().eq(&listing.iter().cloned().map(Event::Put).collect::<Vec<_>>()));

        assert_eq!(slow.until_resync().await, (ResyncReason::Lagged, true));
        slow.until_synced().await;
        assert!(slow.state.values().eq(&listing), "{:?} is not {listing:?}", slow.state);
    });
}

/// As far back as the history reaches, every change is told.
#[test]
fn the_whole_history_can_be_watched_from() {
    integration_tests::run(
        Memory::default(),
        "the_whole_history_can_be_watched_from",
        |f| async move {
            let mut versions = Vec::new();
            for _ in 0..=HISTORY {
                versions.push(f.store.put("a", "1").await.unwrap());
            }
            let from = WatchOptions::default().with_from(versions[0].last_index());
            let watch = f.store.watch_opts(&WatchTarget::Key(key("a")), from);
            let (_, events) = f.follow(watch).until_synced().await;
            let told = events.iter().map(|event| match event {
                Event::Put(pair) => pair.version,
                other => panic!("{other:?} is no put"),
            });
            assert!(told.eq(versions[1..].iter().copied()), "{} events", events.len());
        },
    );
}

/// Guards have leases of their own, which end one by one.
#[test]
fn each_guard_has_a_lease_of_its_own() {
    integration_tests::run(
        Memory::default(),
        "each_guard_has_a_lease_of_its_own",
        |f| async move {
            cases::losses::each_guard_ends_by_its_own_time_to_live(&f).await;
        },
    );
}

/// What is printed for debugging has no values in it, neither those in the store nor a lock's.
#[tokio::test]
async fn debug_shows_no_value() {
    let store = EmbeddedStore::memory().await.unwrap();
    store.put("a", "hunter2").await.unwrap();
    let opts = LockOptions::default().with_value("hunter2");
    let session = store.lock_session(&key("lock"), &opts).unwrap();
    let guard = store.new_lock("lock", opts).unwrap().lock().await.unwrap();
    let mut watch = store.watch_tree("/").unwrap();
    watch.next().await.unwrap().unwrap();
    let debug = format!("{store:?} {session:?} {guard:?} {watch:?}");
    assert!(debug.contains("mem:") && debug.contains("lock"), "{debug}");
    assert!(!debug.contains("hunter2"), "{debug}");
}

/// A guard stops holding in the very moment in which its lock is taken away: before the next holder
/// has it, and before any task ran.
#[tokio::test]
async fn a_guard_holds_until_its_lock_is_taken_away_and_not_longer() {
    let store = EmbeddedStore::memory().await.unwrap();
    let other = store.new_handle().await.unwrap();
    let guard = async |name| {
        let lock = store.new_lock(name, LockOptions::default()).unwrap();
        lock.lock().await.unwrap()
    };
    let (deleted, closed) = (guard("deleted").await, guard("closed").await);
    assert!(deleted.is_held() && closed.is_held());
    other.delete_tree("deleted").await.unwrap();
    assert!(!deleted.is_held() && closed.is_held());
    store.close().await.unwrap();
    assert!(!closed.is_held());
}

/// In memory nothing is waited for, so that a deadline needs no timer and no runtime.
#[test]
fn a_deadline_in_memory_needs_no_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(EmbeddedStore::memory()).unwrap();
    let opts = WriteOptions::default().with_deadline(Instant::now() + Duration::from_secs(60));
    let put = store.put_opts(&key("a"), "1".into(), opts).now_or_never();
    put.expect("nothing is waited for").unwrap();
}

/// Asks the store whenever it is woken, as an executor does that goes on at once in the same thread.
struct Impatient {
    store: EmbeddedStore,
    woken: mpsc::Sender<bool>,
}

impl Wake for Impatient {
    fn wake(self: Arc<Self>) {
        let asked = self.store.exists("d/a").now_or_never();
        self.woken.send(asked.is_some()).expect("the test waits");
    }
}

/// No lock of the store is held while a consumer is woken, whatever it does then.
#[tokio::test]
async fn who_is_woken_can_ask_the_store_at_once() {
    let store = EmbeddedStore::memory().await.unwrap();
    let other = store.new_handle().await.unwrap();
    let (woken, waking) = mpsc::channel();
    let waker = Waker::from(Arc::new(Impatient { store: other.clone(), woken }));
    let mut watch = store.watch_tree("d").unwrap();
    watch.next().await.unwrap().unwrap();
    for by_a_close in [false, true] {
        assert!(watch.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
        let (store, other) = (store.clone(), other.clone());
        std::thread::spawn(move || match by_a_close {
            true => store.close().now_or_never().unwrap().unwrap(),
            false => drop(other.put("d/a", "1").now_or_never().unwrap().unwrap()),
        });
        assert!(waking.recv_timeout(Duration::from_secs(10)).expect("a lock is held"));
        let next = watch.next().await.unwrap();
        assert_eq!(next.is_err(), by_a_close);
    }
}

/// No case of the suite is answered with a refusal: the embedded store has every capability.
#[test]
fn no_capability_is_absent() {
    integration_tests::run(Memory::default(), "no_capability_is_absent", |f| async move {
        let facts = f.store.capabilities();
        assert!(facts.ttl.is_some() && facts.lock_ttl.is_some(), "{facts:?}");
        assert!(facts.atomic_list && facts.atomic_delete_tree, "{facts:?}");
        assert!(facts.watches_every_version && facts.history && facts.fair_locks, "{facts:?}");
        assert!(facts.empty_values_on_parents && facts.children_of_ephemeral, "{facts:?}");
    });
}
