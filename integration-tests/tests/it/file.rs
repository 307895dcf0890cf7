//! The embedded store's file: what a crash, a full disk, another process and a wrong file do to it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests and what they start")]

mod child;
mod closing;
mod commits;
mod crash;
mod foreign;
mod forms;
mod full;
mod memory;
mod mount;
mod opening;
mod restart;

use std::path::{Path, PathBuf};
use std::time::Duration;

use integration_tests::Watcher;
use libkv_core::{EventStream, Result};
use libkv_embedded::{EmbeddedConfig, EmbeddedStore};
use tempfile::TempDir;

/// How long to wait for what must happen. Only a broken store ever waits this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of a test's own, and the path of the file in it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("store.redb")
    }
}

/// Runs a test in a runtime of its own.
fn run<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(test)
}

async fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::file(path).await.unwrap()
}

async fn open_within(path: &Path, wait: Duration) -> Result<EmbeddedStore> {
    EmbeddedStore::open(EmbeddedConfig::file(path).with_connection_timeout(wait)).await
}

fn follow(events: EventStream) -> Watcher {
    Watcher::new(events, PATIENCE)
}

/// Waits for what must happen.
async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, happens).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing within {PATIENCE:?}"),
    }
}
