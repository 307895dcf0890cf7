//! Section 4: transactions.

use std::collections::HashSet;

use libkv_core::{ErrorKind, Key, LockOptions, Result, Store, StoreExt, Txn, TxnOutcome};

use super::lists::{names, put_all};
use super::writes::refused;
use crate::Fixture;

/// Runs a transaction that the case put together.
async fn run(f: &Fixture, txn: Result<Txn>) -> Result<TxnOutcome> {
    f.store.txn(txn.expect("a transaction")).await
}

/// A transaction whose compares all hold writes all its keys, and gives the version of each put in
/// the order of the writes.
pub async fn a_transaction_writes_all_its_keys(f: &Fixture) {
    put_all(f, &["here", "old", "p/c"]).await;
    let old = f.store.put("old", "2").await.expect("a put");
    let txn = Txn::new()
        .require_absent("gone")
        .and_then(|txn| txn.require_exists("here"))
        .and_then(|txn| txn.require_version("old", old))
        .and_then(|txn| txn.require_absent("p"))
        .and_then(|txn| txn.put("z", "z"))
        .and_then(|txn| txn.delete("old"))
        .and_then(|txn| txn.put("a/b/c", ""))
        .and_then(|txn| txn.put("p/c/d", "child"))
        .and_then(|txn| txn.delete("p/c"))
        .and_then(|txn| txn.put("here", "here"));
    let outcome = run(f, txn).await.expect("all compares hold");
    let listed = f.other.list(Key::root()).await.expect("there are keys");
    assert_eq!(names(&listed), ["a/b/c", "here", "p/c/d", "z"]);
    let puts = [("z", "z"), ("a/b/c", ""), ("p/c/d", "child"), ("here", "here")];
    assert_eq!(outcome.versions.len(), puts.len(), "{outcome:?}");
    for ((name, value), version) in puts.into_iter().zip(&outcome.versions) {
        let pair = f.other.get(name).await.expect("the key is there");
        assert_eq!((pair.version, &*pair.value), (*version, value.as_bytes()), "{name}");
        assert!(version.last_index() <= outcome.index, "{version} in {outcome:?}");
    }
    let next = f.other.put("z", "z").await.expect("a put");
    assert!(next.last_index() > outcome.index, "{next} after {outcome:?}");
    assert!(!outcome.versions.contains(&next));
}

/// A compare that does not hold is told with its kind and key, and nothing is written.
pub async fn a_failed_compare_is_told_and_changes_nothing(f: &Fixture) {
    put_all(f, &["here", "there/child"]).await;
    let stale = f.store.put("moved", "1").await.expect("a put");
    f.store.put("moved", "1").await.expect("a put");
    let before = f.other.list(Key::root()).await.expect("there are keys");
    let others = || {
        let txn = Txn::new().require_exists("here")?.require_absent("gone/too")?;
        txn.put("here", "new")?.put("new/key", "new")?.delete("there/child")
    };
    let failing = [
        ("here", ErrorKind::KeyExists, others().and_then(|txn| txn.require_absent("here"))),
        ("gone", ErrorKind::KeyNotFound, others().and_then(|txn| txn.require_exists("gone"))),
        ("there", ErrorKind::KeyNotFound, others().and_then(|txn| txn.require_exists("there"))),
        ("moved", ErrorKind::KeyModified, others().and_then(|t| t.require_version("moved", stale))),
        ("gone", ErrorKind::KeyNotFound, others().and_then(|t| t.require_version("gone", stale))),
        ("here", ErrorKind::KeyModified, others().and_then(|t| t.require_version("here", stale))),
        ("new/key", ErrorKind::KeyNotFound, others().and_then(|t| t.require_exists("new/key"))),
    ];
    for (name, kind, txn) in failing {
        refused(run(f, txn).await, kind, name);
        assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before, "{name}");
    }
    let outcome = run(f, others()).await.expect("without the compare that failed all hold");
    assert_eq!(outcome.versions.len(), 2);
}

