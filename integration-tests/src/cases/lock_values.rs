//! Section 7 of the contract: the value of a lock, and what of a lock can be seen.

use bytes::Bytes;
use libkv_core::{
    ErrorKind, Key, LifetimeKind, ListOptions, LockOptions, StoreExt, Wait, WatchOptions,
    WatchTarget,
};

use super::locks::{long_lived, poll_once, take};
use crate::{Fixture, key};

/// While the lock is held its value is the key's, in place of what was there; `get` and `watch`
/// show it come and go.
pub async fn the_value_is_there_while_the_lock_is_held(f: &Fixture) {
    f.store.put("lock", "old").await.expect("a put");
    let mut watch = f.follow(f.other.watch("lock").expect("a key"));
    watch.until_synced().await;
    for holder in ["first", "second"] {
        let options = LockOptions::default().with_value(holder);
        let guard = take(&f.store, "lock", options).await.expect("the lock is free");
        let pair = f.other.get("lock").await.expect("the value is there");
        assert_eq!(pair.value, holder);
        assert_ne!(pair.lifetime, LifetimeKind::Permanent, "{pair:?}");
        assert_eq!(watch.put().await, pair);
        assert!(f.other.exists("lock").await.expect("a read"));
        guard.unlock().await.expect("the lock is held");
        let error = f.other.get("lock").await.expect_err("the value went with the lock");
        assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
        let (gone, gone_at) = watch.delete().await;
        assert_eq!(gone, key("lock"));
        assert!(gone_at > pair.last_index(), "{gone_at} after {pair:?}");
    }
}

/// The value also goes with a guard that is dropped and with a lock that is lost.
pub async fn the_value_goes_however_the_lock_ends(f: &Fixture) {
    let mut watch = f.follow(f.other.watch("d/lock").expect("a key"));
    watch.until_synced().await;
    for lose in [false, true] {
        let options = long_lived(f).with_value("mine");
        let guard = take(&f.store, "d/lock", options).await.expect("the lock is free");
        assert_eq!(watch.put().await.value, "mine");
        if lose {
            f.other.delete_tree("d").await.expect("a tree");
            f.soon("the loss", guard.lost()).await;
        } else {
            drop(guard);
        }
        watch.delete().await;
        assert!(!f.store.exists("d/lock").await.expect("a read"));
    }
}

/// Release removes the value only as the lock wrote it: what others wrote meanwhile stays, though
/// it is the same text, and is the lock's to keep or lose no more.
pub async fn release_leaves_what_others_wrote(f: &Fixture) {
    for (round, theirs) in ["theirs", "mine"].into_iter().enumerate() {
        let name = format!("lock{round}");
        let options = long_lived(f).with_value("mine");
        let guard = take(&f.store, &name, options).await.expect("the lock is free");
        let version = f.other.put(&name, theirs).await.expect("a put");
        assert!(guard.is_held(), "the value is not the lock");
        guard.unlock().await.expect("the lock is held");
        let pair = f.store.get(&name).await.expect("it is not the lock's any more");
        assert_eq!((pair.version, pair.lifetime), (version, LifetimeKind::Permanent));
    }
    let guard = take(&f.store, "lock", long_lived(f).with_value("mine")).await;
    let guard = guard.expect("the lock is free");
    f.other.delete("lock").await.expect("the value is there");
    assert!(guard.is_held(), "the value is not the lock");
    let error = take(&f.other, "lock", LockOptions::default().with_wait(Wait::Never)).await;
    assert_eq!(error.expect_err("the lock is held").kind(), ErrorKind::CannotLock);
    let version = f.other.put("lock", "mine").await.expect("a put");
    guard.unlock().await.expect("the lock is held");
    assert_eq!(f.store.get("lock").await.expect("it was made anew").version, version);
}

