//! Section 6 of the contract: watches that begin in the past or fall behind.

use std::time::{Duration, Instant};

use libkv_core::{
    ErrorKind, Event, EventStream, Key, ResyncReason, StoreExt, Txn, WatchOptions, WatchTarget,
};

use super::locks::{take, try_take, with_ttl_near};
use crate::{Fixture, Watcher, key};

/// An index that no store reaches, and that every server's number type holds.
const BEYOND: u64 = 1 << 60;

fn watch_from(f: &Fixture, target: WatchTarget, index: u64) -> EventStream {
    f.store.watch_opts(&target, WatchOptions::default().with_from(index))
}

/// Where no history is kept, a watch from the past is refused and the stream ends there.
async fn assert_no_history(f: &Fixture, index: u64) {
    let mut watch = f.follow(watch_from(f, WatchTarget::Tree(Key::root()), index));
    let error = watch.item().await.expect("an answer").expect_err("there is no history");
    assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
    assert!(watch.item().await.is_none(), "something follows the error");
}

/// `from` begins with the very first change after the index, leaves out those up to it, and goes
/// on after `Synced`.
pub async fn from_an_index_come_the_changes_after_it(f: &Fixture) {
    let first = f.store.put("d/a", "1").await.expect("a put").last_index();
    let second = f.other.put("d/b", "1").await.expect("a put");
    f.other.put("elsewhere", "1").await.expect("a put");
    let txn = Txn::new().put("d/a", "2").and_then(|txn| txn.put("d/c", "1")).expect("two keys");
    let third = f.other.txn(txn).await.expect("nothing is compared");
    f.other.delete("d/b").await.expect("the key is there");
    if !f.store.capabilities().history {
        return assert_no_history(f, first).await;
    }

    let told = async |target, index| {
        let mut watch = f.follow(watch_from(f, target, index));
        let (synced, events) = watch.until_synced().await;
        let told: Vec<_> = events.iter().map(change).collect();
        (watch, synced, told)
    };
    let tree = || WatchTarget::Tree(key("d"));
    let (_, _, mut events) = told(tree(), first).await;
    events[1..3].sort();
    let b = ("d/b".to_owned(), Some(second.last_index()));
    let a_and_c = ["d/a", "d/c"].map(|name| (name.to_owned(), Some(third.index)));
    let gone = ("d/b".to_owned(), None);
    assert_eq!(events, [b, a_and_c[0].clone(), a_and_c[1].clone(), gone.clone()]);
    let (_, _, mut events) = told(tree(), second.last_index()).await;
    events[..2].sort();
    assert_eq!(events, [a_and_c[0].clone(), a_and_c[1].clone(), gone]);
    let mut after = f.follow(watch_from(f, tree(), third.index));
    let (deleted, deleted_at) = after.delete().await;
    assert_eq!(deleted.as_str(), "d/b");
    let (_, _, events) = told(WatchTarget::Key(key("d/a")), first).await;
    assert_eq!(events, a_and_c[..1]);
    let (mut watch, synced, events) = told(WatchTarget::Key(key("d/b")), deleted_at).await;
    assert_eq!(events, []);
    assert!(synced >= deleted_at, "{synced} does not cover {deleted_at}");
    let version = f.other.put("d/b", "2").await.expect("a put");
    assert_eq!(watch.put().await.version, version);
}

/// The key of a change, and the index where it is a put.
fn change(event: &Event) -> (String, Option<u64>) {
    match event {
        Event::Put(pair) => (pair.key.to_string(), Some(pair.last_index())),
        Event::Delete { key, .. } => (key.to_string(), None),
        other => panic!("{other:?} is no change"),
    }
}

/// A consumer that noted the index of `Synced` and comes back later gets what it missed.
pub async fn from_the_index_of_synced_nothing_is_missed(f: &Fixture) {
    f.store.put("d/a", "1").await.expect("a put");
    f.store.put("d/b", "1").await.expect("a put");
    let mut watch = f.follow(f.store.watch_tree("d").expect("a directory"));
    let (index, _) = watch.until_synced().await;
    drop(watch);
    f.other.delete("d/a").await.expect("the key is there");
    let version = f.other.put("d/c", "1").await.expect("a put");
    if !f.store.capabilities().history {
        return assert_no_history(f, index).await;
    }
    let mut watch = f.follow(watch_from(f, WatchTarget::Tree(key("d")), index));
    assert_eq!(watch.delete().await.0, key("d/a"));
    assert_eq!(watch.put().await.version, version);
    assert_eq!(watch.until_synced().await.1, []);
}

