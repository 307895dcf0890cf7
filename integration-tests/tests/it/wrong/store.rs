use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::lock::WrongLock;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use libkv_core::{
    BackendName, Capabilities, DeleteOptions, DeleteTreeOptions, Error, ErrorKind, Event,
    EventStream, Expect, GetOptions, Key, KvPair, Lifetime, LifetimeKind, ListOptions, LockOptions,
    LockSession, Page, PairStream, Result, StateWatch, Store, StoreExt, Txn, TxnOutcome, TxnWrite,
    Version, WatchOptions, WatchTarget, WriteOptions,
};

/// What a wrong store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    ChecksThenWrites,
    ClosesNothing,
    DropsDeleteEvents,
    DropsTheWaitersTidying,
    FreesASuccessorsLock,
    GivesOneTooMany,
    HidesTheResync,
    IgnoresTheFence,
    IgnoresTheLifetime,
    InventsParents,
    KeepsTheOldLifetime,
    MatchesPrefixesByByte,
    MissesTheGap,
    NeverTellsTheLoss,
    ReleasesWithoutWaiting,
    RepeatsTheToken,
    ReportsRefusalsAsUnknown,
    ReturnsALaterVersion,
    ShowsTheLockNode,
    SkipsTheSnapshot,
    TakesEmptyForAbsent,
    TearsTransactions,
}

/// A right store with a fault in front of it.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) fault: Option<Fault>,
}

impl Wrong {
    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Where expectations are looked at before the write instead of with it.
    async fn check_first(&self, key: &Key, expect: Expect) -> Result<()> {
        let found = self.inner.get(key).await;
        tokio::task::yield_now().await;
        let kind = match (expect, found) {
            (Expect::Absent, Ok(_)) => ErrorKind::KeyExists,
            (Expect::Version(_), Err(error)) => return Err(error),
            (Expect::Version(version), Ok(pair)) if pair.version != version => {
                ErrorKind::KeyModified
            }
            _ => return Ok(()),
        };
        Err(Error::new(kind, self.inner.backend(), "put").with_key(key))
    }

