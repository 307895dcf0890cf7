use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use libkv_core::{
    BackendName, Capabilities, Compare, Condition, DeleteOptions, DeleteTreeOptions, Error,
    ErrorKind, EventStream, Expect, Fence, GetOptions, Key, KvPair, Lifetime, ListOptions,
    LockOptions, LockSession, Page, PairStream, Result, SessionState, StateWatch, Store, TtlLimits,
    Txn, TxnOutcome, TxnWrite, Version, WatchOptions, WatchTarget, WriteOptions,
};
use tokio::runtime;

use crate::EmbeddedConfig;
use crate::engine::{Owner, Path, Span};
use crate::error::{MEM, refused};
use crate::handle::Handle;
use crate::lock::EmbeddedLock;
use crate::machine::{Check, Machine, Write};
use crate::watch::Watch;

const MAX_VALUE_BYTES: usize = 1 << 20;
const MAX_TXN_OPS: usize = 128;
const MAX_TXN_BYTES: usize = 4 << 20;
const SHORTEST_TTL: Duration = Duration::from_millis(1);
const SHORTEST_LOCK_TTL: Duration = Duration::from_millis(100);
const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const DEFAULT_LOCK_TTL: Duration = Duration::from_secs(15);
/// Room for a process that is busy when something is due.
const TTL_SLACK: Duration = Duration::from_secs(1);

/// The embedded store: the contract in one process.
///
/// Clones are one handle, closed together. [`new_handle`](Self::new_handle) gives a second session
/// on the same data. When the last clone is dropped and no guard or stream lives, the handle is
/// closed in the background; the data goes with the last handle.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    handle: Arc<Handle>,
}