/// An index that the store has not reached is of another history: the stream says so, tells the
/// whole state, and goes on with what happens next.
pub async fn from_beyond_the_index_comes_the_whole_state(f: &Fixture) {
    f.store.put("d/a", "1").await.expect("a put");
    f.store.put("d/b", "1").await.expect("a put");
    f.store.delete("d/a").await.expect("the key is there");
    if !f.store.capabilities().history {
        return assert_no_history(f, BEYOND).await;
    }
    for target in [WatchTarget::Tree(key("d")), WatchTarget::Key(key("d/b"))] {
        let mut watch = f.follow(watch_from(f, target, BEYOND));
        assert_eq!(watch.until_resync().await, (ResyncReason::HistoryRewound, true));
        let pair = watch.put().await;
        assert_eq!(pair, f.other.get("d/b").await.expect("the key is there"));
        let (index, rest) = watch.until_synced().await;
        assert_eq!(rest, []);
        assert!((pair.last_index()..BEYOND).contains(&index), "synced at {index}");
        let version = f.other.put("d/b", "1").await.expect("a put");
        assert_eq!(watch.put().await.version, version);
    }
}

/// From its very beginning a history either is told in full, or is no longer there and the whole
/// state is told instead; both end with the state of the store.
pub async fn from_the_beginning_ends_with_the_state(f: &Fixture) {
    for round in 0..5 {
        f.store.put("d/a", round.to_string()).await.expect("a put");
        f.store.put(format!("d/b{round}"), "1").await.expect("a put");
    }
    f.store.delete("d/b3").await.expect("the key is there");
    if !f.store.capabilities().history {
        return assert_no_history(f, 1).await;
    }
    let mut watch = f.follow(watch_from(f, WatchTarget::Tree(key("d")), 0));
    let (_, events) = watch.until_synced().await;
    let listing = f.other.list("d").await.expect("the directory has keys");
    assert!(watch.state.values().eq(&listing), "{:?} is not {listing:?}", watch.state);
    match events.first() {
        Some(Event::Resync { reason, complete }) => {
            assert_eq!((*reason, *complete), (ResyncReason::Compacted, true));
            assert_eq!(events.len(), 1 + listing.len(), "{events:?}");
        }
        _ => assert_eq!(events.len(), 11, "{events:?}"),
    }
}

/// A consumer that falls behind its buffer is told so, gets the difference, `Synced`, and then
/// every change again. A store that folds changes may come through without a gap.
pub async fn a_consumer_that_falls_behind_is_told_and_made_good(f: &Fixture) {
    for name in ["d/deleted", "d/put", "d/quiet"] {
        f.store.put(name, "1").await.expect("a put");
    }
    let opts = WatchOptions::default().with_buffer(2);
    let mut watch = f.follow(f.store.watch_opts(&WatchTarget::Tree(key("d")), opts));
    watch.until_synced().await;
    for round in 0..3 {
        f.other.put("d/deleted", "1").await.expect("a put");
        for step in 0..120 {
            f.other.put(format!("d/k{}", step % 40), "1").await.expect("a put");
        }
        f.other.put("d/brief", "1").await.expect("a put");
        for name in ["d/brief", "d/deleted", "d/k7"] {
            f.other.delete(name).await.expect("the key is there");
        }
        f.other.put("d/put", "1").await.expect("a put");
        let last = f.other.put("d/zz", "1").await.expect("a put");

        let is_last = |watch: &Watcher| watch.state.get("d/zz").is_some_and(|p| p.version == last);
        let mut resyncs = 0;
        while !is_last(&watch) {
            if let Event::Resync { reason, complete } = watch.next().await {
                assert_eq!(reason, ResyncReason::Lagged);
                resyncs += 1;
                assert_difference(&mut watch, complete).await;
            }
        }
        if f.store.capabilities().watches_every_version {
            assert!(resyncs > 0, "round {round}: a gap was not told");
        }
        let listing = f.other.list("d").await.expect("the directory has keys");
        assert!(watch.state.values().eq(&listing), "{:?} is not {listing:?}", watch.state);
    }
}

