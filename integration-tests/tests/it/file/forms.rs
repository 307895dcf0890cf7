//! Files of redb that are not ours to open: of others, of later versions, and damaged ones.

use std::fs;
use std::path::Path;
use std::time::Duration;

use libkv_core::{Error, ErrorKind, Result, Store, StoreExt};
use redb::{Database, TableDefinition};

use super::foreign::refusal;
use super::{Place, open, open_within, run, soon};

const THEIRS: TableDefinition<'_, &str, u64> = TableDefinition::new("theirs");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("libkv-meta");

/// How a program left its file.
#[derive(Debug, Clone, Copy)]
enum Left {
    Closed,
    /// As after a crash: whoever opens it has to mend it first.
    Torn,
}

/// Writes with redb itself, and leaves the file so.
fn write(file: &Path, table: TableDefinition<'_, &str, u64>, name: &str, left: Left) {
    let database = Database::create(file).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(name, 2).unwrap();
    transaction.commit().unwrap();
    let torn = fs::read(file).unwrap();
    drop(database);
    if let Left::Torn = left {
        fs::write(file, torn).unwrap();
    }
}

fn make_store(file: &Path) {
    run(async {
        let store = open(file).await;
        for number in 0..500 {
            store.put(format!("k/{number}"), vec![b'x'; 500]).await.unwrap();
        }
        store.close().await.unwrap();
    });
}

#[test]
fn another_programs_database_is_left_alone() {
    for left in [Left::Closed, Left::Torn] {
        let place = Place::new();
        write(&place.file(), THEIRS, "a", left);
        let (kind, text) = refusal(&place.file(), place.folder.path());
        assert_eq!(kind, ErrorKind::InvalidConfig, "{left:?}: {text}");
        assert!(text.contains("another program made"), "{left:?}: {text}");
    }
}

#[test]
fn a_file_of_a_newer_format_is_left_alone() {
    for left in [Left::Closed, Left::Torn] {
        let place = Place::new();
        make_store(&place.file());
        write(&place.file(), META, "format", left);
        let (kind, text) = refusal(&place.file(), place.folder.path());
        assert_eq!(kind, ErrorKind::InvalidConfig, "{left:?}: {text}");
        assert!(text.contains("its format is 2"), "{left:?}: {text}");
        assert!(text.contains("reads format 1"), "{left:?}: {text}");
    }
}

/// A file that lost its end is told, whatever is left of it; nothing makes it worse.
#[test]
fn a_truncated_file_is_left_alone() {
    let place = Place::new();
    make_store(&place.file());
    let whole = fs::read(place.file()).unwrap();
    for eighth in 0..8 {
        for more in [1, 100, 4096] {
            let length = eighth * whole.len() / 8 + more;
            fs::write(place.file(), &whole[..length]).unwrap();
            let (kind, text) = refusal(&place.file(), place.folder.path());
            if length < 9 {
                assert_eq!(kind, ErrorKind::InvalidConfig, "{length} bytes: {text}");
                continue;
            }
            assert_eq!(kind, ErrorKind::Other, "{length} bytes: {text}");
            assert!(text.contains("damaged; restore it from a copy"), "{length} bytes: {text}");
        }
    }
}

/// The size of redb's pages.
const PAGE: usize = 4096;
/// Seeds of damage on which redb panics: while it opens the file, reads in it, writes to it.
const KNOWN_DAMAGE: [u64; 6] = [
    2658577044440170768,
    2658577044440170739,
    13978863278183371050,
    2658577044440170747,
    1867635228518355951,
    1027940799093733452,
];

/// Damage inside is an error or is not noticed; it is never a panic, and nobody waits for ever.
#[test]
fn a_damaged_file_is_an_error_and_no_panic() {
    let place = Place::new();
    make_store(&place.file());
    let whole = fs::read(place.file()).unwrap();
    let random = fastrand::u64(..);
    for seed in KNOWN_DAMAGE.into_iter().chain((0..60).map(|n| random.wrapping_add(n))) {
        // Shown where it fails.
        println!("seed {seed}");
        fs::write(place.file(), damage(&whole, seed)).unwrap();
        run(soon("a damaged file", use_damaged(&place.file())));
    }
}

fn damage(whole: &[u8], seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut damaged = whole.to_vec();
    // Where nothing is wrong at the beginning, the file can be opened more often than not.
    let anywhere = random.bool();
    for _ in 0..random.usize(1..50) {
        let place = match random.u8(..3) {
            0 if anywhere => random.usize(9..400),
            // What a page says of itself is at its own beginning.
            1 => random.usize(1..whole.len() / PAGE) * PAGE + random.usize(..100),
            _ => random.usize(PAGE..whole.len()),
        };
        damaged[place] ^= random.u8(1..);
    }
    damaged
}

async fn use_damaged(file: &Path) {
    // The thread of the use before may still be closing it.
    let store = match open_within(file, Duration::from_secs(5)).await {
        Ok(store) => store,
        Err(error) => {
            assert!(error.to_string().contains(file.to_str().unwrap()), "{error:?}");
            return demand_known(&error, &[ErrorKind::InvalidConfig]);
        }
    };
    let reader = store.clone();
    let read = tokio::spawn(async move {
        for number in (0..500).step_by(50) {
            tell(reader.get(&format!("k/{number}")).await);
        }
        tell(reader.list("k").await);
    });
    tell(store.put("k/1", "").await);
    tell(store.delete("k/250").await);
    tell(store.delete_tree("k").await);
    tell(store.put("k/1", "").await);
    tell(store.get("k/1").await);
    read.await.unwrap();
    tell(store.close().await);
}

fn tell<T>(outcome: Result<T>) {
    if let Err(error) = outcome {
        demand_known(&error, &[ErrorKind::KeyNotFound, ErrorKind::OutcomeUnknown]);
    }
}

fn demand_known(error: &Error, more: &[ErrorKind]) {
    let text = error.to_string();
    assert!(error.kind() == ErrorKind::Other || more.contains(&error.kind()), "{text}");
    assert!(!text.contains("thread has ended"), "{text}");
}
