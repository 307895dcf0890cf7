//! Section 6 of the contract: what a watch tells, where it begins and how it ends.

use std::time::{Duration, Instant};

use libkv_core::{
    ErrorKind, Event, EventStream, Key, Lifetime, LifetimeKind, Store, StoreExt, WatchOptions,
    WatchTarget, WriteOptions,
};

use crate::{Fixture, Watcher, key};

/// First the pair as `get` gives it, then `Synced`, then every change with its version.
pub async fn a_watch_begins_with_the_state_then_tells_the_changes(f: &Fixture) {
    f.store.put("a", "1").await.expect("a put");
    let there = f.store.get("a").await.expect("a is there");
    let mut watch = f.follow(f.store.watch("a").expect("a key"));
    assert_eq!(watch.put().await, there);
    let (index, before) = watch.until_synced().await;
    assert_eq!(before, [], "the state is told once");
    assert!(index >= there.last_index(), "{index} is before {there:?}");

    let version = f.other.put("a", vec![0, 255, 10]).await.expect("a put");
    let changed = watch.put().await;
    assert_eq!((&*changed.value, changed.version), (&[0, 255, 10][..], version));
    assert_eq!(f.store.get("a").await.expect("a is there"), changed);
    f.other.delete("a").await.expect("a is there");
    let (gone, gone_at) = watch.delete().await;
    assert_eq!(gone, key("a"));
    assert!(gone_at > changed.last_index(), "deleted at {gone_at}, after {changed:?}");

    let version = f.other.put("a", "").await.expect("a put");
    let again = watch.put().await;
    assert_eq!((again.value.len(), again.version), (0, version), "an empty value is a value");
    assert!(again.last_index() >= gone_at, "{again:?}, deleted at {gone_at}");
}

/// The initial state of a tree is its listing, each pair told once.
pub async fn a_tree_watch_begins_with_the_listing(f: &Fixture) {
    for name in ["d/b", "d/a/b/c", "d/a", "d/a-b", "d/a/b", "d/ü"] {
        f.store.put(name, name).await.expect("a put");
    }
    let mut watch = f.follow(f.store.watch_tree("d").expect("a directory"));
    let (_, before) = watch.until_synced().await;
    let listing = f.other.list("d").await.expect("the directory has keys");
    assert_eq!(before.len(), listing.len(), "{before:?}");
    assert!(watch.state.values().eq(&listing), "{:?} is not {listing:?}", watch.state);
}

/// A tree watch tells what is below its directory: neither the directory nor names that only begin
/// like it.
pub async fn a_tree_watch_stays_below_its_directory(f: &Fixture) {
    const OUTSIDE: [&str; 7] = ["app", "ap", "app-x", "app.x", "app0", "apple", "apple/x"];
    for name in OUTSIDE.into_iter().chain(["app/x", "app/x/y"]) {
        f.store.put(name, "1").await.expect("a put");
    }
    let mut watch = f.follow(f.store.watch_tree("app").expect("a directory"));
    let (_, before) = watch.until_synced().await;
    assert_eq!(before.len(), 2, "{before:?}");
    assert!(watch.state.keys().eq(&[key("app/x"), key("app/x/y")]), "{:?}", watch.state);

    for name in OUTSIDE {
        f.other.put(name, "2").await.expect("a put");
        f.other.delete(name).await.expect("the key is there");
    }
    f.other.put("apple/x/y", "1").await.expect("a put");
    f.other.delete_tree("apple").await.expect("a tree");
    f.other.put("app/zz", "1").await.expect("a put");
    assert_eq!(watch.put().await.key, key("app/zz"));
}

/// A watch of a key tells nothing of its children, its parent and its neighbours.
pub async fn a_key_watch_tells_nothing_of_its_neighbours(f: &Fixture) {
    const OTHERS: [&str; 6] = ["a", "a/b/c", "a/b/c/d", "a/bc", "a/b-", "b"];
    for name in OTHERS.into_iter().chain(["a/b"]) {
        f.store.put(name, "1").await.expect("a put");
    }
    let mut watch = f.follow(f.store.watch("a/b").expect("a key"));
    assert_eq!(watch.put().await.key, key("a/b"));
    assert_eq!(watch.until_synced().await.1, []);
    for name in OTHERS {
        f.other.put(name, "2").await.expect("a put");
        f.other.delete(name).await.expect("the key is there");
    }
    let version = f.other.put("a/b", "2").await.expect("a put");
    assert_eq!(watch.put().await.version, version);
}

