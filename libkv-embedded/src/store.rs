use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use libkv_core::{
    BackendName, Capabilities, Compare, Condition, DeleteOptions, DeleteTreeOptions, Error,
    ErrorKind, EventStream, Expect, Fence, GetOptions, Key, KvPair, Lifetime, ListOptions,
    LockOptions, LockSession, PairStream, Result, StateWatch, Store, Txn, TxnOutcome, TxnWrite,
    Version, WatchOptions, WatchTarget, WriteOptions,
};
use tokio::runtime;

use crate::config::encoded;
use crate::engine::{File, Path, Record, Span};
use crate::error::{FILE, MEM};
use crate::handle::Handle;
use crate::limits::{check_value, key_limits, limits, lock_limits};
use crate::list::Listing;
use crate::lock::EmbeddedLock;
use crate::machine::{Check, Commit, DeleteTree, Life, Machine, Write};
use crate::watch::Watch;
use crate::{EmbeddedConfig, Place};

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
        Self::open(EmbeddedConfig::memory()).await
    }

    /// Opens a store in a file, which is made where it is not there yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when another process has the file and keeps it, with its name;
    /// [`ErrorKind::InvalidConfig`] for a file that is something else, which is not touched;
    /// [`ErrorKind::PermissionDenied`] where the file cannot be written.
    ///
    /// # Cancel safety
    ///
    /// Safe: a file that was just opened is closed again.
    pub async fn file(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open(EmbeddedConfig::file(path)).await
    }

    /// Opens a store as configured.
    ///
    /// # Errors
    ///
    /// As [`memory`](Self::memory) and [`file`](Self::file).
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn open(config: EmbeddedConfig) -> Result<Self> {
        let runtime = current_runtime()?;
        let address = config.place.url().into();
        let place = config.place.clone();
        let (machine, backend) = match config.place {
            Place::Memory => (Machine::in_memory(&runtime), MEM),
            Place::File(path) => {
                let wait = config.connection_timeout;
                let opening =
                    runtime.spawn_blocking(move || Machine::on_disk(File::open(&path, wait)?));
                let machine = opening.await.map_err(|error| {
                    Error::new(ErrorKind::Other, FILE, "open").with_source(error)
                })??;
                (machine, FILE)
            }
        };
        let opening = Handle::open(machine, backend, address, config.root, &runtime);
        let handle = opening.await.map_err(|error| unbegun(error, &place))?;
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
        self.handle.demand_time("open", None)?;
        let (machine, address) = (self.handle.machine.clone(), self.handle.address.clone());
        let runtime = current_runtime()?;
        let handle = Handle::open(machine, self.backend(), address, root, &runtime).await?;
        Ok(Self { handle })
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn backend(&self) -> BackendName {
        self.handle.backend
    }

    fn capabilities(&self) -> Capabilities {
        let mut facts = limits();
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
        let found = self.find(key, &opts).map_err(|error| error.or_key(key))?;
        let found = found.ok_or_else(|| self.error(ErrorKind::KeyNotFound, "get").with_key(key))?;
        Ok(self.handle.pair(key.clone(), found, !opts.keys_only))
    }

    async fn put_opts(&self, key: &Key, value: Bytes, opts: WriteOptions) -> Result<Version> {
        let of_key = |error: Error| error.or_key(key);
        let request = self.to_put(key, value, &opts).map_err(of_key)?;
        let putting = self.handle.ask("put", opts.deadline, request, |_| Some(key));
        let revision = putting.await.map_err(of_key)?;
        if opts.lifetime == Lifetime::Ephemeral {
            self.handle.note_session();
        }
        Ok(Version::new(self.backend(), revision))
    }

    async fn delete_opts(&self, key: &Key, opts: DeleteOptions) -> Result<()> {
        let of_key = |error: Error| error.or_key(key);
        let request = self.to_delete(key, &opts).map_err(of_key)?;
        let deleting = self.handle.ask("delete", opts.deadline, request, |_| Some(key));
        deleting.await.map(drop).map_err(of_key)
    }

    async fn delete_tree_opts(&self, dir: &Key, opts: DeleteTreeOptions) -> Result<()> {
        const OPERATION: &str = "delete_tree";
        let deleting = async {
            let path = self.handle.path(dir);
            let fences = opts.fence.iter().map(|fence| self.fence_check(fence, OPERATION));
            let checks = fences.collect::<Result<Vec<_>>>()?;
            let below = Span::below(&path);
            // The root holds no value here, although its path is a key for a handle further up.
            let dir_path = (!dir.is_root()).then_some(path);
            let request = DeleteTree { session: self.handle.id, checks, dir: dir_path, below };
            self.handle.ask(OPERATION, opts.deadline, request, |_| Some(dir)).await
        };
        deleting.await.map_err(|error: Error| error.or_key(dir))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.capabilities().check_txn(&txn, self.backend())?;
        let deadline = txn.deadline();
        let (compares, fences, writes) = txn.into_parts();
        let mut checks = Vec::with_capacity(compares.len() + fences.len());
        for fence in &fences {
            checks.push(self.fence_check(fence, "txn").map_err(|e| e.with_key(fence.key()))?);
        }
        for compare in &compares {
            checks.push(self.compare_check(compare)?);
        }
        let steps = writes.into_iter().map(|write| self.step(write)).collect::<Result<Vec<_>>>()?;
        let puts = steps.iter().filter(|step| matches!(step, Write::Put(..))).count();
        let ephemeral = steps.iter().any(|step| matches!(step, Write::Put(_, _, Life::Session)));
        let request = Commit { session: self.handle.id, checks, writes: steps };
        let mut compared = fences.iter().map(Fence::key).chain(compares.iter().map(|c| &c.key));
        let revision = self.handle.ask("txn", deadline, request, |at| compared.nth(at)).await?;
        if ephemeral {
            self.handle.note_session();
        }
        Ok(TxnOutcome::new(revision, vec![Version::new(self.backend(), revision); puts]))
    }

    fn list_opts(&self, dir: &Key, opts: ListOptions) -> PairStream {
        PairStream::new(Listing::new(self.handle.clone(), dir.clone(), opts))
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
        let ttl = limits.checked(opts.ttl.unwrap_or(limits.default), self.backend(), "lock");
        let ttl = ttl.map_err(|error| error.with_key(key))?;
        let bytes = opts.value.as_ref().map_or(0, Bytes::len);
        let sized = check_value(bytes, self.backend(), "lock");
        sized.map_err(|error| error.with_key(key))?;
        let (handle, key, value) = (self.handle.clone(), key.clone(), opts.value.clone());
        Ok(Box::new(EmbeddedLock::new(handle, key, path, value, ttl)))
    }

    async fn close(&self) -> Result<()> {
        self.handle.close().await
    }
}

