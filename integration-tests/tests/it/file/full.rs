//! A full disk: a typed error, the old state to read, and on again when there is room.

mod races;
mod waits;

use integration_tests::key;
use libkv_core::{
    Error, ErrorKind, Key, ResyncReason, Store, StoreExt, Version, WatchOptions, WatchTarget,
    WriteOptions,
};

use super::mount::{Small, where_mounting_is_allowed};
use super::{follow, open, run};
pub(super) use waits::{ticks, wait};

const SIZE: usize = 2 << 10;

/// Puts until the disk is full, ever smaller values, so that nothing fits any more.
async fn fill(store: &impl Store) -> (Vec<(Key, Version)>, Error) {
    let mut written = Vec::new();
    let mut refusal = None;
    for size in [32 << 10, 4 << 10, 16] {
        for number in 0.. {
            let key = key(&format!("fill/{size}/{number}"));
            match store.put_opts(&key, vec![b'x'; size].into(), WriteOptions::default()).await {
                Ok(version) => written.push((key, version)),
                Err(error) => {
                    assert_full(&error);
                    assert_eq!(error.key(), Some(&key), "{error}");
                    refusal = Some(error);
                    break;
                }
            }
        }
    }
    (written, refusal.unwrap())
}

/// Either nothing was changed, and the error says what to do, or nobody knows.
fn assert_full(error: &Error) {
    if error.changed_nothing() {
        assert_eq!(error.kind(), ErrorKind::Other, "{error}");
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }
    assert_eq!(error.backend().unwrap().as_str(), "file", "{error}");
    assert!(["put", "txn", "delete", "unlock", "close"].contains(&error.operation()), "{error}");
}

#[test]
fn a_full_disk_refuses_writes_and_shows_the_old_state() {
    where_mounting_is_allowed(
        "file::full::a_full_disk_refuses_writes_and_shows_the_old_state",
        || {
            let disk = Small::new(SIZE);
            run(async {
                let store = open(&disk.file()).await;
                let first = store.put("first", "1").await.unwrap();
                let whole = WatchTarget::Tree(Key::root());
                let mut watch = follow(store.watch_opts(&whole, WatchOptions::default()));
                watch.until_synced().await;
                let (written, _) = fill(&store).await;

                assert_eq!(store.get("first").await.unwrap().version, first);
                assert!(!store.exists("nothing").await.unwrap());
                let listing = store.list(Key::root()).await.unwrap();
                for (key, version) in &written {
                    let pair = listing.iter().find(|pair| pair.key == *key);
                    assert_eq!(pair.map(|pair| pair.version), Some(*version), "{key}");
                }
                assert_eq!(listing.len(), written.len() + 1, "what was refused is there");
                watch.until(|state| state.values().eq(&listing)).await;
                let mut again = follow(store.watch_opts(&whole, WatchOptions::default()));
                again.until_synced().await;
                assert!(again.state.values().eq(&listing));
                let from = WatchOptions::default().with_from(first.last_index());
                let (_, events) = follow(store.watch_opts(&whole, from)).until_synced().await;
                assert_eq!(events.len(), written.len(), "what was refused is told");

                disk.make_room();
                let after = store.put("after", "1").await.expect("there is room");
                watch.until(|state| state.contains_key(&key("after"))).await;
                store.close().await.unwrap();

                let store = open(&disk.file()).await;
                assert_eq!(store.get("after").await.unwrap().version, after);
                assert_eq!(store.list(Key::root()).await.unwrap().len(), listing.len() + 1);
            });
        },
    );
}

#[test]
fn an_open_listing_goes_on_while_writes_are_refused() {
    let test = "file::full::an_open_listing_goes_on_while_writes_are_refused";
    where_mounting_is_allowed(test, || {
        let disk = Small::new(16 << 10);
        run(async {
            let store = open(&disk.file()).await;
            // Larger than what is read ahead.
            let puts = (0..40).map(|n| store.put(format!("big/{n:02}"), vec![0; 64 << 10]));
            futures_util::future::try_join_all(puts).await.unwrap();
            let mut listing = store.list_opts(&key("big"), Default::default());
            let big = WatchTarget::Tree(key("big"));
            let mut watch = follow(store.watch_opts(&big, WatchOptions::default()));
            let mut listed = vec![listing.next().await.unwrap().unwrap().key];
            watch.put().await;
            let refusal = loop {
                if let Err(error) = store.put("fill", vec![0; 1 << 20]).await {
                    break error;
                }
                // What the file has room for is written before the listing begins.
                listing = store.list_opts(&key("big"), Default::default());
                listed = vec![listing.next().await.unwrap().unwrap().key];
                watch = follow(store.watch_opts(&big, WatchOptions::default()));
                watch.put().await;
            };
            assert_full(&refusal);
            while let Some(pair) = listing.next().await {
                listed.push(pair.expect("the listing goes on").key);
            }
            watch.until_synced().await;
            assert_eq!(listed.len(), 40);
            assert!(watch.state.keys().eq(&listed), "{:?}", watch.state.keys());
        });
    });
}

/// What was being told when the file failed is told anew where it was written since.
#[test]
fn a_watch_begins_anew_where_its_snapshot_broke() {
    where_mounting_is_allowed("file::full::a_watch_begins_anew_where_its_snapshot_broke", || {
        let disk = Small::new(16 << 10);
        run(async {
            let store = open(&disk.file()).await;
            let puts = (0..40).map(|n| store.put(format!("big/{n:02}"), vec![0; 64 << 10]));
            futures_util::future::try_join_all(puts).await.unwrap();
            let big = WatchTarget::Tree(key("big"));
            let mut watch = follow(store.watch_opts(&big, WatchOptions::default()));
            watch.put().await;
            fill(&store).await;
            disk.make_room();
            store.delete("big/00").await.unwrap();
            store.put("big/99", "1").await.unwrap();
            let told = watch.until_resync().await;
            assert_eq!(told, (ResyncReason::Reconnected, true));
            watch.until_synced().await;
            let listing = store.list("big").await.unwrap();
            assert!(watch.state.values().eq(&listing), "{:?}", watch.state.keys());
            store.put("big/x", "1").await.unwrap();
            assert_eq!(watch.put().await.key, key("big/x"));
        });
    });
}
