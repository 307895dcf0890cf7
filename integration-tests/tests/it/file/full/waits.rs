//! What goes on while the disk is full: sessions and keys that end, and locks that are waited for.

use std::path::Path;
use std::time::Duration;

use integration_tests::key;
use libkv_core::{ErrorKind, Event, Lifetime, LockOptions, Store, StoreExt, WriteOptions};

use super::super::child::{self, say};
use super::super::mount::{Small, where_mounting_is_allowed};
use super::super::{follow, open, open_within, run, soon};
use super::{SIZE, assert_full, fill};

/// A session that ends while nothing can be stored: its keys go when there is room.
#[test]
fn a_session_that_ends_on_a_full_disk_takes_its_keys_along_later() {
    let test = "file::full::waits::a_session_that_ends_on_a_full_disk_takes_its_keys_along_later";
    where_mounting_is_allowed(test, || {
        let disk = Small::new(SIZE);
        run(async {
            let store = open(&disk.file()).await;
            let other = store.new_handle().await.unwrap();
            let mine = key("mine");
            other.put_opts(&mine, "1".into(), Lifetime::Ephemeral.into()).await.unwrap();
            let mut watch = follow(store.watch(mine.clone()).unwrap());
            watch.until_synced().await;
            fill(&store).await;
            if let Err(error) = other.close().await {
                assert_full(&error);
                assert!(store.exists("mine").await.unwrap(), "{error}");
            }
            assert_eq!(other.get("mine").await.unwrap_err().kind(), ErrorKind::Closed);
            disk.make_room();
            let Event::Delete { key, .. } = watch.next().await else {
                panic!("a delete was due");
            };
            assert_eq!(key, mine);
            assert!(!store.exists("mine").await.unwrap());
        });
    });
}

/// The handle is closed, and the file is free; the key goes with the next opening.
#[test]
fn a_store_that_is_closed_on_a_full_disk_is_closed() {
    let test = "file::full::waits::a_store_that_is_closed_on_a_full_disk_is_closed";
    where_mounting_is_allowed(test, || {
        let disk = Small::new(SIZE);
        run(async {
            let store = open(&disk.file()).await;
            let mine = key("mine");
            store.put_opts(&mine, "1".into(), Lifetime::Ephemeral.into()).await.unwrap();
            let (written, _) = fill(&store).await;
            if let Err(error) = store.close().await {
                assert_full(&error);
            }
            store.close().await.expect("a closed handle can be closed");
            assert_eq!(store.put("a", "1").await.unwrap_err().kind(), ErrorKind::Closed);
            // What is left of the store does not take the file back.
            tokio::time::sleep(Duration::from_millis(700)).await;
            disk.make_room();
            let again = open_within(&disk.file(), Duration::ZERO).await.unwrap();
            assert_eq!(again.get("mine").await.unwrap_err().kind(), ErrorKind::KeyNotFound);
            assert_eq!(again.list("fill").await.unwrap().len(), written.len());
            drop(store);
        });
    });
}

/// Whoever waits for a lock that cannot be handed over for want of room goes on waiting.
#[test]
fn a_waiter_on_a_full_disk_gets_its_lock_when_there_is_room() {
    let test = "file::full::waits::a_waiter_on_a_full_disk_gets_its_lock_when_there_is_room";
    where_mounting_is_allowed(test, || {
        let disk = Small::new(SIZE);
        run(async {
            let store = open(&disk.file()).await;
            let mut options = LockOptions::default();
            options.value = Some(vec![b'v'; 100 << 10].into());
            let holder = store.new_lock("lock", LockOptions::default()).unwrap();
            let guard = holder.lock().await.unwrap();
            let token = guard.token();
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
            for store in [store.clone(), store.new_handle().await.unwrap()] {
                let (lock, tell) = (store.new_lock("lock", options.clone()).unwrap(), tell.clone());
                tokio::spawn(async move { tell.send(lock.lock().await) });
            }
            // Time enough to be in the queue.
            tokio::time::sleep(Duration::from_millis(200)).await;
            fill(&store).await;
            if let Err(error) = guard.unlock().await {
                assert_full(&error);
            }
            tokio::time::sleep(Duration::from_millis(1200)).await;
            assert!(!store.exists("lock").await.unwrap(), "the value was stored after all");
            disk.make_room();
            let mut last = token;
            for _ in 0..2 {
                let next = soon("the lock", told.recv()).await.unwrap();
                let next = next.expect("the waiter gets the lock");
                assert!(next.token() > last);
                assert_eq!(store.get("lock").await.unwrap().value.len(), 100 << 10);
                last = next.token();
                next.unlock().await.unwrap();
            }
        });
    });
}

/// What is due and cannot be stored is tried again now and then, not all the time.
#[test]
fn waiting_for_room_costs_no_work() {
    where_mounting_is_allowed("file::full::waits::waiting_for_room_costs_no_work", || {
        let disk = Small::new(SIZE);
        let child = child::start("wait-on-a-full-disk", &disk.file(), "");
        let busy: u64 = child.line().parse().unwrap();
        assert!(busy < 50, "{busy} of about 200 ticks were spent on trying");
        disk.make_room();
        assert_eq!(child.line(), "gone");
    });
}

/// Lets a key end on a full disk, and says how much work two seconds of waiting are.
pub(in super::super) fn wait(file: &Path) {
    run(async {
        let store = open(file).await;
        let ends = WriteOptions::default().with_ttl(Duration::from_millis(1500));
        let mortal = key("mortal");
        store.put_opts(&mortal, vec![b'm'; 8].into(), ends).await.unwrap();
        let mut watch = follow(store.watch(mortal).unwrap());
        watch.until_synced().await;
        fill(&store).await;
        tokio::time::sleep(Duration::from_millis(1600)).await;
        let before = ticks();
        tokio::time::sleep(Duration::from_secs(2)).await;
        say(ticks() - before);
        watch.delete().await;
        say("gone");
    });
}

/// The processor time of this process, in hundredths of a second.
pub(in super::super) fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    let fields: Vec<&str> = after_name.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
