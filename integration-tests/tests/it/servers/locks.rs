//! Our locks beside those of another program.

use std::time::Duration;

use futures_util::future::try_join_all;
use integration_tests::{Fixture, key};
use libkv_core::{
    ErrorKind, Fence, KvPair, LockGuard, LockOptions, Result, Store, StoreExt, WriteOptions,
};

/// Far longer than any test waits, so that nothing ends by itself.
pub(crate) const LONG: Duration = Duration::from_secs(300);

pub(crate) async fn take(store: &dyn Store, key: &str) -> Result<LockGuard> {
    store.new_lock(key, LockOptions::default().with_ttl(LONG))?.lock().await
}

pub(crate) async fn try_take(store: &dyn Store, key: &str) -> Result<LockGuard> {
    store.new_lock(key, LockOptions::default().with_ttl(LONG))?.try_lock().await
}

pub(crate) fn assert_busy(attempt: Result<LockGuard>) {
    let error = attempt.expect_err("somebody else holds it");
    assert_eq!(error.kind(), ErrorKind::CannotLock, "{error}");
}

pub(crate) fn fenced(fence: &Fence) -> WriteOptions {
    WriteOptions::default().with_fence(fence.clone())
}

/// The keys of pairs, without the lock's in front.
pub(crate) fn below_lock(pairs: &[KvPair]) -> Vec<String> {
    pairs.iter().map(|pair| pair.key.as_str().replacen("lock/", "", 1)).collect()
}

/// What was done to a lock is a loss at once, long before it ends by itself. Returns the guard of
/// the next holder.
pub(crate) async fn assert_lost(f: &Fixture, way: &str, guard: LockGuard, lock: &str) -> LockGuard {
    let reason = f.soon(way, guard.lost()).await;
    assert_eq!(reason.kind(), ErrorKind::LockLost, "{way}: {reason}");
    assert!(!guard.is_held(), "{way}");
    let token = guard.token();
    let late = f.store.put_opts(&key("fenced"), "1".into(), fenced(&guard.fence())).await;
    let error = late.expect_err("the lock is lost");
    assert_eq!(error.kind(), ErrorKind::LockLost, "{way}: {error}");
    let old = guard.fence();
    let error = guard.unlock().await.expect_err("the lock is lost");
    assert_eq!(error.kind(), ErrorKind::LockLost, "{way}: {error}");
    // Nothing is left that somebody would wait for.
    let after = f.soon(way, take(&*f.other, lock)).await.expect("the lock is free");
    assert!(after.token() > token, "{way}");
    let late = f.store.put_opts(&key("fenced"), "1".into(), fenced(&old)).await;
    assert_eq!(late.expect_err("it has another holder").kind(), ErrorKind::LockLost, "{way}");
    after
}

/// How many contenders of each kind there are, and how often each gets in.
pub(crate) const EACH: usize = 3;
pub(crate) const ROUNDS: usize = 3;

/// Ours of the contenders. Whoever is in makes the key `owner`, which must not be there, and deletes
/// it on the way out.
pub(crate) async fn contend(f: &Fixture) {
    let ours = (0..EACH).map(|at| {
        let store = if at % 2 == 0 { f.store.clone() } else { f.other.clone() };
        async move {
            for _ in 0..ROUNDS {
                let guard = take(&*store, "lock").await?;
                let owner = store.atomic_put("owner", "ours", None).await?;
                let round = key(&format!("rounds/{}", guard.token()));
                store.put_opts(&round, "ours".into(), fenced(&guard.fence())).await?;
                store.atomic_delete(&owner).await?;
                guard.unlock().await?;
            }
            Ok::<_, libkv_core::Error>(())
        }
    });
    try_join_all(ours).await.expect("nobody else was in");
}

/// Each contender of each kind was in as often as it wanted, below `rounds`.
pub(crate) async fn assert_all_were_in(f: &Fixture) {
    let rounds = f.store.list("rounds").await.expect("a listing");
    for kind in ["ours", "theirs"] {
        let count = rounds.iter().filter(|pair| pair.value == kind).count();
        assert_eq!(count, ROUNDS * EACH, "{kind}");
    }
}