/// Wherever the end of the buffer falls into a transaction, what the consumer got of it is not told
/// again, and the rest is.
pub async fn a_transaction_cut_by_the_buffer_is_made_good(f: &Fixture) {
    for name in ["d/a", "d/b"] {
        f.store.put(name, "1").await.expect("a put");
    }
    for buffer in 1..=5 {
        let opts = WatchOptions::default().with_buffer(buffer);
        let mut watch = f.follow(f.store.watch_opts(&WatchTarget::Tree(key("d")), opts));
        watch.until_synced().await;
        let txn = Txn::new()
            .put("d/a", "2")
            .and_then(|txn| txn.delete("d/b"))
            .and_then(|txn| txn.put("d/c", "2"))
            .and_then(|txn| txn.put("d/d", "2"))
            .expect("four keys");
        f.other.txn(txn).await.expect("nothing is compared");
        f.other.put("d/b", "1").await.expect("a put");
        let last = f.other.put("d/zz", "1").await.expect("a put");
        while watch.state.get("d/zz").is_none_or(|pair| pair.version != last) {
            if let Event::Resync { complete, .. } = watch.next().await {
                assert_difference(&mut watch, complete).await;
            }
        }
        let listing = f.other.list("d").await.expect("the directory has keys");
        assert!(watch.state.values().eq(&listing), "{:?} is not {listing:?}", watch.state);
    }
}

/// Between a `Resync` and its `Synced` there is what the consumer does not know yet, and no more.
async fn assert_difference(watch: &mut Watcher, complete: bool) {
    loop {
        let known = watch.state.clone();
        match watch.next().await {
            Event::Synced { .. } => return,
            Event::Put(pair) => {
                let version = known.get(&pair.key).map(|pair| pair.version);
                assert_ne!(version, Some(pair.version), "{pair:?} was known");
            }
            Event::Delete { key, .. } => {
                assert!(!complete, "a whole state names {key}, which is gone");
                assert!(known.contains_key(&key), "{key} was not known");
            }
            Event::Resync { complete: true, .. } if !complete => {}
            other => panic!("{other:?} before Synced"),
        }
    }
}

/// A consumer that took no initial state and falls behind hears of deleted keys too, one by one or
/// by a whole state that does not name them.
pub async fn a_consumer_without_a_picture_hears_of_deletions(f: &Fixture) {
    for step in 0..30 {
        f.store.put(format!("d/k{step}"), "1").await.expect("a put");
    }
    let opts = WatchOptions::default().without_initial().with_buffer(1);
    let mut watch = f.follow(f.store.watch_opts(&WatchTarget::Tree(key("d")), opts));
    assert!(matches!(watch.next().await, Event::Synced { .. }));
    for step in 0..20 {
        f.other.delete(format!("d/k{step}")).await.expect("the key is there");
    }
    f.other.put("d/zz", "1").await.expect("a put");
    let mut deleted = Vec::new();
    let mut whole_state = false;
    while !watch.state.contains_key("d/zz") {
        match watch.next().await {
            Event::Delete { key, .. } => deleted.push(key),
            Event::Resync { complete, .. } => whole_state |= complete,
            _ => {}
        }
    }
    for step in 0..20 {
        let gone = key(&format!("d/k{step}"));
        assert!(whole_state || deleted.contains(&gone), "{gone} is not told: {deleted:?}");
        assert!(!watch.state.contains_key(&gone), "{gone} is told as there");
    }
}

/// While one consumer does not read at all, another stream of the same handle gets every change,
/// a lock of the handle is kept beyond its time to live, and the handle answers.
pub async fn a_slow_consumer_stalls_nobody(f: &Fixture) {
    let every = f.store.capabilities().watches_every_version;
    let limits = f.store.capabilities().lock_ttl;
    let options = with_ttl_near(f, Duration::from_secs(2));
    let bound = limits.zip(options.ttl).map(|(limits, ttl)| limits.bound(ttl));
    let guard = take(&f.store, "lock", options).await.expect("the lock is free");
    let opts = WatchOptions::default().with_buffer(1);
    let mut slow = f.follow(f.store.watch_opts(&WatchTarget::Tree(key("d")), opts));
    slow.until_synced().await;
    let mut fast = f.follow(f.store.watch_tree("d").expect("a directory"));
    fast.until_synced().await;

    let end = Instant::now() + bound.unwrap_or_default();
    let mut step = 0;
    while step < 400 || Instant::now() < end {
        let version = f.other.put(format!("d/k{}", step % 100), "1").await.expect("a put");
        if every {
            assert_eq!(fast.put().await.version, version);
        }
        step += 1;
        if step > 400 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let last = f.store.put("d/zz", "1").await.expect("the handle answers");
    fast.until(|state| state.get("d/zz").is_some_and(|pair| pair.version == last)).await;
    assert!(guard.is_held(), "the lock was not kept");
    let error = try_take(&f.other, "lock").await.expect_err("the lock is held");
    assert_eq!(error.kind(), ErrorKind::CannotLock, "{error}");
    guard.unlock().await.expect("the lock is held");
    slow.until(|state| state.get("d/zz").is_some_and(|pair| pair.version == last)).await;
    assert_eq!(slow.state, fast.state);
}
