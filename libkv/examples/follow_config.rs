//! A configuration that follows the keys below a prefix: each field is a key, and the program
//! always has the newest settings at hand.
//!
//! ```text
//! cargo run -p libkv --example follow_config --features embedded
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use libkv::{Key, KvPair, Result, Store, StoreExt};
use tokio::sync::watch;

#[derive(Debug, Clone, PartialEq)]
struct Settings {
    greeting: String,
    workers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { greeting: "hello".to_owned(), workers: 1 }
    }
}

impl Settings {
    /// Reads the keys below the prefix. What is absent, or makes no sense, has its default.
    fn read(pairs: &[KvPair]) -> Self {
        let mut settings = Self::default();
        for pair in pairs {
            let text = std::str::from_utf8(&pair.value).unwrap_or_default();
            match pair.key.name() {
                "greeting" => settings.greeting = text.to_owned(),
                "workers" => settings.workers = text.parse().unwrap_or(settings.workers),
                _ => {}
            }
        }
        settings
    }
}

/// Follows the settings below `dir` as long as anybody holds the receiver. The present settings are
/// read before this returns.
async fn follow(store: &dyn Store, dir: &Key) -> Result<watch::Receiver<Settings>> {
    let mut listings = store.watch_lists(dir)?;
    let present = listings.next().await.transpose()?.unwrap_or_default();
    let (tell, settings) = watch::channel(Settings::read(&present));
    tokio::spawn(async move {
        loop {
            let listing = tokio::select! {
                listing = listings.next() => listing,
                () = tell.closed() => return,
            };
            match listing {
                Some(Ok(pairs)) => {
                    let new = Settings::read(&pairs);
                    tell.send_if_modified(|old| std::mem::replace(old, new.clone()) != new);
                }
                // Reconnects are healed inside; what arrives here is final, such as `Closed`.
                Some(Err(error)) => return eprintln!("settings are no longer followed: {error}"),
                None => return,
            }
        }
    });
    Ok(settings)
}

#[tokio::main]
async fn main() -> Result<()> {
    let store = libkv::open("mem:").await?;
    let dir = Key::new("app/config")?;
    store.put(dir.join("workers")?, "2").await?;

    let mut settings = follow(&*store, &dir).await?;
    println!("at first: {:?}", *settings.borrow_and_update());

    let (operator, operated) = (store.clone(), dir.clone());
    let operator = tokio::spawn(async move {
        operator.put(operated.join("workers")?, "8").await?;
        operator.put(operated.join("greeting")?, "good morning").await
    });
    // Quick changes may be folded into the newest, so wait for what matters and not for a count.
    let is_done = |settings: &Settings| settings.greeting == "good morning";
    if let Ok(settings) = settings.wait_for(is_done).await {
        println!("then:     {:?}", *settings);
    }
    println!("operator: {:?}", operator.await);

    store.delete_tree(&dir).await?;
    if let Ok(settings) = settings.wait_for(|settings| *settings == Settings::default()).await {
        println!("deleted:  {:?}", *settings);
    }
    Ok(())
}
