//! Others at the moment when the disk gets full: many writers, and who waits for the file.

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use integration_tests::key;
use libkv_core::{Error, Key, Store, StoreExt, Txn, Version, WriteOptions};

use super::super::child;
use super::super::mount::{Small, where_mounting_is_allowed};
use super::super::{open, run};
use super::{SIZE, assert_full, fill};

const WRITERS: usize = 64;

/// The disk gets full at another place in each round.
#[test]
fn of_many_writers_each_is_told_the_truth_when_the_disk_gets_full() {
    let test = "file::full::races::of_many_writers_each_is_told_the_truth_when_the_disk_gets_full";
    where_mounting_is_allowed(test, || {
        for round in 0..8 {
            let disk = Small::new(1500 + 37 * round);
            run(fill_with_many(&disk, 3000 + 1500 * round));
        }
    });
}

async fn fill_with_many(disk: &Small, size: usize) {
    let store = open(&disk.file()).await;
    let mut outcomes: BTreeMap<Key, Result<Version, Error>> = BTreeMap::new();
    let mut refused = 0;
    for batch in 0.. {
        let writers = (0..WRITERS).map(|writer| {
            let (store, key) = (store.clone(), key(&format!("w/{batch}/{writer}")));
            let value = Bytes::from(vec![b'x'; size]);
            tokio::spawn(async move {
                let outcome = if writer % 2 == 0 {
                    store.put_opts(&key, value, WriteOptions::default()).await
                } else {
                    let twin = format!("{key}-twin");
                    let txn = Txn::new().put(&key, value.clone()).unwrap();
                    let outcome = store.txn(txn.put(twin, value).unwrap()).await;
                    outcome.map(|outcome| outcome.versions[0])
                };
                (key, outcome)
            })
        });
        let writers: Vec<_> = writers.collect();
        for writer in writers {
            let (key, outcome) = writer.await.unwrap();
            refused += usize::from(outcome.is_err());
            outcomes.insert(key, outcome);
        }
        if refused > 2 * WRITERS {
            break;
        }
    }
    check(&store, &outcomes).await;
    store.close().await.ok();
    drop(store);
    let store = open(&disk.file()).await;
    check(&store, &outcomes).await;
    disk.make_room();
    store.put("after", "1").await.expect("there is room");
}

/// What was acknowledged is there, what changed nothing is not, and no transaction is half there.
async fn check(store: &impl Store, outcomes: &BTreeMap<Key, Result<Version, Error>>) {
    let listing = store.list(Key::root()).await.unwrap();
    let versions: BTreeMap<&Key, Version> =
        listing.iter().map(|pair| (&pair.key, pair.version)).collect();
    for (key, outcome) in outcomes {
        let there = versions.get(key).copied();
        match outcome {
            Ok(version) => assert_eq!(there, Some(*version), "{key}"),
            Err(error) if error.changed_nothing() => assert_eq!(there, None, "{key}: {error}"),
            Err(_) => {}
        }
        let writer: usize = key.as_str().rsplit('/').next().unwrap().parse().unwrap();
        if writer % 2 == 1 {
            let twin = Key::new(&format!("{key}-twin")).unwrap();
            assert_eq!(versions.get(&twin).copied(), there, "{key} is half there");
        }
    }
}

/// Also while the file is opened again after each failure, it is held.
#[test]
fn a_full_disk_lets_nobody_else_in() {
    where_mounting_is_allowed("file::full::races::a_full_disk_lets_nobody_else_in", || {
        let disk = Small::new(SIZE);
        run(async {
            let store = open(&disk.file()).await;
            fill(&store).await;
            let other = child::start("open", &disk.file(), "2000");
            let told = loop {
                if let Some(told) = other.line_within(std::time::Duration::ZERO) {
                    break told;
                }
                assert_full(&store.put("more", vec![0; 64 << 10]).await.unwrap_err());
            };
            let us = format!("process {} ", std::process::id());
            assert!(told.starts_with("Timeout") && told.contains(&us), "{told}");
        });
    });
}

/// The file is the one that was opened, wherever it is by now; its old name makes no new one.
#[test]
fn a_file_that_was_moved_is_still_the_same() {
    where_mounting_is_allowed("file::full::races::a_file_that_was_moved_is_still_the_same", || {
        let disk = Small::new(SIZE);
        let moved = disk.path().join("moved.redb");
        run(async {
            let store = open(&disk.file()).await;
            fs::rename(disk.file(), &moved).unwrap();
            let (written, _) = fill(&store).await;
            disk.make_room();
            store.put("after", "1").await.expect("there is room");
            store.close().await.unwrap();
            assert!(!disk.file().exists());
            let store = open(&moved).await;
            assert_eq!(store.list(Key::root()).await.unwrap().len(), written.len() + 1);
        });
    });
}