/// A key and a directory that do not exist can be watched, and are told once they do.
pub async fn an_absent_target_can_be_watched(f: &Fixture) {
    let mut of_key = f.follow(f.store.watch("not/yet/here").expect("a key"));
    let mut of_tree = f.follow(f.store.watch_tree("not/yet").expect("a directory"));
    let mut of_root = f.follow(f.store.watch_tree(Key::root()).expect("a directory"));
    for watch in [&mut of_key, &mut of_tree, &mut of_root] {
        let first = watch.next().await;
        assert!(matches!(first, Event::Synced { .. }), "{first:?}");
    }
    let version = f.other.put("not/yet/here", "1").await.expect("a put");
    for watch in [&mut of_key, &mut of_tree, &mut of_root] {
        let pair = watch.put().await;
        assert_eq!((pair.key, pair.version), (key("not/yet/here"), version));
    }
    f.other.delete_tree("not").await.expect("a tree");
    for watch in [&mut of_key, &mut of_tree, &mut of_root] {
        assert_eq!(watch.delete().await.0, key("not/yet/here"));
    }
}

/// Each key of a deleted tree is told, to those who watch the tree and to those who watch one key.
pub async fn a_deleted_tree_is_told_key_by_key(f: &Fixture) {
    let names = ["d", "d/a", "d/a/b", "d/c"];
    for name in names {
        f.store.put(name, "1").await.expect("a put");
    }
    let mut of_key = f.follow(f.store.watch("d/a").expect("a key"));
    let mut of_tree = f.follow(f.store.watch_tree(Key::root()).expect("a directory"));
    of_key.until_synced().await;
    of_tree.until_synced().await;
    f.other.delete_tree("d").await.expect("a tree");
    assert_eq!(of_key.delete().await.0, key("d/a"));
    let mut gone = Vec::new();
    for _ in names {
        gone.push(of_tree.delete().await.0);
    }
    gone.sort();
    assert_eq!(gone, names.map(key));
    assert_eq!(of_tree.state.len(), 0);
}

