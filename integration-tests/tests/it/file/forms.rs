//! Files of redb that are not ours to open: of others, of later versions, and damaged ones.

use std::fs;
use std::path::Path;

use libkv_core::{ErrorKind, Store, StoreExt};
use redb::{Database, TableDefinition};

use super::foreign::refusal;
use super::{Place, open, open_within, run};

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

/// Damage inside is an error or is not noticed; it is never a panic.
#[test]
fn a_damaged_file_is_an_error_and_no_panic() {
    let place = Place::new();
    make_store(&place.file());
    let whole = fs::read(place.file()).unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..60 {
        let mut damaged = whole.clone();
        // More at the beginning, where all that matters is.
        for _ in 0..random.usize(1..50) {
            let end = if random.bool() { 400 } else { damaged.len() };
            damaged[random.usize(9..end)] ^= random.u8(1..);
        }
        fs::write(place.file(), &damaged).unwrap();
        run(async {
            let Ok(store) = open_within(&place.file(), Default::default()).await else {
                return;
            };
            for outcome in [store.list("k").await.map(drop), store.put("k/1", "").await.map(drop)] {
                if let Err(error) = outcome {
                    let known = [ErrorKind::Other, ErrorKind::KeyNotFound];
                    assert!(known.contains(&error.kind()), "{error:?}");
                }
            }
        });
    }
}
