use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use libkv_core::{
    BackendName, Capabilities, Condition, DeleteOptions, DeleteTreeOptions, Error, ErrorKind,
    EventStream, Expect, GetOptions, Key, KvPair, Lifetime, ListOptions, LockOptions, LockSession,
    PairStream, Result, StateWatch, Store, Txn, TxnOutcome, TxnWrite, Version, WatchOptions,
    WatchTarget, WriteOptions,
};

use crate::ZkConfig;
use crate::error::{Failure, ZK};
use crate::handle::Handle;
use crate::list::list;
use crate::lock::ZkLock;
use crate::paths::{is_key, pair};
use crate::plan::{Request, unsupported};
use crate::watch::watch;

/// A store in ZooKeeper.
///
/// Clones are one handle, closed together. When the last clone is dropped and no guard or stream
/// lives, the handle is closed in the background.
#[derive(Debug, Clone)]
pub struct ZkStore {
    handle: Arc<Handle>,
}

impl ZkStore {
    /// Opens a store. Unless the configuration is lazy, it waits for a session with the servers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotReachable`] and [`ErrorKind::Timeout`] when no server answers within the
    /// configuration's `connection_timeout`, [`ErrorKind::PermissionDenied`] for credentials that
    /// they do not take, [`ErrorKind::NotSupported`] for servers before 3.6.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is left open.
    pub async fn open(config: ZkConfig) -> Result<Self> {
        Ok(Self { handle: Handle::open(config).await? })
    }
}

/// Prints the store's address as a URL, without secrets.
impl fmt::Display for ZkStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.handle.address)
    }
}

#[async_trait]
impl Store for ZkStore {
    fn backend(&self) -> BackendName {
        ZK
    }

    fn capabilities(&self) -> Capabilities {
        self.handle.capabilities()
    }

    fn state(&self) -> StateWatch {
        self.handle.session.state()
    }

    async fn get_opts(&self, key: &Key, opts: GetOptions) -> Result<KvPair> {
        const GET: &str = "get";
        let getting = async {
            not_root(key, GET)?;
            let call = self.handle.demand_open(GET, opts.deadline)?;
            let (link, path) = (&self.handle.link, self.handle.paths.path(key));
            let absent = || Error::new(ErrorKind::KeyNotFound, ZK, GET);
            let read = if opts.keys_only {
                let stat = link.read_at(opts.consistency, &call, |client| client.check_stat(&path));
                stat.await.map(|stat| stat.map(|stat| (Vec::new(), stat)))
            } else {
                let data = link.read_at(opts.consistency, &call, |client| client.get_data(&path));
                data.await.map(Some)
            };
            let found = match read {
                Err(failure) if failure.is_absent() => None,
                read => read.map_err(|failure: Failure| failure.into_error(&call, false))?,
            };
            let (value, stat) = found.filter(|(_, stat)| is_key(&path, stat)).ok_or_else(absent)?;
            Ok(pair(key.clone(), value, &stat))
        };
        getting.await.map_err(|error: Error| error.or_key(key))
    }

    async fn put_opts(&self, key: &Key, value: Bytes, opts: WriteOptions) -> Result<Version> {
        const PUT: &str = "put";
        let putting = async {
            not_root(key, PUT)?;
            self.capabilities().check_value(value.len(), ZK, PUT)?;
            supported(opts.lifetime, PUT)?;
            let expected = condition(opts.expect, PUT)?;
            let call = self.handle.demand_open(PUT, opts.deadline)?;
            let plain = opts.fence.is_none() && opts.lifetime == Lifetime::Permanent;
            if expected.is_none() && plain && !value.is_empty() {
                return self.handle.put(key, &value, &call).await;
            }
            let write = TxnWrite::Put { key: key.clone(), value, lifetime: opts.lifetime };
            let mut request = Request::of(PUT, write).with(key, expected);
            request.fences.extend(opts.fence);
            let outcome = self.handle.transact(request, &call).await?;
            outcome.versions.into_iter().next().ok_or_else(|| {
                Error::new(ErrorKind::OutcomeUnknown, ZK, PUT).with_detail("no version was told")
            })
        };
        putting.await.map_err(|error: Error| error.or_key(key))
    }

