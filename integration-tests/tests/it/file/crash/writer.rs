//! The process that is killed.

use std::path::Path;
use std::time::Duration;

use libkv_core::{
    ErrorKind, Expect, Key, Lifetime, ListOptions, LockOptions, Store, StoreExt, WriteOptions,
};
use libkv_embedded::EmbeddedStore;

use super::super::child::say;
use super::super::{open, run};
use super::steps::{LANES, take};

pub(super) const SHORT: Duration = Duration::from_millis(100);

/// Writes from several tasks until it is killed, and says what was acknowledged. `words` is the
/// step at which each lane begins.
pub(in super::super) fn write(file: &Path, words: &str) {
    let steps: Vec<u64> = words.split(' ').map(|step| step.parse().unwrap()).collect();
    assert_eq!(steps.len(), LANES);
    run(async {
        say("opening");
        let store = open(file).await;
        let mut listing = store.list_opts(&Key::root(), ListOptions::default());
        while let Some(pair) = listing.next().await {
            pair.unwrap();
        }
        say(format_args!("open {}", listing.index().unwrap()));
        let mut tasks = Vec::new();
        for (lane, begin) in steps.into_iter().enumerate() {
            tasks.push(tokio::spawn(walk(store.clone(), lane, begin)));
        }
        for _ in 0..2 {
            tasks.push(tokio::spawn(count(store.clone())));
            tasks.push(tokio::spawn(lock(store.clone(), "lock/valued", true)));
            tasks.push(tokio::spawn(lock(store.clone(), "lock/bare", false)));
        }
        tasks.push(tokio::spawn(own(store.clone())));
        tasks.push(tokio::spawn(own(store.new_handle().await.unwrap())));
        tasks.push(tokio::spawn(end_soon(store)));
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn walk(store: EmbeddedStore, lane: usize, begin: u64) {
    for step in begin.. {
        let index = take(&store, lane, step).await.unwrap();
        say(format_args!("step {lane} {step} {}", index.unwrap_or_default()));
    }
}

/// Adds one, by compare and set, against another task that does the same.
async fn count(store: EmbeddedStore) {
    let key = Key::new("count").unwrap();
    loop {
        let (number, expect) = match store.get("count").await {
            Ok(pair) => {
                let text = str::from_utf8(&pair.value).unwrap();
                (text.parse::<u64>().unwrap() + 1, Expect::Version(pair.version))
            }
            Err(error) if error.kind() == ErrorKind::KeyNotFound => (1, Expect::Absent),
            Err(error) => panic!("{error}"),
        };
        match store.put_opts(&key, number.to_string().into(), expect.into()).await {
            Ok(version) => say(format_args!("count {number} {}", version.last_index())),
            Err(error) if error.changed_nothing() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn lock(store: EmbeddedStore, key: &str, valued: bool) {
    let mut options = LockOptions::default();
    options.value = valued.then(|| "somebody".into());
    let lock = store.new_lock(key, options).unwrap();
    loop {
        let guard = lock.lock().await.unwrap();
        say(format_args!("token {}", guard.token()));
        guard.unlock().await.unwrap();
    }
}

async fn own(store: EmbeddedStore) {
    for number in 0_u64.. {
        let key = Key::new(&format!("own/{}", number % 7)).unwrap();
        let version =
            store.put_opts(&key, "here".into(), Lifetime::Ephemeral.into()).await.unwrap();
        say(format_args!("own {}", version.last_index()));
    }
}

async fn end_soon(store: EmbeddedStore) {
    for number in 0_u64.. {
        let key = Key::new(&format!("short/{}", number % 50)).unwrap();
        let ends = WriteOptions::default().with_ttl(SHORT);
        let version = store.put_opts(&key, "soon".into(), ends).await.unwrap();
        say(format_args!("short {}", version.last_index()));
    }
}