impl EmbeddedStore {
    /// Opens an empty store in memory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Other`] outside a Tokio runtime, which the store's timers need.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn memory() -> Result<Self> {
        Self::open(EmbeddedConfig::default()).await
    }

    /// Opens a fresh store as configured.
    ///
    /// # Errors
    ///
    /// As [`memory`](Self::memory).
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn open(config: EmbeddedConfig) -> Result<Self> {
        let runtime = current_runtime()?;
        let handle = Handle::open(Machine::start(&runtime), config.root, &runtime)?;
        Ok(Self { handle })
    }

    /// Opens a further session on the same data, with ephemeral keys and locks of its own.
    ///
    /// # Errors
    ///
    /// As [`memory`](Self::memory), and [`ErrorKind::Closed`] on a closed handle.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn new_handle(&self) -> Result<Self> {
        self.new_handle_at(self.handle.root.clone()).await
    }

    /// Opens a further session on the same data, with another root. It is counted from the top of
    /// the data and not from this handle's root.
    ///
    /// # Errors
    ///
    /// As [`memory`](Self::memory), and [`ErrorKind::Closed`] on a closed handle.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn new_handle_at(&self, root: Key) -> Result<Self> {
        self.handle.with("open", None, |_| Ok::<_, Error>(()))?;
        let handle = Handle::open(self.handle.machine.clone(), root, &current_runtime()?)?;
        Ok(Self { handle })
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn backend(&self) -> BackendName {
        MEM
    }

    fn capabilities(&self) -> Capabilities {
        let mut facts = Capabilities::new(MAX_VALUE_BYTES, MAX_TXN_OPS, MAX_TXN_BYTES);
        facts.ttl = Some(key_limits());
        facts.lock_ttl = Some(lock_limits());
        facts.atomic_list = true;
        facts.atomic_delete_tree = true;
        facts.watches_every_version = true;
        facts.history = true;
        facts.fair_locks = true;
        facts.empty_values_on_parents = true;
        facts.children_of_ephemeral = true;
        facts
    }

    fn state(&self) -> StateWatch {
        self.handle.session.watch()
    }

    async fn get_opts(&self, key: &Key, opts: GetOptions) -> Result<KvPair> {
        let path = self.path(key, "get")?;
        let record = self.handle.with("get", opts.deadline, |state| state.get(&path))?;
        let record =
            record.ok_or_else(|| Error::new(ErrorKind::KeyNotFound, MEM, "get").with_key(key))?;
        Ok(self.handle.pair(key.clone(), &record, !opts.keys_only))
    }

    async fn put_opts(&self, key: &Key, value: Bytes, opts: WriteOptions) -> Result<Version> {
        let path = self.path(key, "put")?;
        self.capabilities()
            .check_value(value.len(), MEM, "put")
            .map_err(|error| error.with_key(key))?;
        let checks = self.checks(&path, opts.expect, opts.fence.as_ref(), "put")?;
        let done = self.handle.with("put", opts.deadline, |state| {
            let owner = self.owner(opts.lifetime, key, "put")?;
            let revision = state.commit(&checks, vec![Write::Put(path, value, owner)])?;
            self.note_session(opts.lifetime == Lifetime::Ephemeral);
            Ok(revision)
        });
        let revision = done.map_err(|fault| refused(fault, "put", |_| Some(key)))?;
        Ok(Version::new(MEM, revision))
    }

    async fn delete_opts(&self, key: &Key, opts: DeleteOptions) -> Result<()> {
        let path = self.path(key, "delete")?;
        let mut checks = self.checks(&path, opts.expect, opts.fence.as_ref(), "delete")?;
        checks.push(Check::Exists(path.clone()));
        self.handle
            .with("delete", opts.deadline, |state| state.commit(&checks, vec![Write::Delete(path)]))
            .map_err(|fault| refused(fault, "delete", |_| Some(key)))?;
        Ok(())
    }

    async fn delete_tree_opts(&self, dir: &Key, opts: DeleteTreeOptions) -> Result<()> {
        const OPERATION: &str = "delete_tree";
        let path = self.handle.path(dir);
        let fences = opts.fence.iter().map(|fence| self.fence_check(fence, OPERATION));
        let checks = fences.collect::<Result<Vec<_>>>()?;
        let below = Span::below(&path);
        // The root holds no value here, although its path is a key for a handle further up.
        let dir_path = (!dir.is_root()).then_some(&path);
        self.handle
            .with(OPERATION, opts.deadline, |state| {
                state.delete_tree(&checks, dir_path, &below, self.handle.machine.clock().now())
            })
            .map_err(|fault| refused(fault, OPERATION, |_| Some(dir)))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.capabilities().check_txn(&txn, MEM)?;
        let deadline = txn.deadline();
        let (compares, fences, writes) = txn.into_parts();
        let mut checks = Vec::with_capacity(compares.len() + fences.len());
        for fence in &fences {
            checks.push(self.fence_check(fence, "txn")?);
        }
        for compare in &compares {
            checks.push(compare_check(self.path(&compare.key, "txn")?, compare)?);
        }
        let puts = writes.iter().filter(|write| matches!(write, TxnWrite::Put { .. })).count();
        let done = self.handle.with("txn", deadline, |state| {
            let steps = writes.into_iter().map(|write| self.step(write));
            let steps = steps.collect::<Result<Vec<_>>>()?;
            let ephemeral = steps.iter().any(|s| matches!(s, Write::Put(_, _, Owner::Session(_))));
            let revision = state.commit(&checks, steps)?;
            self.note_session(ephemeral);
            Ok(revision)
        });
        let compared = fences.iter().map(Fence::key).chain(compares.iter().map(|c| &c.key));
        let revision =
            done.map_err(|fault| refused(fault, "txn", |at| compared.clone().nth(at)))?;
        Ok(TxnOutcome::new(revision, vec![Version::new(MEM, revision); puts]))
    }

    fn list_opts(&self, dir: &Key, opts: ListOptions) -> PairStream {
        let (store, dir) = (self.clone(), dir.clone());
        // One page: the pairs share the store's own values, and are of one point in time.
        PairStream::new(Once(Some(move || store.list_now(&dir, &opts))))
    }

    fn watch_opts(&self, target: &WatchTarget, opts: WatchOptions) -> EventStream {
        if let WatchTarget::Key(key) = target
            && let Err(error) = self.path(key, "watch")
        {
            return EventStream::failed(error);
        }
        EventStream::new(Watch::new(self.handle.clone(), target.clone(), opts))
    }

    fn lock_session(&self, key: &Key, opts: &LockOptions) -> Result<Box<dyn LockSession>> {
        let path = self.path(key, "lock")?;
        let limits = lock_limits();
        let ttl = limits.checked(opts.ttl.unwrap_or(limits.default), MEM, "lock");
        let ttl = ttl.map_err(|error| error.with_key(key))?;
        let bytes = opts.value.as_ref().map_or(0, Bytes::len);
        let sized = self.capabilities().check_value(bytes, MEM, "lock");
        sized.map_err(|error| error.with_key(key))?;
        let (handle, key, value) = (self.handle.clone(), key.clone(), opts.value.clone());
        Ok(Box::new(EmbeddedLock::new(handle, key, path, value, ttl)))
    }

    async fn close(&self) -> Result<()> {
        self.handle.close()
    }
}

impl EmbeddedStore {
    /// The path of a key that a call on one key may name.
    fn path(&self, key: &Key, operation: &'static str) -> Result<Path> {
        let key = key.not_root(operation).map_err(|error| error.in_operation(MEM, operation))?;
        Ok(self.handle.path(key))
    }

    /// The lifetime's owner, with a time to live counted from now.
    fn owner(&self, lifetime: Lifetime, key: &Key, operation: &'static str) -> Result<Owner> {
        match lifetime {
            Lifetime::Permanent => Ok(Owner::Nobody),
            Lifetime::Ephemeral => Ok(Owner::Session(self.handle.id)),
            Lifetime::Ttl(ttl) => {
                let ttl = key_limits().checked(ttl, MEM, operation);
                let ttl = ttl.map_err(|error| error.with_key(key))?;
                Ok(Owner::Until(self.handle.machine.clock().now().after(ttl)))
            }
            other => Err(Error::new(ErrorKind::NotImplemented, MEM, operation)
                .with_key(key)
                .with_detail(format!("a lifetime of {other:?}"))),
        }
    }