/// A compare looks at what was there before, whatever the transaction writes to the same key.
pub async fn compares_see_the_state_before(f: &Fixture) {
    put_all(f, &["put", "deleted", "kept"]).await;
    let version = f.store.put("put", "1").await.expect("a put");
    let txn = Txn::new()
        .put("made", "1")
        .and_then(|txn| txn.put("put", "2"))
        .and_then(|txn| txn.delete("deleted"))
        .and_then(|txn| txn.require_absent("made"))
        .and_then(|txn| txn.require_version("put", version))
        .and_then(|txn| txn.require_exists("deleted"));
    run(f, txn).await.expect("all compares held before");
    let before = f.other.list(Key::root()).await.expect("there are keys");
    assert_eq!(names(&before), ["kept", "made", "put"]);
    let txn = Txn::new().delete("kept").and_then(|txn| txn.require_absent("kept"));
    refused(run(f, txn).await, ErrorKind::KeyExists, "kept");
    let txn = Txn::new().put("new", "1").and_then(|txn| txn.require_exists("new"));
    refused(run(f, txn).await, ErrorKind::KeyNotFound, "new");
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
}

/// A key that is written twice, in whatever spelling, is refused before anything is sent.
pub async fn a_key_is_written_at_most_once(f: &Fixture) {
    put_all(f, &["a"]).await;
    let put = || Txn::new().put("x/y", "1");
    let delete = || Txn::new().delete("x/y");
    for (name, twice) in [
        ("x/y", put().and_then(|txn| txn.put("x/y", "1"))),
        ("x/y", put().and_then(|txn| txn.put("/x//y/", "2"))),
        ("x/y", put().and_then(|txn| txn.delete("x/y"))),
        ("x/y", delete().and_then(|txn| txn.put("x/y/", "1"))),
        ("x/y", delete().and_then(|txn| txn.put("a", "1")?.delete("x/y"))),
    ] {
        refused(twice, ErrorKind::InvalidKey, name);
    }
    for root in [Txn::new().put("/", "1"), Txn::new().delete(Key::root())] {
        let error = root.expect_err("the root is no target");
        assert_eq!(error.kind(), ErrorKind::InvalidKey, "{error}");
    }
    assert_eq!(names(&f.other.list(Key::root()).await.expect("there is a key")), ["a"]);
    let relatives = put().and_then(|txn| txn.put("x/y/z", "1")?.put("x", "1")?.put("x/y-", "1"));
    run(f, relatives).await.expect("parents, children and namesakes are other keys");
    let all = f.other.list(Key::root()).await.expect("there are keys");
    assert_eq!(names(&all), ["a", "x", "x/y", "x/y-", "x/y/z"]);
}

/// Deleting what is absent is nothing: the rest happens, and nobody is told of a delete.
pub async fn deleting_an_absent_key_in_a_transaction_is_nothing(f: &Fixture) {
    put_all(f, &["d/here", "d/p/child"]).await;
    let mut watch = f.follow(f.other.watch_tree("d").expect("a directory"));
    watch.until_synced().await;
    let txn = Txn::new()
        .delete("d/gone")
        .and_then(|txn| txn.delete("d/p")?.delete("x/y")?.put("d/new", "1")?.delete("d/here"));
    let outcome = run(f, txn).await.expect("deleting nothing is fine");
    let new = f.other.get("d/new").await.expect("the key is there");
    assert_eq!(outcome.versions, [new.version]);
    let only = Txn::new().delete("d/gone").and_then(|txn| txn.delete("d/here"));
    let outcome = run(f, only).await.expect("deleting nothing is fine");
    assert_eq!(outcome.versions, []);
    f.store.put("d/z", "end").await.expect("a put");
    let mut told = HashSet::new();
    while !watch.state.contains_key("d/z") {
        told.insert(format!("{:?}", watch.next().await));
    }
    let deletes: Vec<_> = told.iter().filter(|event| event.starts_with("Delete")).collect();
    assert_eq!(deletes.len(), 1, "{deletes:?}");
    assert!(deletes[0].contains("d/here"), "{deletes:?}");
    let listed = f.other.list("d").await.expect("there are keys");
    assert_eq!(names(&listed), ["d/new", "d/p/child", "d/z"]);
}

/// A transaction that writes nothing tells whether its compares hold.
pub async fn compares_alone_are_a_transaction(f: &Fixture) {
    let version = f.store.put("a", "1").await.expect("a put");
    let holds = || Txn::new().require_version("a", version)?.require_absent("b");
    let outcome = run(f, holds()).await.expect("the compares hold");
    assert_eq!(outcome.versions, []);
    assert!(outcome.index >= version.last_index(), "{outcome:?} after {version}");
    let fails = holds().and_then(|txn| txn.require_exists("b"));
    refused(run(f, fails).await, ErrorKind::KeyNotFound, "b");
    assert_eq!(f.other.get("a").await.expect("the key is there").version, version);
}