/// A lock without a value changes nothing at its key, whether there is one or not.
pub async fn a_lock_without_a_value_leaves_its_key_alone(f: &Fixture) {
    f.store.put("d/there", "old").await.expect("a put");
    f.store.put("d/there/child", "old").await.expect("a put");
    let before = f.store.list("d").await.expect("there are keys");
    let mut watch = f.follow(f.other.watch_tree("d").expect("a directory"));
    watch.until_synced().await;
    for name in ["d/there", "d/absent", "d/there/child"] {
        let guard = take(&f.store, name, LockOptions::default()).await.expect("the lock is free");
        assert_eq!(f.other.list("d").await.expect("there are keys"), before);
        guard.unlock().await.expect("the lock is held");
        assert_eq!(f.other.list("d").await.expect("there are keys"), before);
    }
    let error = f.other.get("d/absent").await.expect_err("nobody put it");
    assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
    f.store.put("d/zz", "1").await.expect("a put");
    assert_eq!(watch.put().await.key, key("d/zz"));
}

/// Nobody writes the value but who gets the lock: neither who waits nor who is refused.
pub async fn a_waiter_writes_no_value(f: &Fixture) {
    let mut watch = f.follow(f.store.watch("lock").expect("a key"));
    watch.until_synced().await;
    let guard = take(&f.store, "lock", long_lived(f).with_value("first")).await;
    let guard = guard.expect("the lock is free");
    assert_eq!(watch.put().await.value, "first");
    let mut waiting = std::pin::pin!(take(&f.other, "lock", long_lived(f).with_value("second")));
    assert!(poll_once(waiting.as_mut()).await.is_none(), "the lock is held");
    let refused = LockOptions::default().with_value("refused").with_wait(Wait::Never);
    let error = take(&f.other, "lock", refused).await.expect_err("the lock is held");
    assert_eq!(error.kind(), ErrorKind::CannotLock, "{error}");
    assert_eq!(f.other.get("lock").await.expect("the value is there").value, "first");
    guard.unlock().await.expect("the lock is held");

    let guard = f.soon("the waiter", waiting).await.expect("the lock is free");
    let pair = f.store.get("lock").await.expect("the value is there");
    assert_eq!(pair.value, "second");
    // The removal of the first may be folded into what follows.
    watch.until(|state| state.values().any(|told| *told == pair)).await;
    guard.unlock().await.expect("the lock is held");
    watch.delete().await;
}

/// Locks that are held, waited for, released and lost show in no listing and no watch, and take no
/// room in a page.
pub async fn lock_nodes_never_show(f: &Fixture) {
    for name in ["d/a", "d/b", "d/c"] {
        f.store.put(name, "1").await.expect("a put");
    }
    let before = f.other.list("d").await.expect("there are keys");
    let mut of_tree = f.follow(f.other.watch_tree(Key::root()).expect("a directory"));
    let of_key = WatchTarget::Key(key("d/absent"));
    let mut of_key = f.follow(f.other.watch_opts(&of_key, WatchOptions::default()));
    let begun = of_tree.until_synced().await.1.len();
    assert_eq!((begun, of_key.until_synced().await.1.len()), (3, 0));

    let mut guards = Vec::new();
    for name in ["d", "d/a", "d/a/below", "d/absent", "elsewhere/lock"] {
        guards.push(take(&f.store, name, long_lived(f)).await.expect("the lock is free"));
        let error = take(&f.other, name, LockOptions::default().with_wait(Wait::Never)).await;
        assert_eq!(error.expect_err("it is held").kind(), ErrorKind::CannotLock);
    }
    let mut waiting = std::pin::pin!(take(&f.other, "d/a", LockOptions::default()));
    assert!(poll_once(waiting.as_mut()).await.is_none(), "the lock is held");

    assert_eq!(f.other.list("d").await.expect("there are keys"), before);
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
    let error = f.other.list("elsewhere").await.expect_err("only a lock is there");
    assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
    for name in ["d", "d/a/below", "d/absent", "elsewhere", "elsewhere/lock"] {
        assert!(!f.other.exists(name).await.expect("a read"), "{name}");
    }
    let page = ListOptions::default().with_limit(2);
    let first = f.other.list_opts(&key("d"), page.clone()).collect_pairs().await.expect("a page");
    assert_eq!(first, before[..2]);
    let page = page.with_start_after(key("d/a"));
    let rest = f.other.list_opts(&key("d"), page).collect_pairs().await.expect("a page");
    assert_eq!(rest, before[1..]);
    let names = ListOptions::default().with_keys_only();
    let names = f.other.list_opts(&key("d"), names).collect_pairs().await.expect("a listing");
    assert!(names.iter().map(|pair| &pair.key).eq(before.iter().map(|pair| &pair.key)));

    for guard in guards {
        guard.unlock().await.expect("the lock is held");
    }
    let guard = f.soon("the waiter", waiting).await.expect("the lock is free");
    f.store.put("d/absent", "1").await.expect("a put");
    f.store.put("zz", "1").await.expect("a put");
    assert_eq!(of_key.put().await.key, key("d/absent"));
    assert_eq!(of_tree.put().await.key, key("d/absent"));
    assert_eq!(of_tree.put().await.key, key("zz"));
    guard.unlock().await.expect("the lock is held");
}

