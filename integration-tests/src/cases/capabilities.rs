//! Section 10 of the contract: each fact of `capabilities()`, for both answers.

use std::time::Duration;

use libkv_core::{
    Error, ErrorKind, Lifetime, LifetimeKind, LockOptions, StoreExt, TtlLimits, Txn, WriteOptions,
};

use super::locks::{take, try_take};
use crate::{Fixture, key};

const NANOSECOND: Duration = Duration::from_nanos(1);

/// Limits that can be met, and the times to live just outside them.
fn outside(limits: TtlLimits) -> Vec<Duration> {
    assert!(limits.min <= limits.default && limits.default <= limits.max, "{limits:?}");
    assert!(limits.factor >= 1 && limits.unit >= NANOSECOND, "{limits:?}");
    assert!(limits.bound(limits.min) >= limits.min, "{limits:?}");
    let shorter = limits.min.checked_sub(NANOSECOND);
    let longer = limits.max.checked_add(NANOSECOND);
    shorter.into_iter().chain(longer).chain([Duration::MAX]).collect()
}

fn assert_names_the_limits(error: &Error, limits: TtlLimits) {
    assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
    let text = error.to_string();
    for limit in [limits.min, limits.max] {
        assert!(text.contains(&format!("{limit:?}")), "{text:?} does not name {limit:?}");
    }
}

/// `ttl` gives the limits within which a key's time to live is taken; outside them it is refused
/// beforehand, with the limits in the text. Without it every time to live is refused.
pub async fn ttl_says_which_times_to_live_a_key_may_have(f: &Fixture) {
    let put = async |ttl| {
        let opts = WriteOptions::default().with_ttl(ttl);
        f.store.put_opts(&key("a"), "new".into(), opts).await
    };
    let old = f.store.put("a", "old").await.expect("a put");
    let Some(limits) = f.store.capabilities().ttl else {
        let error = put(Duration::from_secs(60)).await.expect_err("no time to live");
        assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
        assert_eq!(f.other.get("a").await.expect("a is there").version, old);
        return;
    };
    for ttl in outside(limits) {
        assert_names_the_limits(&put(ttl).await.expect_err("outside the limits"), limits);
        let txn = Txn::new().put_with("a", "new", Lifetime::Ttl(ttl)).expect("a key");
        assert_names_the_limits(&f.store.txn(txn).await.expect_err("outside"), limits);
        assert_eq!(f.other.get("a").await.expect("a is there").version, old);
    }
    put(limits.min).await.expect("the shortest is taken");
    let longest = put(limits.max).await.expect("the longest is taken");
    let pair = f.other.get("a").await.expect("a lives long");
    assert_eq!((pair.version, pair.lifetime), (longest, LifetimeKind::Ttl));
}

/// `lock_ttl` gives the limits of a lock's time to live in the same way, and its default is what a
/// lock has that names none.
pub async fn lock_ttl_says_which_times_to_live_a_lock_may_have(f: &Fixture) {
    let try_with = async |ttl| take(&f.store, "lock", LockOptions::default().with_ttl(ttl)).await;
    let guard = try_take(&f.store, "lock").await.expect("a lock needs no time to live");
    assert!(guard.is_held());
    guard.unlock().await.expect("the lock is held");
    let Some(limits) = f.store.capabilities().lock_ttl else {
        let error = try_with(Duration::from_secs(60)).await.expect_err("no time to live");
        assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
        return;
    };
    for ttl in outside(limits) {
        assert_names_the_limits(&try_with(ttl).await.expect_err("outside the limits"), limits);
        let guard = try_take(&f.other, "lock").await.expect("nobody got the lock");
        guard.unlock().await.expect("the lock is held");
    }
    for ttl in [limits.min, limits.default, limits.max] {
        let guard = try_with(ttl).await.expect("within the limits");
        // The shortest may be over before a busy machine comes to its first renewal.
        let unlocked = guard.unlock().await;
        let lost = unlocked.is_err_and(|error| error.kind() != ErrorKind::LockLost);
        assert!(!lost, "a lock of {ttl:?} cannot be given back");
    }
}

/// With `atomic_list` a listing never shows a part of a transaction; without it, it still shows
/// every key that is there all the time.
pub async fn atomic_list_says_whether_a_listing_is_of_one_moment(f: &Fixture) {
    const KEYS: usize = 12;
    let write = async |round: usize| {
        let put = |txn: Txn, key: usize| txn.put(format!("d/k{key:02}"), round.to_string());
        let txn = (0..KEYS).try_fold(Txn::new(), put).expect("different keys");
        f.other.txn(txn).await.expect("nothing is compared");
    };
    write(0).await;
    let writer = async {
        for round in 1..=100 {
            write(round).await;
        }
    };
    let mut writer = std::pin::pin!(writer);
    let mut done = false;
    while !done {
        let (ended, listing) = tokio::join!(
            async { tokio::time::timeout(Duration::from_millis(2), &mut writer).await.is_ok() },
            f.store.list("d")
        );
        done = ended;
        let listing = listing.expect("the keys are always there");
        assert_eq!(listing.len(), KEYS, "{listing:?}");
        if f.store.capabilities().atomic_list {
            let first = &listing[0];
            let together = |pair: &libkv_core::KvPair| pair.value == first.value;
            assert!(listing.iter().all(together), "a part of a transaction: {listing:?}");
        }
    }
    let last = f.store.list("d").await.expect("the keys are there");
    assert!(last.iter().all(|pair| pair.value == "100"));
}