/// A key that ends on its own, with its session or its time to live, is told as a delete.
pub async fn a_key_that_ends_by_itself_is_told(f: &Fixture) {
    let mut watch = f.follow(f.store.watch_tree(Key::root()).expect("a directory"));
    watch.until_synced().await;
    let owner = f.another().await;
    let opts = WriteOptions::from(Lifetime::Ephemeral);
    owner.put_opts(&key("session"), "1".into(), opts).await.expect("an ephemeral put");
    let pair = watch.put().await;
    assert_eq!((pair.key, pair.lifetime), (key("session"), LifetimeKind::Ephemeral));
    owner.close().await.expect("a close");
    assert_eq!(watch.delete().await.0, key("session"));

    let limits = f.store.capabilities().ttl;
    let ttl = limits.map_or(Duration::from_secs(1), |limits| {
        Duration::from_secs(1).clamp(limits.min, limits.max)
    });
    let opts = WriteOptions::default().with_ttl(ttl);
    let put = f.other.put_opts(&key("ttl"), "1".into(), opts).await;
    let Some(limits) = limits else {
        assert_eq!(put.expect_err("no time to live").kind(), ErrorKind::NotImplemented);
        return;
    };
    let version = put.expect("a put with a time to live");
    let pair = watch.put().await;
    assert_eq!((pair.version, pair.lifetime), (version, LifetimeKind::Ttl));
    let end = Instant::now() + limits.bound(ttl) + f.patience();
    while f.other.exists("ttl").await.expect("a read") {
        assert!(Instant::now() < end, "the key outlives its bound");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(watch.delete().await.0, key("ttl"));
}

/// Without the initial state a stream begins with `Synced`, and then tells every change, of keys
/// that were there before too.
pub async fn without_initial_the_changes_are_told(f: &Fixture) {
    for name in ["d/deleted", "d/put", "d/quiet", "d/tree/a"] {
        f.store.put(name, "1").await.expect("a put");
    }
    let opts = WatchOptions::default().without_initial();
    let open = |target| f.follow(f.store.watch_opts(&target, opts.clone()));
    let mut of_tree = open(WatchTarget::Tree(key("d")));
    let mut of_key = open(WatchTarget::Key(key("d/deleted")));
    for watch in [&mut of_tree, &mut of_key] {
        let first = watch.next().await;
        assert!(matches!(first, Event::Synced { .. }), "{first:?}");
    }
    f.other.delete("d/deleted").await.expect("the key is there");
    assert_eq!(of_tree.delete().await.0, key("d/deleted"));
    assert_eq!(of_key.delete().await.0, key("d/deleted"));
    let version = f.other.put("d/put", "1").await.expect("a put");
    assert_eq!(of_tree.put().await.version, version);
    f.other.delete_tree("d/tree").await.expect("a tree");
    assert_eq!(of_tree.delete().await.0, key("d/tree/a"));
    let version = f.other.put("d/deleted", "2").await.expect("a put");
    assert_eq!(of_tree.put().await.version, version);
    assert_eq!(of_key.put().await.version, version);
}

/// The root is a directory and no key, so that a watch of it as a key is refused.
pub async fn the_root_is_no_key_to_watch(f: &Fixture) {
    let target = WatchTarget::Key(Key::root());
    let mut watch = f.follow(f.store.watch_opts(&target, WatchOptions::default()));
    assert_ends_with(&mut watch, ErrorKind::InvalidKey).await;
}

/// Closing the handle ends its watches with `Closed`, whether they began before or begin after,
/// and nothing follows the error.
pub async fn a_closed_handle_ends_its_watches(f: &Fixture) {
    let store = f.another().await;
    let open = || -> [EventStream; 2] {
        [store.watch("a").expect("a key"), store.watch_tree("a").expect("a directory")]
    };
    let (started, not_yet_polled) = (open(), open());
    let mut started = started.map(|events| f.follow(events));
    for watch in &mut started {
        watch.until_synced().await;
    }
    store.close().await.expect("a close");
    f.other.put("a", "1").await.expect("a put");
    for mut watch in started {
        assert_ends_with(&mut watch, ErrorKind::Closed).await;
    }
    for events in not_yet_polled.into_iter().chain(open()) {
        assert_ends_with(&mut f.follow(events), ErrorKind::Closed).await;
    }
}

async fn assert_ends_with(watch: &mut Watcher, kind: ErrorKind) {
    let error = watch.item().await.expect("an error is told").expect_err("the watch ends");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(watch.item().await.is_none(), "something follows the error");
    assert!(watch.item().await.is_none(), "the stream goes on after its end");
}

/// A stream lives as long as its owner wants: it outlives the store's last clone, and when it is
/// dropped nothing of the handle is left.
pub async fn a_dropped_stream_lets_go_of_its_handle(f: &Fixture) {
    let store = f.another().await;
    let opts = WriteOptions::from(Lifetime::Ephemeral);
    store.put_opts(&key("mine"), "1".into(), opts).await.expect("an ephemeral put");
    let mut observer = f.follow(f.other.watch("mine").expect("a key"));
    observer.until_synced().await;
    let mut watch = f.follow(store.watch_tree("d").expect("a directory"));
    watch.until_synced().await;
    drop(store);
    f.other.put("d/a", "1").await.expect("a put");
    let (mut watch, pair) = tokio::spawn(async move {
        let pair = watch.put().await;
        (watch, pair)
    })
    .await
    .expect("the stream can be moved to a task");
    assert_eq!(pair.key, key("d/a"));
    assert!(f.other.exists("mine").await.expect("a read"), "the stream keeps the handle open");
    f.other.put("d/b", "1").await.expect("a put");
    watch.put().await;
    drop(watch);
    assert_eq!(observer.delete().await.0, key("mine"));
}

/// Dropping streams disturbs nobody who watches the same keys, however many they are.
pub async fn dropped_streams_leave_the_others_alone(f: &Fixture) {
    let mut kept = f.follow(f.store.watch_tree("d").expect("a directory"));
    kept.until_synced().await;
    for round in 0..50 {
        let mut dropped = f.follow(f.store.watch_tree("d").expect("a directory"));
        if round % 2 == 0 {
            dropped.until_synced().await;
        }
        let of_key = f.store.watch("d/a").expect("a key");
        drop((dropped, of_key));
        let version = f.other.put("d/a", "1").await.expect("a put");
        assert_eq!(kept.put().await.version, version);
    }
}