impl EmbeddedStore {
    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        Error::new(kind, self.backend(), operation)
    }

    /// The path of a key that a call on one key may name.
    fn path(&self, key: &Key, operation: &'static str) -> Result<Path> {
        let key = key.not_root(operation);
        Ok(self.handle.path(key.map_err(|error| error.in_operation(self.backend(), operation))?))
    }

    fn find(&self, key: &Key, opts: &GetOptions) -> Result<Option<Record>> {
        let within = |error: Error| error.in_operation(self.backend(), "get");
        let path = self.handle.path_text(key.not_root("get").map_err(within)?);
        self.handle.demand_time("get", opts.deadline)?;
        self.handle.machine.get(&path).map_err(within)
    }

    fn to_put(&self, key: &Key, value: Bytes, opts: &WriteOptions) -> Result<Commit<[Write; 1]>> {
        let path = self.path(key, "put")?;
        check_value(value.len(), self.backend(), "put")?;
        let life = self.life(opts.lifetime, "put")?;
        let checks = self.checks(&path, opts.expect, opts.fence.as_ref(), "put")?;
        Ok(Commit { session: self.handle.id, checks, writes: [Write::Put(path, value, life)] })
    }

    fn to_delete(&self, key: &Key, opts: &DeleteOptions) -> Result<Commit<[Write; 1]>> {
        let path = self.path(key, "delete")?;
        let mut checks = self.checks(&path, opts.expect, opts.fence.as_ref(), "delete")?;
        checks.push(Check::Exists(path.clone()));
        Ok(Commit { session: self.handle.id, checks, writes: [Write::Delete(path)] })
    }

    fn life(&self, lifetime: Lifetime, operation: &'static str) -> Result<Life> {
        match lifetime {
            Lifetime::Permanent => Ok(Life::Permanent),
            Lifetime::Ephemeral => Ok(Life::Session),
            Lifetime::Ttl(ttl) => {
                Ok(Life::For(key_limits().checked(ttl, self.backend(), operation)?))
            }
            other => Err(self
                .error(ErrorKind::NotImplemented, operation)
                .with_detail(format!("a lifetime of {other:?}"))),
        }
    }

    /// One write of a transaction.
    fn step(&self, write: TxnWrite) -> Result<Write> {
        let path = self.path(write.key(), "txn")?;
        match write {
            TxnWrite::Put { key, value, lifetime } => {
                let life = self.life(lifetime, "txn").map_err(|error| error.with_key(&key))?;
                Ok(Write::Put(path, value, life))
            }
            TxnWrite::Delete { .. } => Ok(Write::Delete(path)),
            other => Err(self
                .error(ErrorKind::NotImplemented, "txn")
                .with_detail(format!("a write of the kind {other:?}"))),
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
                let version = version.checked(self.backend(), operation)?;
                checks.push(Check::Revision(path.clone(), version.last_index()));
            }
            other => {
                return Err(self
                    .error(ErrorKind::NotImplemented, operation)
                    .with_detail(format!("an expectation of {other:?}")));
            }
        }
        Ok(checks)
    }

    fn fence_check(&self, fence: &Fence, operation: &'static str) -> Result<Check> {
        let fence = fence.checked(self.backend(), operation)?;
        // By path, so that a guard of a handle with another root counts too.
        Ok(Check::Held(fence.node().into(), fence.token().get()))
    }

    fn compare_check(&self, compare: &Compare) -> Result<Check> {
        let path = self.path(&compare.key, "txn")?;
        match compare.condition {
            Condition::Absent => Ok(Check::Absent(path)),
            Condition::Exists => Ok(Check::Exists(path)),
            Condition::Version(version) => {
                let version = version.checked(self.backend(), "txn");
                let version = version.map_err(|error| error.with_key(&compare.key))?;
                Ok(Check::Revision(path, version.last_index()))
            }
            other => Err(self
                .error(ErrorKind::NotImplemented, "txn")
                .with_key(&compare.key)
                .with_detail(format!("a compare with {other:?}"))),
        }
    }
}

/// A file whose first use failed, which the error is to name.
fn unbegun(error: Error, place: &Place) -> Error {
    let Place::File(path) = place else {
        return error;
    };
    Error::new(error.kind(), FILE, "open")
        .with_detail(format!("{}: the first write to it failed", path.display()))
        .with_transient(error.is_transient())
        .with_source(error)
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
        f.write_str(&self.handle.address)?;
        if self.handle.root.is_root() {
            return Ok(());
        }
        write!(f, "?root={}", encoded(self.handle.root.as_str()))
    }
}
