//! Section 7 of the contract: what a guard proves, and how it is given back.

use libkv_core::{
    BackendName, DeleteOptions, DeleteTreeOptions, ErrorKind, Expect, Fence, FencingToken, Key,
    LockOptions, Result, StoreExt, Txn, UpdateOptions, WriteOptions,
};

use super::locks::{long_lived, poll_once, take, try_take};
use crate::{Fixture, key};

/// Each later holder has a larger token, whichever handle it is of and with or without a value.
pub async fn tokens_grow_from_holder_to_holder(f: &Fixture) {
    let mut last = None;
    for holder in 0..8 {
        let store = if holder % 2 == 0 { &f.store } else { &f.other };
        let options = LockOptions::default();
        let options = if holder % 3 == 0 { options.with_value("v") } else { options };
        let guard = take(store, "lock", options).await.expect("the lock is free");
        assert!(last < Some(guard.token()), "{:?} after {last:?}", guard.token());
        last = Some(guard.token());
        guard.unlock().await.expect("the lock is held");
    }
}

/// Deleting the key, the lock and its whole tree between holders or under one does not bring a
/// token back.
pub async fn tokens_grow_across_deletion(f: &Fixture) {
    let mut last = None;
    for round in 0..6 {
        let guard = take(&f.store, "d/lock", long_lived(f)).await.expect("the lock is free");
        assert!(last < Some(guard.token()), "{:?} after {last:?}", guard.token());
        last = Some(guard.token());
        f.other.put("d/lock", "1").await.expect("a put");
        f.other.delete("d/lock").await.expect("the key is there");
        if round % 2 == 0 {
            guard.unlock().await.expect("the lock is held");
            f.other.delete_tree("d").await.expect("a tree");
        } else {
            f.other.delete_tree("d").await.expect("a tree");
            f.soon("the loss", guard.lost()).await;
        }
    }
}

/// Every form of write happens with the fence of a guard that holds, from any handle.
pub async fn a_fenced_write_happens_while_the_lock_is_held(f: &Fixture) {
    let guard = take(&f.store, "lock", long_lived(f)).await.expect("the lock is free");
    for store in [&f.store, &f.other] {
        let fenced = WriteOptions::default().with_fence(guard.fence());
        store.put_opts(&key("d/a"), "1".into(), fenced).await.expect("the lock is held");
        let options = UpdateOptions::default().with_fence(guard.fence());
        store.update("d/a", options, |_| "2").await.expect("the lock is held");
        let txn = Txn::new().put("d/a", "3").and_then(|txn| txn.put("d/b", "3"));
        let txn = txn.expect("two keys").fence(guard.fence());
        store.txn(txn).await.expect("the lock is held");
        let value = f.other.get("d/b").await.expect("the key is there").value;
        assert_eq!(value, "3");
        let fenced = DeleteOptions::default().with_fence(guard.fence());
        store.delete_opts(&key("d/a"), fenced).await.expect("the lock is held");
        assert!(!f.other.exists("d/a").await.expect("a read"));

        let fenced = DeleteTreeOptions::default().with_fence(guard.fence());
        let deleted = store.delete_tree_opts(&key("d"), fenced).await;
        let left = f.other.exists("d/b").await.expect("a read");
        if f.store.capabilities().atomic_delete_tree {
            deleted.expect("the lock is held");
            assert!(!left);
        } else {
            let error = deleted.expect_err("a fence cannot guard it");
            assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
            assert!(left, "a refused call deleted a key");
        }
    }
    guard.unlock().await.expect("the lock is held");
}