/// With `atomic_delete_tree` nobody sees a part of the tree; without it the tree still goes.
pub async fn atomic_delete_tree_says_whether_a_tree_goes_at_once(f: &Fixture) {
    const KEYS: usize = 12;
    let facts = f.store.capabilities();
    let deleter = async {
        for _ in 0..50 {
            let put = |txn: Txn, key: usize| txn.put(format!("d/a/k{key}"), "1");
            let txn = (0..KEYS).try_fold(Txn::new(), put).expect("different keys");
            f.other.txn(txn).await.expect("nothing is compared");
            f.other.delete_tree("d/a").await.expect("a tree");
        }
    };
    f.store.put("d/stays", "1").await.expect("a put");
    let mut deleter = std::pin::pin!(deleter);
    let mut done = false;
    while !done {
        let (ended, listing) = tokio::join!(
            async { tokio::time::timeout(Duration::from_millis(2), &mut deleter).await.is_ok() },
            f.store.list("d")
        );
        done = ended;
        let seen = listing.expect("one key is always there").len() - 1;
        if facts.atomic_delete_tree && facts.atomic_list {
            assert!(seen == 0 || seen == KEYS, "{seen} keys of {KEYS}");
        }
    }
    assert_eq!(f.store.list("d").await.expect("one key is there").len(), 1);
}

/// With `empty_values_on_parents` a key may hold an empty value above others; without it both ways
/// to get there are refused.
pub async fn empty_values_on_parents_says_where_nothing_may_stand(f: &Fixture) {
    f.store.put("empty", "").await.expect("an empty value without children");
    f.store.put("parent/child", "1").await.expect("a put");
    let refused = [f.store.put("empty/child", "1").await, f.store.put("parent", "").await];
    if f.store.capabilities().empty_values_on_parents {
        let [child, parent] = refused.map(|put| put.expect("an empty value above a child"));
        assert_eq!(f.other.get("empty/child").await.expect("a child").version, child);
        let pair = f.other.get("parent").await.expect("an empty value");
        assert_eq!((pair.version, pair.value.len()), (parent, 0));
        return;
    }
    for put in refused {
        let error = put.expect_err("it could not be told from an absent key");
        assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
    }
    assert!(!f.other.exists("empty/child").await.expect("a read"));
    assert!(!f.other.exists("parent").await.expect("a read"));
    assert_eq!(f.other.get("empty").await.expect("the key is there").value, "");
}

/// With `children_of_ephemeral` keys and locks may be below an ephemeral key and outlive it;
/// without it they are refused.
pub async fn children_of_ephemeral_says_what_may_be_below_one(f: &Fixture) {
    let owner = f.another().await;
    let ephemeral = || WriteOptions::from(Lifetime::Ephemeral);
    owner.put_opts(&key("mine"), "1".into(), ephemeral()).await.expect("an ephemeral put");
    f.store.put("parent/child", "1").await.expect("a put");
    let child = f.store.put("mine/child", "1").await.map(drop);
    let on_it = take(&f.store, "mine", LockOptions::default()).await;
    let below = take(&f.store, "mine/lock", LockOptions::default()).await;
    let parent = owner.put_opts(&key("parent"), "1".into(), ephemeral()).await.map(drop);
    if !f.store.capabilities().children_of_ephemeral {
        for ended in [child, on_it.map(drop), below.map(drop), parent] {
            let error = ended.expect_err("an ephemeral key has no children");
            assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
        }
        assert!(!f.other.exists("mine/child").await.expect("a read"));
        assert!(!f.other.exists("parent").await.expect("a read"));
        return;
    }
    child.expect("a child of an ephemeral key");
    parent.expect("an ephemeral key above another");
    let guards = [on_it, below].map(|guard| guard.expect("a lock at an ephemeral key"));
    owner.close().await.expect("a close");
    for name in ["mine", "parent"] {
        assert!(!f.other.exists(name).await.expect("a read"), "{name} outlives its session");
        let child = format!("{name}/child");
        assert!(f.other.exists(&child).await.expect("a read"), "{child} went with its parent");
    }
    for guard in guards {
        assert!(guard.is_held(), "{guard:?}");
        guard.unlock().await.expect("the lock is held");
    }
}
