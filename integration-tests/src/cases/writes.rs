//! Section 4: put, delete and their conditions.

use std::fmt::Debug;
use std::time::Instant;

use bytes::Bytes;
use libkv_core::{
    DeleteOptions, DeleteTreeOptions, Error, ErrorKind, Expect, GetOptions, Key, KvPair, Lifetime,
    LifetimeKind, ListOptions, LockOptions, Result, Store, StoreExt, Txn, UpdateOptions,
    WriteOptions,
};

use super::lists::{names, put_all};
use crate::{Fixture, key};

/// The error of a call that was refused: of this kind, about this key, and nothing was changed.
#[track_caller]
pub(super) fn refused<T: Debug>(ended: Result<T>, kind: ErrorKind, name: &str) -> Error {
    let error = ended.expect_err("the call is refused");
    assert_eq!((error.kind(), error.key()), (kind, Some(&key(name))), "{error}");
    assert!(error.changed_nothing(), "{error}");
    error
}

/// A put needs no parents, in whichever form and however deep.
pub async fn put_creates_parents(f: &Fixture) {
    let deep = ["d"; 100].join("/");
    f.store.put(&deep, "1").await.expect("a put");
    f.store.atomic_put("a/b/c/d", "1", None).await.expect("the key is absent");
    let txn = Txn::new().put("t/u/v", "1").and_then(|txn| txn.put("t/u/w/x", "1"));
    f.store.txn(txn.expect("two keys")).await.expect("nothing is compared");
    let updated = f.store.update("u/p/d", UpdateOptions::default(), |_| "1").await;
    updated.expect("an update");
    let listed = f.other.list(Key::root()).await.expect("there are keys");
    assert_eq!(names(&listed), ["a/b/c/d", &deep, "t/u/v", "t/u/w/x", "u/p/d"]);
}

/// A key that was just made is never seen without its value, by readers, listings and watches.
pub async fn a_new_key_appears_with_its_value(f: &Fixture) {
    const ROUNDS: usize = 30;
    let (reading, mut watch) = (f.other.clone(), f.follow(f.other.watch("d/e/a").expect("a key")));
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let reader = tokio::spawn(async move {
        let mut seen = Vec::new();
        while stopped.try_recv().is_err() {
            seen.extend(reading.get("d/e/a").await.ok());
            seen.extend(reading.list("d").await.into_iter().flatten());
        }
        seen
    });
    for _ in 0..ROUNDS {
        f.store.put("d/e/a", "whole").await.expect("a put");
        f.store.delete("d/e/a").await.expect("the key is there");
    }
    f.store.put("d/e/a", "end").await.expect("a put");
    stop.send(()).expect("the reader reads");
    let mut seen = f.soon("the reader stops", reader).await.expect("the reader ends well");
    while watch.state.get("d/e/a").is_none_or(|pair| pair.value != "end") {
        watch.next().await;
        seen.extend(watch.state.get("d/e/a").cloned());
    }
    assert!(seen.iter().any(|pair| pair.value == "end"), "the watch tells the last value");
    for pair in seen {
        assert!(pair.key == key("d/e/a"), "{pair:?}");
        assert!(pair.value == "whole" || pair.value == "end", "{pair:?} holds {:?}", pair.value);
    }
}

