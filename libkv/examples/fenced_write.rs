//! A lock whose token guards a write. A lock alone cannot: a holder may be paused, lose the lock
//! and wake up in the middle of its work. What it writes then must be refused.
//!
//! ```text
//! cargo run -p libkv --example fenced_write --features embedded
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use libkv::{ErrorKind, FencingToken, Key, LockGuard, LockOptions, Result, Store, StoreExt};
use libkv::{Version, WriteOptions};

/// Something outside the store that the lock protects too, such as a printer or a file server. It
/// remembers the largest token it has seen and refuses smaller ones.
#[derive(Default)]
struct Outside {
    largest: Option<FencingToken>,
}

impl Outside {
    fn write(&mut self, token: FencingToken, text: &str) -> Result<(), String> {
        if let Some(largest) = self.largest.filter(|largest| token < *largest) {
            return Err(format!("token {token} is older than {largest}"));
        }
        self.largest = Some(token);
        println!("  outside: took {text:?} with token {token}");
        Ok(())
    }
}

/// Writes in the store only while `guard` holds its lock; the server checks both in one step.
async fn write(store: &dyn Store, key: &Key, text: &str, guard: &LockGuard) -> Result<Version> {
    let fenced = WriteOptions::default().with_fence(guard.fence());
    store.put_opts(key, text.to_owned().into(), fenced).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let store = libkv::open("mem:").await?;
    let report = Key::new("reports/today")?;
    let mut outside = Outside::default();
    let lock = store.new_lock("jobs/nightly", LockOptions::default())?;

    let a = lock.lock().await?;
    println!("A holds {} with token {}", a.key(), a.token());
    println!("  store: {}", write(&*store, &report, "A's half", &a).await?);
    if let Err(refused) = outside.write(a.token(), "A's half") {
        println!("  outside: {refused}");
    }

    // A is paused here for longer than it should be, and somebody takes its lock away.
    store.delete_tree("jobs").await?;
    println!("A learns: {}", a.lost().await);

    let b = lock.lock().await?;
    println!("B holds {} with token {}", b.key(), b.token());
    println!("  store: {}", write(&*store, &report, "B's whole", &b).await?);
    if let Err(refused) = outside.write(b.token(), "B's whole") {
        println!("  outside: {refused}");
    }

    println!("A goes on, although it holds the lock: {}", a.is_held());
    match write(&*store, &report, "A's other half", &a).await {
        Err(error) if error.kind() == ErrorKind::LockLost => println!("  store: {error}"),
        other => println!("  store: {other:?}"),
    }
    if let Err(refused) = outside.write(a.token(), "A's other half") {
        println!("  outside: {refused}");
    }

    let pair = store.get(&report).await?;
    println!("{report} reads {:?}", String::from_utf8_lossy(&pair.value));
    b.unlock().await?;
    store.close().await
}
