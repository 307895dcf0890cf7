//! What is measured: a store of ours, and what a program would have in its place.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use libkv_core::{Key, ListOptions, Store, StoreExt, Txn};
use redb::{Builder, Database, ReadableDatabase, TableDefinition};
use tokio::task::JoinSet;

use crate::lab::Done;

/// The folder that all keys are in.
pub(crate) const DIR: &str = "bench";
/// As much of a file in memory as our store keeps.
const CACHE_BYTES: usize = 32 << 20;
const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("bench");

/// A key as each side takes it: parsed once, as a program would.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    key: Key,
    text: String,
}

impl Name {
    pub(crate) fn new(number: usize) -> Done<Self> {
        let text = format!("{DIR}/{number:07}");
        Ok(Self { key: Key::new(&text)?, text })
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// What every side can do, so that a workload is written once.
pub(crate) trait Side: Clone + Send + Sync + 'static {
    fn get(&self, name: &Name) -> impl Future<Output = Done<Bytes>> + Send;

    fn put(&self, name: &Name, value: Bytes) -> impl Future<Output = Done> + Send;

    /// Puts many at once, to prepare a measurement.
    fn fill(&self, pairs: &[(Name, Bytes)]) -> impl Future<Output = Done> + Send;

    /// Reads all keys with their values into memory and returns how many there are.
    fn list(&self) -> impl Future<Output = Done<usize>> + Send;

    /// Reads all keys with their values one after the other and returns how many there are.
    fn walk(&self) -> impl Future<Output = Done<usize>> + Send;
}

/// A store of ours, as a program holds it.
#[derive(Debug, Clone)]
pub(crate) struct Ours(pub(crate) Arc<dyn Store>);

impl Side for Ours {
    async fn get(&self, name: &Name) -> Done<Bytes> {
        Ok(self.0.get(&name.key).await?.value)
    }

    async fn put(&self, name: &Name, value: Bytes) -> Done {
        self.0.put(&name.key, value).await?;
        Ok(())
    }

    async fn fill(&self, pairs: &[(Name, Bytes)]) -> Done {
        let mut transactions = JoinSet::new();
        for part in pairs.chunks(self.0.capabilities().max_txn_ops) {
            let puts = part
                .iter()
                .try_fold(Txn::new(), |txn, (name, value)| txn.put(&name.key, value.clone()))?;
            let store = self.0.clone();
            transactions.spawn(async move { store.txn(puts).await });
        }
        while let Some(done) = transactions.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn list(&self) -> Done<usize> {
        Ok(std::hint::black_box(self.0.list(DIR).await?).len())
    }

    async fn walk(&self) -> Done<usize> {
        let mut pairs = self.0.list_opts(&Key::new(DIR)?, ListOptions::default());
        let mut count = 0;
        while let Some(pair) = pairs.next().await {
            std::hint::black_box(pair?);
            count += 1;
        }
        Ok(count)
    }
}

/// The map that a program would have in place of the store in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Map(Arc<Mutex<BTreeMap<String, Bytes>>>);

impl Side for Map {
    async fn get(&self, name: &Name) -> Done<Bytes> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(map.get(&name.text).cloned().ok_or("no such key")?)
    }

    async fn put(&self, name: &Name, value: Bytes) -> Done {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.insert(name.text.clone(), value);
        Ok(())
    }

    async fn fill(&self, pairs: &[(Name, Bytes)]) -> Done {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.extend(pairs.iter().map(|(name, value)| (name.text.clone(), value.clone())));
        Ok(())
    }

    async fn list(&self) -> Done<usize> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let below = map.range(format!("{DIR}/")..).take_while(|(key, _)| key.starts_with(DIR));
        let all: Vec<_> = below.map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(std::hint::black_box(all).len())
    }

    async fn walk(&self) -> Done<usize> {
        self.list().await
    }
}

/// redb as a program would use it by itself, durable in the same way and with as much memory.
#[derive(Debug, Clone)]
pub(crate) struct Bare {
    database: Arc<Database>,
    /// Whether a value is copied out of the file's pages, as it must be to be kept.
    copies: bool,
}

impl Bare {
    pub(crate) fn open(path: &Path) -> Done<Self> {
        let database = Builder::new().set_cache_size(CACHE_BYTES).create(path)?;
        Ok(Self { database: Arc::new(database), copies: true })
    }

    /// The same database, whose values are looked at and left where they are.
    pub(crate) fn without_copies(&self) -> Self {
        Self { copies: false, ..self.clone() }
    }

    fn visit(&self, mut visit: impl FnMut(&str, &[u8])) -> Done<usize> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let mut count = 0;
        for entry in table.range(format!("{DIR}/").as_str()..)? {
            let (key, value) = entry?;
            if !key.value().starts_with(DIR) {
                break;
            }
            visit(key.value(), value.value());
            count += 1;
        }
        Ok(count)
    }
}

impl Side for Bare {
    async fn get(&self, name: &Name) -> Done<Bytes> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let value = table.get(name.text.as_str())?.ok_or("no such key")?;
        if self.copies {
            return Ok(Bytes::copy_from_slice(value.value()));
        }
        std::hint::black_box(value.value());
        Ok(Bytes::new())
    }

    async fn put(&self, name: &Name, value: Bytes) -> Done {
        let transaction = self.database.begin_write()?;
        transaction.open_table(TABLE)?.insert(name.text.as_str(), &*value)?;
        Ok(transaction.commit()?)
    }

    async fn fill(&self, pairs: &[(Name, Bytes)]) -> Done {
        let transaction = self.database.begin_write()?;
        let mut table = transaction.open_table(TABLE)?;
        for (name, value) in pairs {
            table.insert(name.text.as_str(), &**value)?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }

    async fn list(&self) -> Done<usize> {
        let mut all = Vec::new();
        self.visit(|key, value| all.push((key.to_owned(), Bytes::copy_from_slice(value))))?;
        Ok(std::hint::black_box(all).len())
    }

    async fn walk(&self) -> Done<usize> {
        self.visit(|key, value| {
            std::hint::black_box((key.to_owned(), Bytes::copy_from_slice(value)));
        })
    }
}