/// A put that expects no key leaves any that is there alone, empty and ephemeral ones too.
pub async fn a_present_key_is_not_created_again(f: &Fixture) {
    put_all(f, &["full", "p/c"]).await;
    f.store.put("empty", "").await.expect("a put");
    let bound = f.store.put_opts(&key("bound"), "1".into(), Lifetime::Ephemeral.into()).await;
    bound.expect("an ephemeral put");
    let before = f.other.list(Key::root()).await.expect("there are keys");
    for store in [&f.store, &f.other] {
        for name in ["full", "empty", "bound", "p/c"] {
            let put = store.put_opts(&key(name), "new".into(), Expect::Absent.into()).await;
            refused(put, ErrorKind::KeyExists, name);
        }
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
    for name in ["ful", "full/x", "p", "full-"] {
        let put = f.store.put_opts(&key(name), "new".into(), Expect::Absent.into()).await;
        assert_eq!(f.other.get(name).await.expect("a new key").version, put.expect("it is new"));
    }
}

/// A stale version lets neither a put nor a delete happen, whichever key's state it was.
pub async fn a_stale_version_is_refused_and_changes_nothing(f: &Fixture) {
    let neighbour = f.store.put("a-", "1").await.expect("a put");
    let oldest = f.store.put("a", "1").await.expect("a put");
    let older = f.store.put("a", "2").await.expect("a put");
    let child = f.store.put("a/b", "1").await.expect("a put");
    f.store.put("a", "1").await.expect("a put");
    let before = f.other.list(Key::root()).await.expect("there are keys");
    for stale in [neighbour, oldest, older, child] {
        for store in [&f.store, &f.other] {
            let expect = Expect::Version(stale);
            let put = store.put_opts(&key("a"), "new".into(), expect.into()).await;
            refused(put, ErrorKind::KeyModified, "a");
            let delete = store.delete_opts(&key("a"), expect.into()).await;
            refused(delete, ErrorKind::KeyModified, "a");
        }
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
}

/// The version of the present state lets a put and a delete happen, once.
pub async fn the_present_version_lets_a_write_happen_once(f: &Fixture) {
    let first = f.store.put("a", "").await.expect("a put");
    let expect = Expect::Version(first);
    let second = f.other.put_opts(&key("a"), "2".into(), expect.into()).await;
    let second = second.expect("the version is the present one");
    let pair = f.store.get("a").await.expect("the key is there");
    assert_eq!((&*pair.value, pair.version), (&b"2"[..], second));
    refused(f.other.delete_opts(&key("a"), expect.into()).await, ErrorKind::KeyModified, "a");
    let expect = Expect::Version(second);
    f.other.delete_opts(&key("a"), expect.into()).await.expect("the version is the present one");
    assert!(!f.store.exists("a").await.expect("a read"));
    refused(f.other.delete_opts(&key("a"), expect.into()).await, ErrorKind::KeyNotFound, "a");
}

/// A version is of no use where the key is absent, and nothing is made.
pub async fn a_version_of_an_absent_key_is_not_found(f: &Fixture) {
    let version = f.store.put("a/b", "1").await.expect("a put");
    f.store.put("gone", "1").await.expect("a put");
    let gone = f.store.put("gone", "1").await.expect("a put");
    f.store.delete("gone").await.expect("the key is there");
    for (name, version) in [("a", version), ("a/b/c", version), ("x/y", version), ("gone", gone)] {
        let expect = Expect::Version(version);
        let put = f.store.put_opts(&key(name), "new".into(), expect.into()).await;
        refused(put, ErrorKind::KeyNotFound, name);
        let delete = f.store.delete_opts(&key(name), expect.into()).await;
        refused(delete, ErrorKind::KeyNotFound, name);
    }
    assert_eq!(names(&f.other.list(Key::root()).await.expect("a listing")), ["a/b"]);
}

/// The ancestor's conditional put creates without a previous pair and replaces with one.
pub async fn atomic_put_creates_or_replaces(f: &Fixture) {
    let created = f.store.atomic_put("d/a", "1", None).await.expect("the key is absent");
    assert_eq!((&*created.value, &created.key), (&b"1"[..], &key("d/a")));
    assert_eq!(f.other.get("d/a").await.expect("the key is there"), created);
    refused(f.other.atomic_put("d/a", "2", None).await, ErrorKind::KeyExists, "d/a");
    let replaced = f.other.atomic_put("d/a", "", &created).await.expect("it is current");
    assert_eq!(f.store.get("d/a").await.expect("the key is there"), replaced);
    assert!(replaced.value.is_empty());
    refused(f.store.atomic_put("d/a", "3", &created).await, ErrorKind::KeyModified, "d/a");
    let beside = f.store.atomic_put("d/b", "1", None).await.expect("the key is absent");
    let of_another = f.store.atomic_put("d/a", "3", &beside).await;
    refused(of_another, ErrorKind::InvalidVersion, "d/a");
    assert_eq!(f.other.get("d/a").await.expect("the key is there"), replaced);
    f.other.delete("d/a").await.expect("the key is there");
    refused(f.store.atomic_put("d/a", "3", &replaced).await, ErrorKind::KeyNotFound, "d/a");
    assert_eq!(f.other.list("d").await.expect("there is a key"), [beside]);
}

/// The ancestor's conditional put makes the key permanent, and says so in the pair it gives.
pub async fn atomic_put_writes_a_permanent_key(f: &Fixture) {
    let owner = f.another().await;
    for name in ["a", "sentinel"] {
        let put = owner.put_opts(&key(name), "1".into(), Lifetime::Ephemeral.into()).await;
        put.expect("an ephemeral put");
    }
    let mut watch = f.follow(f.other.watch("sentinel").expect("a key"));
    watch.until_synced().await;
    let bound = f.other.get("a").await.expect("the key is there");
    assert_eq!(bound.lifetime, LifetimeKind::Ephemeral);
    let pair = owner.atomic_put("a", "2", &bound).await.expect("it is current");
    assert_eq!(pair.lifetime, LifetimeKind::Permanent);
    owner.close().await.expect("a close");
    watch.delete().await;
    assert_eq!(f.other.get("a").await.expect("the key outlives its handle"), pair);
}

/// The ancestor's conditional delete takes only the state that it was shown.
pub async fn atomic_delete_takes_only_what_it_was_shown(f: &Fixture) {
    put_all(f, &["a", "a/b", "ab"]).await;
    let stale = f.store.get("a").await.expect("the key is there");
    f.other.put("a", "a").await.expect("a put");
    let before = f.other.list(Key::root()).await.expect("there are keys");
    refused(f.store.atomic_delete(&stale).await, ErrorKind::KeyModified, "a");
    let nothing: Option<&KvPair> = None;
    let error = f.store.atomic_delete(nothing).await.expect_err("there is no previous pair");
    assert_eq!(error.kind(), ErrorKind::PreviousNotSpecified, "{error}");
    assert!(error.changed_nothing(), "{error}");
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
    let current = f.store.get("a").await.expect("the key is there");
    f.store.atomic_delete(&current).await.expect("it is current");
    refused(f.store.atomic_delete(&current).await, ErrorKind::KeyNotFound, "a");
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before[1..]);
}

/// Deleting what is absent is an error, whatever there is around it.
pub async fn deleting_an_absent_key_is_not_found(f: &Fixture) {
    put_all(f, &["apple", "app0", "d/a"]).await;
    let before = f.other.list(Key::root()).await.expect("there are keys");
    for name in ["app", "d", "d/a/b", "x", "appl"] {
        refused(f.store.delete(name).await, ErrorKind::KeyNotFound, name);
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
    f.store.delete("apple").await.expect("the key is there");
    refused(f.other.delete("apple").await, ErrorKind::KeyNotFound, "apple");
    refused(f.store.delete("apple").await, ErrorKind::KeyNotFound, "apple");
}

/// A delete takes the key and leaves its children and namesakes as they are.
pub async fn a_delete_leaves_the_children(f: &Fixture) {
    put_all(f, &["a", "a-", "a/b", "a/b/c", "a0", "ab"]).await;
    let before = f.other.list(Key::root()).await.expect("there are keys");
    f.store.delete("a").await.expect("the key is there");
    assert!(!f.other.exists("a").await.expect("a read"));
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before[1..]);
    assert_eq!(names(&f.other.list("a").await.expect("it has children")), ["a/b", "a/b/c"]);
}

/// Any bytes come back as they were put, up to the limit; one byte more is refused beforehand.
pub async fn any_bytes_are_a_value_up_to_the_limit(f: &Fixture) {
    let limit = f.store.capabilities().max_value_bytes;
    let every_byte: Vec<u8> = (0..=255).collect();
    let pattern: Vec<u8> = (0..limit).map(|at| (at * 31 % 251) as u8).collect();
    for value in [&b"\0"[..], b"\x01", b"\n", b" a ", b"\xff\xfe\xc0", &every_byte, &pattern] {
        let version = f.store.put("a", value.to_vec()).await.expect("a put");
        let pair = f.other.get("a").await.expect("the key is there");
        assert!(pair.value == value, "{} bytes came back as {pair:?}", value.len());
        assert_eq!(pair.version, version);
        assert_eq!(f.other.list(Key::root()).await.expect("there is a key"), [pair]);
    }
    let before = f.other.list(Key::root()).await.expect("there is a key");
    let long = Bytes::from(vec![1; limit + 1]);
    for name in ["a", "b"] {
        refused(f.store.put(name, long.clone()).await, ErrorKind::TooLarge, name);
        refused(f.store.atomic_put(name, long.clone(), None).await, ErrorKind::TooLarge, name);
        let update = f.store.update(name, UpdateOptions::default(), |_| long.clone()).await;
        refused(update, ErrorKind::TooLarge, name);
    }
    let txn = Txn::new().put("c", "1").and_then(|txn| txn.put("b", long)).expect("two keys");
    let error = f.store.txn(txn).await.expect_err("a value is too long");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(f.other.list(Key::root()).await.expect("there is a key"), before);
    f.store.put("a", "1").await.expect("the connection is as good as before");
}

/// A write with a fence happens while the guard holds its lock, and never afterwards.
pub async fn a_fenced_write_happens_only_while_the_lock_is_held(f: &Fixture) {
    let lock = f.store.new_lock("lock", LockOptions::default()).expect("a lock");
    let guard = lock.lock().await.expect("the lock is free");
    let fence = guard.fence();
    let fenced = WriteOptions::default().with_fence(fence.clone());
    let update = UpdateOptions::default().with_fence(fence.clone());
    let delete = DeleteOptions::default().with_fence(fence.clone());
    f.store.put_opts(&key("a"), "1".into(), fenced.clone()).await.expect("the lock is held");
    f.store.update("b", update.clone(), |_| "1").await.expect("the lock is held");
    f.store.put("c", "1").await.expect("a put");
    f.store.delete_opts(&key("c"), delete.clone()).await.expect("the lock is held");
    let both = fenced.clone().with_expect(Expect::Absent);
    let put = f.store.put_opts(&key("a"), "2".into(), both.clone()).await;
    refused(put, ErrorKind::KeyExists, "a");
    assert_eq!(names(&f.other.list(Key::root()).await.expect("a listing")), ["a", "b"]);

    guard.unlock().await.expect("the lock is held");
    let successor = lock.lock().await.expect("the lock is free");
    let before = f.other.list(Key::root()).await.expect("there are keys");
    for opts in [fenced, both] {
        for name in ["a", "d"] {
            let put = f.store.put_opts(&key(name), "2".into(), opts.clone()).await;
            let error = put.expect_err("the guard is gone");
            let exists = opts.expect == Expect::Absent && name == "a";
            let either = exists && error.kind() == ErrorKind::KeyExists;
            assert!(either || error.kind() == ErrorKind::LockLost, "{error}");
            assert!(error.changed_nothing(), "{error}");
        }
    }
    let deleted = f.store.delete_opts(&key("a"), delete).await.expect_err("the guard is gone");
    assert_eq!(deleted.kind(), ErrorKind::LockLost, "{deleted}");
    let updated = f.store.update("b", update, |_| "2").await.expect_err("the guard is gone");
    assert_eq!(updated.kind(), ErrorKind::LockLost, "{updated}");
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
    successor.unlock().await.expect("the lock is held");
}

/// A deadline that is over before the call ends it, whichever call it is, and nothing was sent.
pub async fn a_deadline_that_is_over_lets_nothing_happen(f: &Fixture) {
    put_all(f, &["a", "d/a"]).await;
    let before = f.other.list(Key::root()).await.expect("there are keys");
    let over = Instant::now();
    let put = WriteOptions::default().with_deadline(over);
    let get = GetOptions::default().with_deadline(over);
    let delete = DeleteOptions::default().with_deadline(over);
    let tree = DeleteTreeOptions::default().with_deadline(over);
    let txn = Txn::new().put("a", "2").expect("a key").with_deadline(over);
    let update = UpdateOptions::default().with_deadline(over);
    let list = f.store.list_opts(&key("d"), ListOptions::default().with_deadline(over));
    let calls = [
        ("put", f.store.put_opts(&key("a"), "2".into(), put).await.map(drop)),
        ("get", f.store.get_opts(&key("a"), get).await.map(drop)),
        ("delete", f.store.delete_opts(&key("a"), delete).await),
        ("delete_tree", f.store.delete_tree_opts(&key("d"), tree).await),
        ("txn", f.store.txn(txn).await.map(drop)),
        ("update", f.store.update("a", update, |_| "2").await.map(drop)),
        ("list", list.collect_pairs().await.map(drop)),
    ];
    for (call, ended) in calls {
        let error = ended.expect_err("the deadline is over");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{call}: {error}");
        assert!(error.changed_nothing(), "{call}: {error}");
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
}
