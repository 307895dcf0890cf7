//! Section 4: close.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libkv_core::{
    ErrorKind, Expect, Key, Lifetime, ListOptions, LockOptions, Store, StoreExt, Txn,
    UpdateOptions, WriteOptions,
};

use super::lists::{names, put_all};
use crate::{Fixture, Watcher, key};

async fn put_ephemeral(store: &Arc<dyn Store>, name: &str) {
    let put = store.put_opts(&key(name), "1".into(), Lifetime::Ephemeral.into()).await;
    put.expect("an ephemeral put");
}

/// A watch of a key that is there, from the other connection.
async fn watch_of(f: &Fixture, name: &str) -> Watcher {
    let mut watch = f.follow(f.other.watch(name).expect("a key"));
    assert_eq!(watch.put().await.key, key(name));
    watch.until_synced().await;
    watch
}

/// Closing again, and from several sides at once, is fine.
pub async fn closing_again_is_fine(f: &Fixture) {
    let store = f.another().await;
    put_ephemeral(&store, "mine").await;
    let closes = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.close().await })
    });
    for close in closes.collect::<Vec<_>>() {
        close.await.expect("the close ends").expect("a close");
    }
    store.close().await.expect("a close of what is closed");
    let unused = f.another().await;
    unused.close().await.expect("a close of what was not used");
    unused.close().await.expect("a close of what is closed");
    put_all(f, &["a"]).await;
    assert_eq!(names(&f.other.list(Key::root()).await.expect("a listing")), ["a"]);
}