/// The last segments that look like the lock nodes of etcd, Consul and ZooKeeper.
const LOOK_ALIKES: [&str; 3] =
    [".lock", "694d77aa9e38260f", "_c_2ad5ee22-8d5c-4d3f-9a8e-3f6f2cd0b7a1-lock-0000000001"];

/// A permanent key that is named like a lock node is data for every call.
pub async fn data_that_looks_like_a_lock_node_is_data(f: &Fixture) {
    let mut watch = f.follow(f.other.watch_tree("d").expect("a directory"));
    watch.until_synced().await;
    for name in LOOK_ALIKES {
        let name = format!("d/{name}");
        let version = f.store.put(&name, name.clone()).await.expect("a put");
        let pair = f.other.get(&name).await.expect("the key is there");
        assert_eq!((pair.version, &pair.value), (version, &Bytes::from(name.clone())));
        assert!(f.other.exists(&name).await.expect("a read"));
        assert_eq!(watch.put().await, pair);
        assert_eq!(f.other.list("d").await.expect("there is a key"), [pair]);
        f.other.delete(&name).await.expect("the key is there");
        assert_eq!(watch.delete().await.0.as_str(), name);
    }
}

/// Data below the key of a lock is neither a holder nor a waiter, whatever its name, and losing it
/// loses no lock.
pub async fn data_below_a_lock_is_no_contender(f: &Fixture) {
    // Consul has one name for the node of a lock, which data there would occupy.
    let names = LOOK_ALIKES[1..].iter().map(|name| format!("lock/{name}"));
    let names: Vec<_> = names.chain(["lock/0".to_owned(), "lock/zz".to_owned()]).collect();
    for name in &names {
        f.store.put(name, "1").await.expect("a put");
    }
    let before = f.store.list("lock").await.expect("there are keys");
    let guard = f.soon("the lock", take(&f.store, "lock", long_lived(f))).await;
    let guard = guard.expect("nobody holds it");
    for name in &names {
        f.other.put(name, "2").await.expect("a put");
    }
    let during = f.other.list("lock").await.expect("there are keys");
    assert!(during.iter().map(|pair| &pair.key).eq(before.iter().map(|pair| &pair.key)));
    for name in &names {
        f.other.delete(name).await.expect("the key is there");
    }
    let refused = take(&f.other, "lock", LockOptions::default().with_wait(Wait::Never)).await;
    assert_eq!(refused.expect_err("the lock is held").kind(), ErrorKind::CannotLock);
    assert!(guard.is_held());
    guard.unlock().await.expect("the lock is held");
}