    async fn delete_opts(&self, key: &Key, opts: DeleteOptions) -> Result<()> {
        const DELETE: &str = "delete";
        let deleting = async {
            not_root(key, DELETE)?;
            let expected = condition(opts.expect, DELETE)?;
            let call = self.handle.demand_open(DELETE, opts.deadline)?;
            let write = TxnWrite::Delete { key: key.clone() };
            let mut request = Request::of(DELETE, write);
            request = request.with(key, Some(expected.unwrap_or(Condition::Exists)));
            if expected == Some(Condition::Absent) {
                request = request.with(key, Some(Condition::Exists));
            }
            request.fences.extend(opts.fence);
            self.handle.transact(request, &call).await.map(drop)
        };
        deleting.await.map_err(|error: Error| error.or_key(key))
    }

    async fn delete_tree_opts(&self, dir: &Key, opts: DeleteTreeOptions) -> Result<()> {
        const DELETE_TREE: &str = "delete_tree";
        let deleting = async {
            if opts.fence.is_some() {
                return Err(Error::new(ErrorKind::NotImplemented, ZK, DELETE_TREE)
                    .with_detail("a fence: ZooKeeper deletes a tree in parts"));
            }
            let call = self.handle.demand_open(DELETE_TREE, opts.deadline)?;
            self.handle.delete_tree(dir, &call).await
        };
        deleting.await.map_err(|error: Error| error.or_key(dir))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        const TXN: &str = "txn";
        self.capabilities().check_txn(&txn, ZK)?;
        let call = self.handle.demand_open(TXN, txn.deadline())?;
        for write in txn.writes() {
            if let TxnWrite::Put { key, lifetime, .. } = write {
                supported(*lifetime, TXN).map_err(|error| error.with_key(key))?;
            }
        }
        for compare in txn.compares() {
            if let Condition::Version(version) = compare.condition {
                version.checked(ZK, TXN).map_err(|error| error.with_key(&compare.key))?;
            }
        }
        let (compares, fences, writes) = txn.into_parts();
        let compares = compares.into_iter().map(|compare| (compare.key, compare.condition));
        let compares = compares.collect();
        let request = Request { operation: TXN, compares, fences, writes, session: 0 };
        self.handle.transact(request, &call).await
    }

    fn list_opts(&self, dir: &Key, opts: ListOptions) -> PairStream {
        PairStream::new(list(self.handle.clone(), dir.clone(), opts))
    }

    fn watch_opts(&self, target: &WatchTarget, opts: WatchOptions) -> EventStream {
        if let WatchTarget::Key(key) = target
            && let Err(error) = not_root(key, "watch")
        {
            return EventStream::failed(error.or_key(key));
        }
        EventStream::new(watch(self.handle.clone(), target.clone(), opts))
    }

    fn lock_session(&self, key: &Key, opts: &LockOptions) -> Result<Box<dyn LockSession>> {
        const LOCK: &str = "lock";
        let making = || {
            not_root(key, LOCK)?;
            let limits = self.handle.lock_limits();
            if let Some(ttl) = opts.ttl {
                limits.checked(ttl, ZK, LOCK)?;
            }
            let value = opts.value.clone();
            if let Some(value) = &value {
                self.capabilities().check_value(value.len(), ZK, LOCK)?;
            }
            ZkLock::check_value(value.as_ref())?;
            let lock: Box<dyn LockSession> =
                Box::new(ZkLock::new(self.handle.clone(), key.clone(), value));
            Ok(lock)
        };
        making().map_err(|error: Error| error.or_key(key))
    }

    async fn close(&self) -> Result<()> {
        self.handle.close().await
    }
}

/// What a key must be before it is written; none where it may be anything.
fn condition(expect: Expect, operation: &'static str) -> Result<Option<Condition>> {
    match expect {
        Expect::Anything => Ok(None),
        Expect::Absent => Ok(Some(Condition::Absent)),
        Expect::Version(version) => {
            version.checked(ZK, operation)?;
            Ok(Some(Condition::Version(version)))
        }
        other => Err(Error::new(ErrorKind::NotImplemented, ZK, operation)
            .with_detail(format!("an expectation of {other:?}"))),
    }
}

fn supported(lifetime: Lifetime, operation: &'static str) -> Result<()> {
    match lifetime {
        Lifetime::Permanent | Lifetime::Ephemeral => Ok(()),
        other => Err(unsupported(other, operation)),
    }
}

fn not_root(key: &Key, operation: &'static str) -> Result<()> {
    key.not_root(operation).map(drop).map_err(|error| error.in_operation(ZK, operation))
}