/// Every call on a closed handle gives `Closed`, names what it was about, and changes nothing.
pub async fn a_closed_handle_refuses_every_call(f: &Fixture) {
    put_all(f, &["a", "d/a"]).await;
    let store = f.another().await;
    let pair = store.get("a").await.expect("the key is there");
    let lock = store.new_lock("a", LockOptions::default()).expect("a lock");
    let before = f.other.list(Key::root()).await.expect("there are keys");
    store.close().await.expect("a close");
    let txn = Txn::new().put("a", "2").expect("a key");
    let bound = WriteOptions::from(Lifetime::Ephemeral);
    let matching = Expect::Version(pair.version);
    let later = async || match store.new_lock("a", LockOptions::default()) {
        Ok(lock) => lock.lock().await.map(drop),
        Err(error) => Err(error),
    };
    let first_of = async |watch: libkv_core::Result<_>| {
        let mut watch = f.follow(watch?);
        watch.item().await.expect("something is told").map(drop)
    };
    let page = store.list_opts(&key("a"), ListOptions::default().with_limit(1));
    let calls = [
        ("get", Some("a"), store.get("a").await.map(drop)),
        ("exists", Some("a"), store.exists("a").await.map(drop)),
        ("put", Some("a"), store.put("a", "2").await.map(drop)),
        ("ephemeral put", Some("b"), store.put_opts(&key("b"), "2".into(), bound).await.map(drop)),
        ("create", Some("b"), store.atomic_put("b", "2", None).await.map(drop)),
        ("replace", Some("a"), store.atomic_put("a", "2", &pair).await.map(drop)),
        ("delete", Some("a"), store.delete("a").await),
        ("delete of a version", Some("a"), store.delete_opts(&key("a"), matching.into()).await),
        ("atomic_delete", Some("a"), store.atomic_delete(&pair).await),
        ("delete_tree", Some("d"), store.delete_tree("d").await),
        ("delete_tree of all", None, store.delete_tree("/").await),
        ("list", Some("d"), store.list("d").await.map(drop)),
        ("list of all", None, store.list("/").await.map(drop)),
        ("page", Some("a"), page.collect_pairs().await.map(drop)),
        ("txn", None, store.txn(txn).await.map(drop)),
        ("update", Some("a"), store.update("a", UpdateOptions::default(), |_| "2").await.map(drop)),
        ("lock", Some("a"), lock.lock().await.map(drop)),
        ("try_lock", Some("a"), lock.try_lock().await.map(drop)),
        ("new_lock", Some("a"), later().await),
        ("watch", Some("a"), first_of(store.watch("a")).await),
        ("watch_tree", Some("d"), first_of(store.watch_tree("d")).await),
        ("on_change", Some("d"), store.on_change("d", |_| ()).await),
    ];
    for (call, name, ended) in calls {
        let error = ended.expect_err("the handle is closed");
        assert_eq!(error.kind(), ErrorKind::Closed, "{call}: {error}");
        assert!(error.changed_nothing(), "{call}: {error}");
        if let Some(name) = name {
            assert_eq!(error.key(), Some(&key(name)), "{call}: {error}");
        }
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
}

/// A close takes the ephemeral keys of its handle, tells those who watch, and takes no others.
pub async fn close_removes_the_ephemeral_keys_of_its_handle(f: &Fixture) {
    let (store, neighbour) = (f.another().await, f.another().await);
    for name in ["d/a", "d/b/c"] {
        put_ephemeral(&store, name).await;
    }
    put_ephemeral(&neighbour, "d/neighbour").await;
    store.put("d/permanent", "1").await.expect("a put");
    let mut watch = f.follow(f.other.watch_tree("d").expect("a directory"));
    assert_eq!(watch.until_synced().await.1.len(), 4);
    store.close().await.expect("a close");
    let left = f.other.list("d").await.expect("there are keys");
    assert_eq!(names(&left), ["d/neighbour", "d/permanent"]);
    let mut gone = [watch.delete().await.0, watch.delete().await.0];
    gone.sort();
    assert_eq!(gone, ["d/a", "d/b/c"].map(key));
    neighbour.close().await.expect("a close");
    assert_eq!(watch.delete().await.0, key("d/neighbour"));
}

/// A close gives the locks of its handle back, with their values, and ends who waits through it.
pub async fn close_releases_the_locks_of_its_handle(f: &Fixture) {
    let store = f.another().await;
    let options = LockOptions::default;
    let plain = store.new_lock("plain", options()).expect("a lock");
    let valued = store.new_lock("valued", options().with_value("held")).expect("a lock");
    let guards = [plain.lock().await.expect("free"), valued.lock().await.expect("free")];
    let kept = f.other.new_lock("kept", options()).expect("a lock");
    let kept = kept.lock().await.expect("the lock is free");
    let waiting = store.new_lock("kept", options()).expect("a lock");
    let waiting = tokio::spawn(async move { waiting.lock().await.map(drop) });
    let mut value = watch_of(f, "valued").await;

    store.close().await.expect("a close");
    for name in ["plain", "valued"] {
        let lock = f.other.new_lock(name, options()).expect("a lock");
        let guard = f.soon("the lock is free", lock.lock()).await.expect("the lock is free");
        guard.unlock().await.expect("the lock is held");
    }
    assert_eq!(value.delete().await.0, key("valued"));
    let waited = f.soon("the wait ends", waiting).await.expect("the task ends well");
    let error = waited.expect_err("the handle of the one who waits is closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let end = Instant::now() + f.patience();
    while guards.iter().any(libkv_core::LockGuard::is_held) {
        assert!(Instant::now() < end, "a guard of a closed handle goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(kept.is_held(), "the locks of other handles stay");
    kept.unlock().await.expect("the lock is held");
}

/// A close ends the watches of its handle with `Closed`, and no others.
pub async fn close_ends_the_watches_of_its_handle(f: &Fixture) {
    let store = f.another().await;
    let mut kept = f.follow(f.other.watch_tree("d").expect("a directory"));
    let mut of_key = f.follow(store.watch("d/a").expect("a key"));
    let mut of_tree = f.follow(store.watch_tree("d").expect("a directory"));
    let mut listings = store.watch_lists("d").expect("a directory");
    for watch in [&mut kept, &mut of_key, &mut of_tree] {
        watch.until_synced().await;
    }
    f.soon("a first listing", listings.next()).await.expect("a listing").expect("a listing");
    let waiting = tokio::spawn(async move {
        let last = of_tree.item().await;
        (last, of_tree.item().await)
    });
    store.close().await.expect("a close");
    let (last, after) = waiting.await.expect("the task ends well");
    let ends = [
        (last.map(|item| item.map(drop)), after.is_none()),
        (of_key.item().await.map(|item| item.map(drop)), of_key.item().await.is_none()),
        (
            f.soon("the end", listings.next()).await.map(|item| item.map(drop)),
            f.soon("the end", listings.next()).await.is_none(),
        ),
    ];
    for (last, is_over) in ends {
        let error = last.expect("an error is told").expect_err("the watch ends");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert!(is_over, "something follows the error");
    }
    f.other.put("d/a", "1").await.expect("a put");
    assert_eq!(kept.put().await.key, key("d/a"));
}

/// Clones are one handle: what one made goes when another is closed, and all are closed then.
pub async fn clones_are_closed_together(f: &Fixture) {
    let store = f.another().await;
    let clone = store.clone();
    put_ephemeral(&store, "by/one").await;
    put_ephemeral(&clone, "by/other").await;
    let mut watches = [watch_of(f, "by/one").await, watch_of(f, "by/other").await];
    clone.close().await.expect("a close");
    for watch in &mut watches {
        watch.delete().await;
    }
    for handle in [&store, &clone] {
        let error = handle.put("a", "1").await.expect_err("the handle is closed");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        handle.close().await.expect("a close of what is closed");
    }
    assert_eq!(f.other.list(Key::root()).await.expect("the root is there"), []);
}

/// The last clone that is dropped closes the handle, and none before it.
pub async fn dropping_the_last_clone_closes_the_handle(f: &Fixture) {
    let store = f.another().await;
    let clone = store.clone();
    put_ephemeral(&store, "mine").await;
    let mut watch = watch_of(f, "mine").await;
    drop(store);
    stays(f, "mine").await;
    let version = clone.put("a", "1").await.expect("the handle is open");
    assert_eq!(f.other.get("a").await.expect("the key is there").version, version);
    drop(clone);
    assert_eq!(watch.delete().await.0, key("mine"));
    assert_eq!(names(&f.other.list(Key::root()).await.expect("a listing")), ["a"]);
}

/// Looks again and again, so that a handle that ends in the background has the time to.
async fn stays(f: &Fixture, name: &str) {
    for round in 0..20 {
        assert!(f.other.exists(name).await.expect("a read"), "{name} is gone in round {round}");
        f.other.put("round", round.to_string()).await.expect("a put");
    }
    f.other.delete("round").await.expect("the key is there");
}

/// A guard keeps the handle open that it came from, and with it the lock and the ephemeral keys.
pub async fn a_guard_keeps_its_handle_open(f: &Fixture) {
    let store = f.another().await;
    put_ephemeral(&store, "mine").await;
    let mut watch = watch_of(f, "mine").await;
    let lock = store.new_lock("lock", LockOptions::default()).expect("a lock");
    let guard = lock.lock().await.expect("the lock is free");
    drop((store, lock));
    stays(f, "mine").await;
    let theirs = f.other.new_lock("lock", LockOptions::default()).expect("a lock");
    let busy = theirs.try_lock().await.expect_err("the guard lives");
    assert_eq!(busy.kind(), ErrorKind::CannotLock, "{busy}");
    assert!(guard.is_held());
    guard.unlock().await.expect("the lock is held");
    assert_eq!(watch.delete().await.0, key("mine"));
    let taken = theirs.lock().await.expect("the lock is free");
    taken.unlock().await.expect("the lock is held");
}

/// A stream keeps the handle open that it came from, until it is dropped.
pub async fn a_stream_keeps_its_handle_open(f: &Fixture) {
    put_all(f, &["d/a", "d/b"]).await;
    let store = f.another().await;
    put_ephemeral(&store, "mine").await;
    let mut watch = watch_of(f, "mine").await;
    let mut events = f.follow(store.watch_tree("d").expect("a directory"));
    events.until_synced().await;
    let listing = store.list_opts(&key("d"), ListOptions::default());
    drop(store);
    stays(f, "mine").await;
    let listed = listing.collect_pairs().await.expect("the handle is open");
    assert_eq!(names(&listed), ["d/a", "d/b"]);
    stays(f, "mine").await;
    f.other.put("d/c", "1").await.expect("a put");
    assert_eq!(events.put().await.key, key("d/c"));
    drop(events);
    assert_eq!(watch.delete().await.0, key("mine"));
}
