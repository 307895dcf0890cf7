//! Writes side by side share a commit, and reads do not wait for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libkv_core::{Key, Store, StoreExt, Txn, WatchOptions, WatchTarget};

use super::child::{self, say};
use super::{Place, follow, open, run};

const MIB: usize = 1 << 20;
const WRITERS: usize = 256;

/// What is stored together is written in a fraction of the calls to the system.
#[test]
fn writers_side_by_side_share_a_commit() {
    let place = Place::new();
    let told = child::start("write-together", &place.file(), "").line();
    let (alone, together) = told.split_once(' ').unwrap();
    let (alone, together): (u64, u64) = (alone.parse().unwrap(), together.parse().unwrap());
    assert!(4 * together < alone, "{alone} calls one after the other, {together} side by side");
}

/// Writes one after the other and then side by side, and says how many calls either took.
pub(super) fn write_together(file: &Path) {
    run(async {
        let store = open(file).await;
        let put = |number: usize| store.put(format!("k/{number}"), "some value");
        let before = write_calls();
        for number in 0..WRITERS {
            put(number).await.unwrap();
        }
        let between = write_calls();
        futures_util::future::try_join_all((0..WRITERS).map(put)).await.unwrap();
        say(format_args!("{} {}", between - before, write_calls() - between));
    });
}

/// How often this process asked the system to write.
fn write_calls() -> u64 {
    let counts = std::fs::read_to_string("/proc/self/io").unwrap();
    let count = counts.lines().find_map(|line| line.strip_prefix("syscw: "));
    count.unwrap().parse().unwrap()
}

/// Reads begin and end one after the other while one commit is on its way. If they waited for it,
/// the first of them would see its end.
#[test]
fn reads_go_on_while_much_is_being_stored() {
    let place = Place::new();
    run(async {
        let store = open(&place.file()).await;
        store.put("a", "1").await.unwrap();
        let mut rounds = Vec::new();
        for _ in 0..3 {
            let writing = (0..16).map(|part| {
                let mut txn = Txn::new();
                for number in 0..3 {
                    let big = vec![part as u8; MIB];
                    txn = txn.put(format!("big/{part}/{number}"), big).unwrap();
                }
                let store = store.clone();
                tokio::spawn(async move { store.txn(txn).await })
            });
            let writing: Vec<_> = writing.collect();
            tokio::task::yield_now().await;
            let mut reads = 0;
            while writing.iter().all(|txn| !txn.is_finished()) {
                store.get("a").await.unwrap();
                store.list("a").await.unwrap();
                let key = WatchTarget::Key(Key::new("a").unwrap());
                follow(store.watch_opts(&key, WatchOptions::default())).put().await;
                reads += 1;
                tokio::task::yield_now().await;
            }
            for txn in writing {
                txn.await.unwrap().unwrap();
            }
            rounds.push(reads);
        }
        assert!(rounds.iter().any(|reads| *reads >= 10), "reads during each commit: {rounds:?}");
    });
}

/// Readers share what they look at until the next commit: none of them misses a write that somebody
/// was told of, or what another reader saw, whether it gets, lists or watches.
#[test]
fn no_reader_is_behind_what_anybody_knows() {
    const WRITES: u64 = 300;
    let place = Place::new();
    run(async {
        let store = open(&place.file()).await;
        store.put("n/a", 0u64.to_le_bytes().to_vec()).await.unwrap();
        let known = Arc::new(AtomicU64::new(0));
        let readers = (0..4).map(|reader| {
            let (store, known) = (store.clone(), known.clone());
            tokio::spawn(async move {
                loop {
                    let least = known.load(Ordering::SeqCst);
                    let pair = match reader {
                        0 => store.list("n").await.unwrap().remove(0),
                        1 => {
                            let all = WatchTarget::Tree(Key::root());
                            let events = store.watch_opts(&all, WatchOptions::default());
                            follow(events).put().await
                        }
                        _ => store.get("n/a").await.unwrap(),
                    };
                    let found = u64::from_le_bytes(pair.value[..].try_into().unwrap());
                    assert!(found >= least, "reader {reader} found {found} after {least}");
                    known.fetch_max(found, Ordering::SeqCst);
                    if found == WRITES {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            })
        });
        let readers: Vec<_> = readers.collect();
        for number in 1..=WRITES {
            store.put("n/a", number.to_le_bytes().to_vec()).await.unwrap();
            known.fetch_max(number, Ordering::SeqCst);
        }
        for reader in readers {
            reader.await.unwrap();
        }
    });
}