/// A transaction happens only while the guards of all its fences hold their locks.
pub async fn a_fenced_transaction_needs_every_lock(f: &Fixture) {
    let lock = |name| f.store.new_lock(name, LockOptions::default()).expect("a lock");
    let (first, second) = (lock("locks/1"), lock("locks/2"));
    let kept = first.lock().await.expect("the lock is free");
    let released = second.lock().await.expect("the lock is free");
    let fenced = |name: &str| {
        let txn = Txn::new().fence(kept.fence()).fence(released.fence());
        txn.require_absent(name)?.put(name, "1")?.put("both", "1")
    };
    let (while_held, later) = (fenced("a"), fenced("b"));
    run(f, while_held).await.expect("both locks are held");
    released.unlock().await.expect("the lock is held");
    let before = f.other.list(Key::root()).await.expect("there are keys");
    assert_eq!(names(&before), ["a", "both"]);
    refused(run(f, later.clone()).await, ErrorKind::LockLost, "locks/2");
    let successor = second.lock().await.expect("the lock is free");
    refused(run(f, later).await, ErrorKind::LockLost, "locks/2");
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
    let current = Txn::new().fence(kept.fence()).fence(successor.fence()).put("b", "1");
    run(f, current).await.expect("both locks are held");
    kept.unlock().await.expect("the lock is held");
    successor.unlock().await.expect("the lock is held");
}

/// A transaction carries as many operations as the limit says; one more is refused beforehand.
pub async fn a_transaction_carries_its_operations(f: &Fixture) {
    let limit = f.store.capabilities().max_txn_ops;
    let full = |mark: &str| {
        let txn = Txn::new().require_absent("x")?.delete("y")?;
        (2..limit).try_fold(txn, |txn, number| txn.put(format!("d/{number:05}"), mark.to_owned()))
    };
    let outcome = run(f, full("1")).await.expect("the limit is within the limit");
    assert_eq!(outcome.versions.len(), limit - 2);
    let before = f.other.list(Key::root()).await.expect("there are keys");
    assert_eq!(before.len(), limit - 2);
    let over = [
        full("2").and_then(|txn| txn.put("z", "1")),
        full("2").and_then(|txn| txn.delete("z")),
        full("2").and_then(|txn| txn.require_absent("z")),
    ];
    for txn in over {
        assert_too_large(run(f, txn).await);
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
    let outcome = run(f, full("3")).await.expect("the connection is as good as before");
    let newest = f.other.list("d").await.expect("there are keys");
    assert!(newest.iter().map(|pair| &pair.version).eq(&outcome.versions), "{outcome:?}");
}

/// A transaction carries as many bytes as the limit says; one more is refused beforehand.
pub async fn a_transaction_carries_its_bytes(f: &Fixture) {
    const NAME_BYTES: usize = 5;
    let facts = f.store.capabilities();
    let count = facts.max_txn_bytes.div_ceil(facts.max_value_bytes);
    let of = |bytes: usize| {
        let values = bytes - count * NAME_BYTES;
        (0..count).try_fold(Txn::new(), |txn, number| {
            let more = usize::from(number < values % count);
            txn.put(format!("{number:0NAME_BYTES$}"), vec![7; values / count + more])
        })
    };
    let full = of(facts.max_txn_bytes);
    assert_eq!(full.as_ref().map(Txn::bytes).ok(), Some(facts.max_txn_bytes));
    assert_too_large(run(f, of(facts.max_txn_bytes + 1)).await);
    assert_eq!(f.other.list(Key::root()).await.expect("the root is there"), []);
    let outcome = run(f, full).await.expect("the limit is within the limit");
    assert_eq!(outcome.versions.len(), count);
    let mut stored = 0;
    for (number, version) in outcome.versions.into_iter().enumerate() {
        let pair = f.other.get(format!("{number:0NAME_BYTES$}")).await.expect("the key is there");
        assert_eq!(pair.version, version, "{pair:?}");
        assert!(pair.value.iter().all(|byte| *byte == 7), "{pair:?}");
        stored += NAME_BYTES + pair.value.len();
    }
    assert_eq!(stored, facts.max_txn_bytes);
}

#[track_caller]
fn assert_too_large(ended: Result<TxnOutcome>) {
    let error = ended.expect_err("it is over the limit");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert!(error.changed_nothing(), "{error}");
}