    /// One write of a transaction.
    fn step(&self, write: TxnWrite) -> Result<Write> {
        let path = self.path(write.key(), "txn")?;
        match write {
            TxnWrite::Put { key, value, lifetime } => {
                Ok(Write::Put(path, value, self.owner(lifetime, &key, "txn")?))
            }
            TxnWrite::Delete { .. } => Ok(Write::Delete(path)),
            other => Err(Error::new(ErrorKind::NotImplemented, MEM, "txn")
                .with_detail(format!("a write of the kind {other:?}"))),
        }
    }

    /// The session is opened by the first ephemeral key.
    fn note_session(&self, ephemeral: bool) {
        if ephemeral {
            self.handle.session.set(SessionState::Connected);
        }
    }

    fn checks(
        &self,
        path: &Path,
        expect: Expect,
        fence: Option<&Fence>,
        operation: &'static str,
    ) -> Result<Vec<Check>> {
        let mut checks = Vec::new();
        if let Some(fence) = fence {
            checks.push(self.fence_check(fence, operation)?);
        }
        match expect {
            Expect::Anything => {}
            Expect::Absent => checks.push(Check::Absent(path.clone())),
            Expect::Version(version) => {
                let version = version.checked(MEM, operation)?;
                checks.push(Check::Revision(path.clone(), version.last_index()));
            }
            other => {
                return Err(Error::new(ErrorKind::NotImplemented, MEM, operation)
                    .with_detail(format!("an expectation of {other:?}")));
            }
        }
        Ok(checks)
    }

    fn fence_check(&self, fence: &Fence, operation: &'static str) -> Result<Check> {
        let fence = fence.checked(MEM, operation)?;
        // By path, so that a guard of a handle with another root counts too.
        Ok(Check::Held(fence.node().into(), fence.token().get()))
    }

    fn list_now(&self, dir: &Key, opts: &ListOptions) -> Result<Page> {
        let handle = &self.handle;
        let path = handle.path(dir);
        let below = Span::below(&path);
        let after = opts.start_after.as_ref().map(|key| handle.path(key));
        let limit = opts.limit.unwrap_or(usize::MAX);
        handle.with("list", opts.deadline, |state| {
            let mut pairs = Vec::new();
            state.scan(&below.clone().after(after), &mut |path, record| {
                if pairs.len() >= limit {
                    return false;
                }
                if let Some(key) = handle.key(path)
                    && opts.depth.is_none_or(|depth| key.depth_below(dir) <= Some(depth))
                {
                    pairs.push(handle.pair(key, record, !opts.keys_only));
                }
                true
            })?;
            let mut anything = !pairs.is_empty() || dir.is_root() || state.get(&path)?.is_some();
            if !anything {
                state.scan(&below, &mut |_, _| {
                    anything = true;
                    false
                })?;
            }
            if !anything {
                return Err(Error::new(ErrorKind::KeyNotFound, MEM, "list").with_key(dir));
            }
            Ok(Page::new(Some(state.revision()), pairs))
        })
    }
}

fn compare_check(path: Path, compare: &Compare) -> Result<Check> {
    match compare.condition {
        Condition::Absent => Ok(Check::Absent(path)),
        Condition::Exists => Ok(Check::Exists(path)),
        Condition::Version(version) => {
            let version =
                version.checked(MEM, "txn").map_err(|error| error.with_key(&compare.key))?;
            Ok(Check::Revision(path, version.last_index()))
        }
        other => Err(Error::new(ErrorKind::NotImplemented, MEM, "txn")
            .with_key(&compare.key)
            .with_detail(format!("a compare with {other:?}"))),
    }
}

fn key_limits() -> TtlLimits {
    TtlLimits::new(SHORTEST_TTL, LONGEST_TTL, SHORTEST_TTL, TTL_SLACK)
}

fn lock_limits() -> TtlLimits {
    TtlLimits::new(SHORTEST_LOCK_TTL, LONGEST_TTL, DEFAULT_LOCK_TTL, TTL_SLACK)
}

fn current_runtime() -> Result<runtime::Handle> {
    runtime::Handle::try_current().map_err(|error| {
        Error::new(ErrorKind::Other, MEM, "open")
            .with_detail("the store's timers need a Tokio runtime; open it inside one")
            .with_source(error)
    })
}

/// The address, as [`open`](EmbeddedStore::open) of the facade takes it.
impl fmt::Display for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mem:")?;
        if self.handle.root.is_root() {
            return Ok(());
        }
        write!(f, "?root={}", self.handle.root)
    }
}

/// A stream of the one result of a call, which is made when it is asked for.
struct Once<F>(Option<F>);

impl<F: FnOnce() -> Result<Page> + Unpin> Stream for Once<F> {
    type Item = Result<Page>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(|call| call()))
    }
}