    fn confuse(&self, error: Error) -> Error {
        let kinds = [ErrorKind::KeyModified, ErrorKind::KeyExists, ErrorKind::KeyNotFound];
        if self.is(Fault::ReportsRefusalsAsUnknown) && kinds.contains(&error.kind()) {
            return Error::new(ErrorKind::OutcomeUnknown, self.inner.backend(), "put");
        }
        error
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Wrong {
    fn backend(&self) -> BackendName {
        self.inner.backend()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn state(&self) -> StateWatch {
        self.inner.state()
    }

    async fn get_opts(&self, key: &Key, opts: GetOptions) -> Result<KvPair> {
        let pair = self.inner.get_opts(key, opts.clone()).await?;
        if self.is(Fault::TakesEmptyForAbsent) && pair.value.is_empty() && !opts.keys_only {
            return Err(Error::new(ErrorKind::KeyNotFound, self.backend(), "get").with_key(key));
        }
        Ok(pair)
    }

    async fn put_opts(&self, key: &Key, value: Bytes, mut opts: WriteOptions) -> Result<Version> {
        if self.is(Fault::ChecksThenWrites) {
            self.check_first(key, opts.expect).await?;
            opts.expect = Expect::Anything;
        }
        if self.is(Fault::IgnoresTheFence) {
            opts.fence = None;
        }
        if self.is(Fault::IgnoresTheLifetime) {
            opts.lifetime = Lifetime::Permanent;
        }
        if self.is(Fault::KeepsTheOldLifetime)
            && opts.lifetime == Lifetime::Permanent
            && let Ok(old) = self.inner.get(key).await
        {
            opts.lifetime = match old.lifetime {
                LifetimeKind::Ephemeral => Lifetime::Ephemeral,
                LifetimeKind::Ttl => {
                    Lifetime::Ttl(self.capabilities().ttl.expect("the memory store has it").min)
                }
                _ => Lifetime::Permanent,
            };
        }
        let version = self.inner.put_opts(key, value, opts).await;
        let version = version.map_err(|error| self.confuse(error))?;
        if self.is(Fault::ReturnsALaterVersion) {
            tokio::task::yield_now().await;
            return Ok(self.inner.get(key).await.map_or(version, |pair| pair.version));
        }
        Ok(version)
    }

    async fn delete_opts(&self, key: &Key, mut opts: DeleteOptions) -> Result<()> {
        if self.is(Fault::IgnoresTheFence) {
            opts.fence = None;
        }
        self.inner.delete_opts(key, opts).await.map_err(|error| self.confuse(error))
    }

    async fn delete_tree_opts(&self, dir: &Key, opts: DeleteTreeOptions) -> Result<()> {
        if self.is(Fault::MatchesPrefixesByByte) && !dir.is_root() {
            for pair in self.inner.list(Key::root()).await.unwrap_or_default() {
                if pair.key.as_str().starts_with(dir.as_str()) {
                    self.inner.delete_tree(&pair.key).await?;
                }
            }
        }
        self.inner.delete_tree_opts(dir, opts).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        if !self.is(Fault::TearsTransactions) {
            return self.inner.txn(txn).await.map_err(|error| self.confuse(error));
        }
        // The writes one by one, and the compares when it is too late.
        let (compares, fences, writes) = txn.into_parts();
        let mut versions = Vec::new();
        for write in writes {
            match write {
                TxnWrite::Put { key, value, lifetime } => {
                    versions.push(self.inner.put_opts(&key, value, lifetime.into()).await?);
                }
                write => drop(self.inner.delete(write.key()).await),
            }
        }
        let mut rest = fences.into_iter().fold(Txn::new(), Txn::fence);
        for compare in compares {
            rest = match compare.condition {
                libkv_core::Condition::Absent => rest.require_absent(compare.key)?,
                libkv_core::Condition::Version(v) => rest.require_version(compare.key, v)?,
                _ => rest.require_exists(compare.key)?,
            };
        }
        let index = self.inner.txn(rest).await?.index;
        Ok(TxnOutcome::new(index, versions))
    }

    fn list_opts(&self, dir: &Key, mut opts: ListOptions) -> PairStream {
        match self.fault {
            Some(Fault::GivesOneTooMany) => opts.limit = opts.limit.map(|limit| limit + 1),
            Some(Fault::MatchesPrefixesByByte) if !dir.is_root() => {
                let (inner, dir) = (self.inner.clone(), dir.clone());
                return PairStream::new(stream::once(async move {
                    let mut all = inner.list(Key::root()).await?;
                    let below = |key: &Key| key.as_str().starts_with(dir.as_str()) && *key != dir;
                    all.retain(|pair| below(&pair.key));
                    Ok(Page::new(None, all))
                }));
            }
            Some(Fault::InventsParents) => {
                let listing = self.inner.list_opts(dir, opts);
                let dir = dir.clone();
                return PairStream::new(stream::once(async move {
                    Ok(Page::new(None, with_parents(&dir, listing.collect_pairs().await?)))
                }));
            }
            _ => {}
        }
        self.inner.list_opts(dir, opts)
    }

    fn watch_opts(&self, target: &WatchTarget, opts: WatchOptions) -> EventStream {
        let events = self.inner.watch_opts(target, opts.clone());
        match self.fault {
            Some(Fault::DropsDeleteEvents) => {
                filtered(events, |event| !matches!(event, Event::Delete { .. }))
            }
            Some(Fault::HidesTheResync) => {
                filtered(events, |event| !matches!(event, Event::Resync { .. }))
            }
            Some(Fault::SkipsTheSnapshot) => self.inner.watch_opts(target, opts.without_initial()),
            Some(Fault::MissesTheGap) if opts.initial && opts.from.is_none() => {
                late(self.inner.clone(), target.clone(), opts)
            }
            _ => events,
        }
    }

    fn lock_session(&self, key: &Key, opts: &LockOptions) -> Result<Box<dyn LockSession>> {
        let session = self.inner.lock_session(key, opts)?;
        let (store, key, fault) = (self.inner.clone(), key.clone(), self.fault);
        Ok(Box::new(WrongLock::new(session, store, key, fault)))
    }

    async fn close(&self) -> Result<()> {
        if self.is(Fault::ClosesNothing) {
            return Ok(());
        }
        self.inner.close().await
    }
}

/// The pairs, and an empty one for each level between them and the directory.
fn with_parents(dir: &Key, pairs: Vec<KvPair>) -> Vec<KvPair> {
    let stored: BTreeSet<Key> = pairs.iter().map(|pair| pair.key.clone()).collect();
    let mut all = pairs.clone();
    for pair in pairs {
        let parent = pair.key.parent().filter(|parent| parent.is_below(dir));
        if let Some(key) = parent.filter(|parent| !stored.contains(parent)) {
            all.push(KvPair::new(key, Bytes::new(), pair.version, pair.lifetime));
        }
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all.dedup_by(|a, b| a.key == b.key);
    all
}

fn filtered(events: EventStream, wanted: impl Fn(&Event) -> bool + Send + 'static) -> EventStream {
    EventStream::new(
        events.filter(move |item| std::future::ready(item.as_ref().map_or(true, &wanted))),
    )
}

/// Lists first, and watches from whenever the consumer has read the listing.
fn late(store: Arc<dyn Store>, target: WatchTarget, opts: WatchOptions) -> EventStream {
    let snapshot = {
        let (store, target) = (store.clone(), target.clone());
        stream::once(async move {
            match &target {
                WatchTarget::Key(key) => store.get(key).await.into_iter().collect(),
                WatchTarget::Tree(dir) => store.list(dir).await.unwrap_or_default(),
            }
        })
    };
    let puts = snapshot.flat_map(|pairs| stream::iter(pairs).map(|pair| Ok(Event::Put(pair))));
    let changes = stream::once(async move {
        // Wide enough that a writer at full speed is in it.
        tokio::time::sleep(Duration::from_millis(10)).await;
        store.watch_opts(&target, opts.without_initial())
    });
    EventStream::new(puts.chain(changes.flatten()))
}
