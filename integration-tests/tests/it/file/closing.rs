//! Letting go of the file.

use std::time::Duration;

use integration_tests::key;
use libkv_core::{ErrorKind, ListOptions, Store, StoreExt, WriteOptions};

use super::child;
use super::{Place, open, open_within, run, soon};

/// Not waited for: the file is free.
const AT_ONCE: Duration = Duration::ZERO;

#[test]
fn a_closed_file_can_be_opened_at_once() {
    let place = Place::new();
    run(async {
        for number in 0..20 {
            let store = open_within(&place.file(), AT_ONCE).await.unwrap();
            let other = store.new_handle().await.unwrap();
            store.put("n", number.to_string()).await.unwrap();
            other.close().await.unwrap();
            store.close().await.unwrap();
        }
        let child = child::start("open", &place.file(), "0");
        assert_eq!(child.line(), "open");
    });
}

/// A reader in the middle of a listing is told that the store is closed, and does not keep it.
#[test]
fn nobody_who_still_reads_keeps_a_closed_file() {
    let place = Place::new();
    run(async {
        let store = open(&place.file()).await;
        let puts = (0..40).map(|n| store.put(format!("big/{n:02}"), vec![0; 64 << 10]));
        futures_util::future::try_join_all(puts).await.unwrap();
        let mut listing = store.list_opts(&key("big"), ListOptions::default());
        listing.next().await.unwrap().unwrap();
        let mut watch = store.watch_tree("big").unwrap();
        watch.next().await.unwrap().unwrap();
        store.close().await.unwrap();
        let again = open_within(&place.file(), AT_ONCE).await.unwrap();
        let error = loop {
            match listing.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("the listing has an end that is not its own"),
            }
        };
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        let error = loop {
            match watch.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("the watch does not say why it ends"),
            }
        };
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        again.put("a", "1").await.unwrap();
    });
}

#[test]
fn dropping_the_last_handle_lets_go_of_the_file() {
    let place = Place::new();
    run(async {
        let store = open(&place.file()).await;
        let clone = store.clone();
        let guard = store.new_lock("l", Default::default()).unwrap().lock().await.unwrap();
        drop(store);
        drop(clone);
        let held = open_within(&place.file(), Duration::from_millis(100)).await;
        assert_eq!(held.unwrap_err().kind(), ErrorKind::Timeout, "a guard keeps its store");
        drop(guard);
        soon("the file", open_within(&place.file(), Duration::from_secs(10))).await.unwrap();
    });
}

/// A handle whose opening nobody waited for does not keep the file from being closed.
#[test]
fn an_abandoned_opening_keeps_nothing() {
    let place = Place::new();
    run(async {
        for _ in 0..20 {
            let store = open_within(&place.file(), AT_ONCE).await.unwrap();
            // Asked for, and not waited for.
            let opening = tokio::time::timeout(Duration::ZERO, store.new_handle());
            drop(opening.await);
            store.put("a", "1").await.unwrap();
            store.close().await.unwrap();
            soon("the file", open_within(&place.file(), Duration::from_secs(5)))
                .await
                .unwrap()
                .close()
                .await
                .unwrap();
            drop(store);
        }
    });
}

/// What is left of a closed store has nothing to do any more, also when a key comes to its end.
#[test]
fn a_closed_store_does_no_work() {
    let place = Place::new();
    let child = child::start("close-and-stay", &place.file(), "");
    let busy: u64 = child.line().parse().unwrap();
    assert!(busy < 20, "{busy} of about 100 ticks were spent");
}

/// Closes the file and keeps what is left of the store beyond the end of a key.
pub(super) fn close_and_stay(file: &std::path::Path) {
    run(async {
        let store = open(file).await;
        let ends = WriteOptions::default().with_ttl(Duration::from_millis(300));
        store.put_opts(&key("mortal"), "1".into(), ends).await.unwrap();
        store.close().await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        let before = super::full::ticks();
        tokio::time::sleep(Duration::from_secs(1)).await;
        child::say(super::full::ticks() - before);
        drop(store);
    });
}
