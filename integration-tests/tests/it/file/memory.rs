//! However much is in the file, little of it is in memory.

use std::path::Path;

use integration_tests::key;
use libkv_core::{Event, ListOptions, Store, Txn, WatchOptions, WatchTarget};
use libkv_embedded::EmbeddedStore;

use super::child::{self, say};
use super::{Place, open, run};

const MIB: usize = 1 << 20;
/// The cache of the file is 32 MiB; the rest is what is read ahead, and what the allocator keeps.
const BOUND: usize = 56 * MIB;

async fn fill(store: &EmbeddedStore, keys: usize, size: usize, together: usize) {
    let names: Vec<usize> = (0..keys).collect();
    for block in names.chunks(together * 16) {
        let txns = block.chunks(together).map(|some| {
            let mut txn = Txn::new();
            for name in some {
                txn = txn.put(format!("k/{name:06}"), vec![b'x'; size]).unwrap();
            }
            store.txn(txn)
        });
        futures_util::future::try_join_all(txns).await.unwrap();
    }
}

/// Reads everything as a listing and as a watch, and says by how much the process grew.
pub(super) fn read_all(file: &Path) {
    run(async {
        let store = open(file).await;
        store.list_opts(&key("k"), ListOptions::default()).next().await.unwrap().unwrap();
        let (begin, mut most, mut pairs) = (resident(), 0, 0);
        let mut listing = store.list_opts(&key("k"), ListOptions::default());
        while let Some(pair) = listing.next().await {
            pair.unwrap();
            pairs += 1;
            if pairs % 100 == 0 {
                most = most.max(resident());
            }
        }
        let mut events = 0;
        let whole = WatchTarget::Tree(key("k"));
        let mut watch = store.watch_opts(&whole, WatchOptions::default());
        while let Event::Put(_) = watch.next().await.unwrap().unwrap() {
            events += 1;
            if events % 100 == 0 {
                most = most.max(resident());
            }
        }
        assert_eq!(pairs, events);
        say(format_args!("{pairs} {}", most.max(resident()).saturating_sub(begin)));
    });
}

/// The bytes of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn assert_bounded(keys: usize, size: usize, together: usize) {
    let place = Place::new();
    run(async {
        let store = open(&place.file()).await;
        fill(&store, keys, size, together).await;
        store.close().await.unwrap();
    });
    let told = child::start("read-all", &place.file(), "").line();
    let (pairs, grown) = told.split_once(' ').unwrap();
    assert_eq!(pairs, keys.to_string());
    let grown: usize = grown.parse().unwrap();
    println!(
        "{keys} values of {size} bytes: {} MiB, grown by {} MiB",
        keys * size / MIB,
        grown / MIB
    );
    assert!(grown < BOUND, "reading {} MiB took {} MiB", keys * size / MIB, grown / MIB);
}

#[test]
fn many_small_values_are_read_bit_by_bit() {
    assert_bounded(200_000, 1000, 128);
}

#[test]
fn large_values_are_read_bit_by_bit() {
    assert_bounded(250, MIB, 3);
}
