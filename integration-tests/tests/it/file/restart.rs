//! What goes on after a restart, and what ends with the process.

use std::time::{Duration, Instant};

use integration_tests::key;
use libkv_core::{
    ErrorKind, Event, Key, Lifetime, LifetimeKind, LockOptions, ResyncReason, Store, StoreExt, Txn,
    WatchOptions, WatchTarget, WriteOptions,
};

use super::{Place, follow, open, run, soon};

/// A time to live goes on by the time of day, also while nobody has the file.
#[test]
fn a_time_to_live_goes_on_over_a_restart() {
    const TTL: Duration = Duration::from_secs(2);
    let place = Place::new();
    run(async {
        let store = open(&place.file()).await;
        let begun = Instant::now();
        let ends = WriteOptions::default().with_ttl(TTL);
        let version = store.put_opts(&key("mortal"), "1".into(), ends).await.unwrap();
        store.close().await.unwrap();
        tokio::time::sleep(TTL / 2).await;
        let store = open(&place.file()).await;
        let mut watch = follow(store.watch("mortal").unwrap());
        let pair = watch.put().await;
        assert_eq!((pair.version, pair.lifetime), (version, LifetimeKind::Ttl));
        watch.until_synced().await;
        watch.delete().await;
        let (lived, bound) = (begun.elapsed(), store.capabilities().ttl.unwrap().bound(TTL));
        assert!(lived >= TTL, "it lived {lived:?}");
        assert!(lived < TTL + TTL / 2, "it lived {lived:?}: counted anew from the restart");
        assert!(lived < bound, "it lived {lived:?}, more than {bound:?}");
    });
}

/// What came to its end meanwhile is gone at the opening, and its end is told to those who go on
/// from before.
#[test]
fn what_ended_while_closed_is_gone_at_the_opening() {
    const TTL: Duration = Duration::from_millis(100);
    let place = Place::new();
    run(async {
        let store = open(&place.file()).await;
        let ends = WriteOptions::default().with_ttl(TTL);
        let version = store.put_opts(&key("mortal"), "1".into(), ends).await.unwrap();
        store.close().await.unwrap();
        tokio::time::sleep(2 * TTL).await;
        let store = open(&place.file()).await;
        assert_eq!(store.get("mortal").await.unwrap_err().kind(), ErrorKind::KeyNotFound);
        let from = WatchOptions::default().with_from(version.last_index());
        let whole = WatchTarget::Tree(Key::root());
        let (_, events) = follow(store.watch_opts(&whole, from)).until_synced().await;
        let [Event::Delete { key: ended, last_index }] = &events[..] else {
            panic!("{events:?}");
        };
        assert!(*ended == key("mortal") && *last_index > version.last_index());
    });
}

#[test]
fn a_watch_goes_on_from_an_index_over_a_restart() {
    let place = Place::new();
    let mut begin = 0;
    let mut expected = Vec::new();
    for round in 0..3 {
        run(async {
            let store = open(&place.file()).await;
            for number in 0..50 {
                let version = store.put(format!("d/{number}"), round.to_string()).await.unwrap();
                expected.push((key(&format!("d/{number}")), version));
            }
            begin = if begin == 0 { expected[0].1.last_index() } else { begin };
            let from = WatchOptions::default().with_from(begin);
            let tree = WatchTarget::Tree(key("d"));
            let (_, events) = follow(store.watch_opts(&tree, from)).until_synced().await;
            let told = events.iter().map(|event| match event {
                Event::Put(pair) => (pair.key.clone(), pair.version),
                other => panic!("{other:?} is no put"),
            });
            assert!(told.eq(expected[1..].iter().cloned()), "{} events", events.len());
            store.close().await.unwrap();
        });
    }
}

/// As many changes as the store's README says can be watched from, before and after a restart.
#[test]
fn the_history_is_bounded_and_outlives_a_restart() {
    const TOGETHER: usize = 100;
    const REVISIONS: usize = 10_000 / TOGETHER;
    let place = Place::new();
    let mut indices = Vec::new();
    for _ in 0..2 {
        run(async {
            let store = open(&place.file()).await;
            while indices.len() <= REVISIONS {
                let mut txn = Txn::new();
                for number in 0..TOGETHER {
                    txn = txn.put(format!("d/{number}"), indices.len().to_string()).unwrap();
                }
                indices.push(store.txn(txn).await.unwrap().index);
            }
            let tree = WatchTarget::Tree(key("d"));
            let from = |index| WatchOptions::default().with_from(index);
            let mut watch = follow(store.watch_opts(&tree, from(indices[0])));
            let (_, events) = watch.until_synced().await;
            assert_eq!(events.len(), REVISIONS * TOGETHER);
            assert!(events.iter().all(|event| matches!(event, Event::Put(_))));

            let mut behind = follow(store.watch_opts(&tree, from(indices[0] - 1)));
            assert_eq!(behind.until_resync().await, (ResyncReason::Compacted, true));
            behind.until_synced().await;
            assert_eq!(behind.state, watch.state);
            store.close().await.unwrap();
        });
    }
}

#[test]
fn versions_and_tokens_grow_over_restarts() {
    let place = Place::new();
    let mut last = 0;
    for round in 0..4 {
        run(async {
            let store = open(&place.file()).await;
            let old = store.get("a").await.ok();
            for valued in [false, true] {
                let mut options = LockOptions::default();
                options.value = valued.then(|| "me".into());
                let guard = store.new_lock("lock", options).unwrap().lock().await.unwrap();
                assert!(guard.token().get() > last, "{} after {last}", guard.token());
                last = guard.token().get();
                guard.unlock().await.unwrap();
            }
            let pair = store.atomic_put("a", round.to_string(), old.as_ref()).await.unwrap();
            assert!(pair.last_index() > last, "{} after {last}", pair.last_index());
            last = pair.last_index();
            // Nothing was written at this token.
            let guard = store.new_lock("lock", LockOptions::default()).unwrap();
            last = guard.lock().await.unwrap().token().get();
        });
    }
}

/// Also where the process had no time to clean up: a copy of the file is as a crash leaves it.
#[test]
fn what_a_process_owned_ends_with_it() {
    let place = Place::new();
    let copy = place.folder.path().join("copy.redb");
    run(async {
        let store = open(&place.file()).await;
        let before = store.put("stays", "1").await.unwrap();
        for number in 0..3 {
            let own = key(&format!("own/{number}"));
            store.put_opts(&own, "1".into(), Lifetime::Ephemeral.into()).await.unwrap();
        }
        let mut options = LockOptions::default();
        options.value = Some("me".into());
        let _guard = store.new_lock("lock", options).unwrap().lock().await.unwrap();
        std::fs::copy(place.file(), &copy).unwrap();

        let after = open(&copy).await;
        let left = after.list(Key::root()).await.unwrap();
        assert_eq!(left.iter().map(|pair| pair.key.as_str()).collect::<Vec<_>>(), ["stays"]);
        let from = WatchOptions::default().with_from(before.last_index());
        let whole = WatchTarget::Tree(Key::root());
        let mut watch = follow(after.watch_opts(&whole, from));
        let (_, events) = soon("the history", watch.until_synced()).await;
        let ends = events.iter().filter(|event| matches!(event, Event::Delete { .. })).count();
        assert_eq!((events.len(), ends), (8, 4), "{events:?}");
        let lock = after.new_lock("lock", LockOptions::default()).unwrap();
        drop(lock.try_lock().await.expect("the lock is free"));
    });
}