/// A fence whose guard does not hold makes every form of write `LockLost`, and nothing changes.
pub(super) async fn assert_refused(f: &Fixture, fence: &Fence) {
    f.other.put("d/a", "old").await.expect("a put");
    let before = f.other.list(Key::root()).await.expect("there is a key");
    let pair = f.other.get("d/a").await.expect("a is there");
    let put = WriteOptions::default().with_fence(fence.clone());
    let create = put.clone().with_expect(Expect::Absent);
    let delete = DeleteOptions::default().with_fence(fence.clone());
    let compared = delete.clone().with_expect(Expect::Version(pair.version));
    let update = UpdateOptions::default().with_fence(fence.clone());
    let txn = Txn::new().put("d/a", "new").and_then(|txn| txn.put("d/b", "new"));
    let txn = txn.expect("two keys").fence(fence.clone());
    let mut refused: Vec<Result<()>> = Vec::new();
    for store in [&f.store, &f.other] {
        let (a, b) = (key("d/a"), key("d/b"));
        refused.push(store.put_opts(&a, "new".into(), put.clone()).await.map(drop));
        refused.push(store.put_opts(&b, "new".into(), create.clone()).await.map(drop));
        refused.push(store.delete_opts(&a, delete.clone()).await);
        refused.push(store.delete_opts(&a, compared.clone()).await);
        refused.push(store.update(&a, update.clone(), |_| "new").await.map(drop));
        let error = store.txn(txn.clone()).await.expect_err("the lock is not held");
        assert_eq!(error.key(), Some(fence.key()), "{error}");
        refused.push(Err(error));
        if store.capabilities().atomic_delete_tree {
            let tree = DeleteTreeOptions::default().with_fence(fence.clone());
            refused.push(store.delete_tree_opts(&key("d"), tree).await);
        }
    }
    for (position, ended) in refused.into_iter().enumerate() {
        let error = ended.expect_err("the lock is not held");
        assert_eq!(error.kind(), ErrorKind::LockLost, "write {position}: {error}");
        assert!(error.changed_nothing(), "write {position}: {error}");
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there is a key"), before);
}

/// The fence of a released guard is refused: while nobody holds the lock, while a successor does,
/// and after that one too.
pub async fn a_fence_is_refused_after_the_release(f: &Fixture) {
    let guard = take(&f.store, "lock", long_lived(f)).await.expect("the lock is free");
    let old = guard.fence();
    guard.unlock().await.expect("the lock is held");
    assert_refused(f, &old).await;
    let successor = take(&f.other, "lock", long_lived(f)).await.expect("the lock is free");
    assert_refused(f, &old).await;
    let fenced = WriteOptions::default().with_fence(successor.fence());
    f.store.put_opts(&key("d/a"), "1".into(), fenced).await.expect("the successor holds");
    let new = successor.fence();
    successor.unlock().await.expect("the lock is held");
    assert_refused(f, &old).await;
    assert_refused(f, &new).await;
}

/// A fence is of one lock and one holder: another key's lock, a larger or smaller token and
/// another backend do not make it good.
pub async fn a_fence_is_of_one_lock_and_one_holder(f: &Fixture) {
    let released = take(&f.store, "released", long_lived(f)).await.expect("the lock is free");
    let stale = released.fence();
    released.unlock().await.expect("the lock is held");
    let guard = take(&f.store, "lock", long_lived(f)).await.expect("the lock is free");
    let both = |first: Fence, second: Fence| {
        Txn::new().put("d/a", "new").expect("a key").fence(first).fence(second)
    };
    for txn in [both(guard.fence(), stale.clone()), both(stale.clone(), guard.fence())] {
        let error = f.store.txn(txn).await.expect_err("one of the locks is not held");
        assert_eq!((error.kind(), error.key()), (ErrorKind::LockLost, Some(&key("released"))));
    }
    let nowhere = BackendName::new("nowhere");
    let foreign = Fence::new(nowhere, key("lock"), guard.token(), guard.fence().node());
    let fenced = WriteOptions::default().with_fence(foreign);
    let error = f.store.put_opts(&key("d/a"), "new".into(), fenced).await.expect_err("foreign");
    assert_eq!(error.kind(), ErrorKind::InvalidVersion, "{error}");
    assert!(!f.other.exists("d/a").await.expect("a read"));
    let second = take(&f.other, "released", long_lived(f)).await.expect("the lock is free");
    f.store.txn(both(guard.fence(), second.fence())).await.expect("both locks are held");
    for guard in [guard, second] {
        guard.unlock().await.expect("the lock is held");
    }
}

/// A fence and an expectation must both hold.
pub async fn a_fenced_write_still_compares(f: &Fixture) {
    let stale = f.store.put("a", "older").await.expect("a put");
    f.store.put("a", "old").await.expect("a put");
    let before = f.other.get("a").await.expect("a is there");
    let guard = take(&f.store, "lock", long_lived(f)).await.expect("the lock is free");
    for (expect, kind) in
        [(Expect::Absent, ErrorKind::KeyExists), (Expect::Version(stale), ErrorKind::KeyModified)]
    {
        let fenced = WriteOptions::from(expect).with_fence(guard.fence());
        let error = f.store.put_opts(&key("a"), "new".into(), fenced).await.expect_err("stale");
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert_eq!(f.other.get("a").await.expect("a is there"), before);
    let fenced = WriteOptions::from(Expect::Version(before.version)).with_fence(guard.fence());
    f.store.put_opts(&key("a"), "new".into(), fenced).await.expect("both hold");
    guard.unlock().await.expect("the lock is held");
}

/// When `unlock` returns the server has released the lock, so that anybody gets it without waiting.
pub async fn unlock_waits_for_the_servers_word(f: &Fixture) {
    for round in 0..20 {
        let (holder, next) =
            if round % 2 == 0 { (&f.store, &f.other) } else { (&f.other, &f.store) };
        let guard = try_take(holder, "lock").await.expect("the lock was given back");
        let error = try_take(next, "lock").await.expect_err("the lock is held");
        assert_eq!(error.kind(), ErrorKind::CannotLock, "{error}");
        guard.unlock().await.expect("the lock is held");
    }
}

/// Dropping the guard, or the future of `unlock` at its first poll, releases in the background.
pub async fn a_dropped_guard_releases(f: &Fixture) {
    for round in 0..10 {
        let guard = take(&f.store, "lock", long_lived(f)).await.expect("the lock is free");
        let (fence, lost) = (guard.fence(), guard.lost());
        if round % 2 == 0 {
            drop(guard);
        } else {
            drop(poll_once(std::pin::pin!(guard.unlock())).await);
        }
        let guard = f.soon("the lock", take(&f.other, "lock", long_lived(f))).await;
        let guard = guard.expect("the lock was given back");
        assert!(guard.fence() != fence && guard.token() > fence.token());
        assert!(poll_once(std::pin::pin!(lost)).await.is_none(), "releasing is not losing");
        guard.unlock().await.expect("the lock is held");
    }
}

/// After a release `lost` stays pending, whatever becomes of the lock later.
pub async fn a_release_is_not_a_loss(f: &Fixture) {
    let guard = take(&f.store, "d/lock", long_lived(f)).await.expect("the lock is free");
    let mut lost = std::pin::pin!(guard.lost());
    let waiting = tokio::spawn(guard.lost());
    assert!(poll_once(lost.as_mut()).await.is_none(), "the lock is held");
    guard.unlock().await.expect("the lock is held");
    assert!(poll_once(lost.as_mut()).await.is_none(), "releasing is not losing");
    let successor = take(&f.other, "d/lock", long_lived(f)).await.expect("the lock is free");
    f.store.delete_tree("d").await.expect("a tree");
    f.soon("the successor's loss", successor.lost()).await;
    assert!(poll_once(lost.as_mut()).await.is_none(), "the successor's loss is not ours");
    assert!(!waiting.is_finished(), "somebody was told of a loss");
    waiting.abort();
}

/// A guard can be moved and compared: its token is ordered, and its future of loss is its own.
pub async fn a_guard_can_be_moved_to_a_task(f: &Fixture) {
    let guard = take(&f.store, "lock", long_lived(f)).await.expect("the lock is free");
    assert!(guard.token() > FencingToken::new(0));
    let lost = guard.lost();
    let told = tokio::spawn(lost);
    let unlocked = tokio::spawn(async move {
        assert!(guard.is_held());
        guard.unlock().await
    });
    f.soon("the release", unlocked).await.expect("the task ends well").expect("the lock is held");
    assert!(!told.is_finished());
    told.abort();
}
