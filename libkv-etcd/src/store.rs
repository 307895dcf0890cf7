use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{DeleteOptions as ClientDelete, PutOptions, TxnOp, TxnResponse};
use libkv_core::{
    BackendName, Capabilities, DeleteOptions, DeleteTreeOptions, Error, ErrorKind, EventStream,
    GetOptions, Key, KvPair, Lifetime, ListOptions, LockOptions, LockSession, PairStream, Result,
    StateWatch, Store, Txn, TxnOutcome, TxnWrite, Version, WatchOptions, WatchTarget, WriteOptions,
};

use crate::EtcdConfig;
use crate::cluster::{Call, Failure, Way};
use crate::endpoint::{Connection, Lane};
use crate::error::ETCD;
use crate::handle::{Handle, limits, version};
use crate::list::list;
use crate::lock::EtcdLock;
use crate::names::lease_in;
use crate::owner::Owner;
use crate::request::{Guards, check_request, unknown};
use crate::watch::watch;

/// A store in etcd.
///
/// Clones are one handle, closed together. When the last clone is dropped and no guard or stream
/// lives, the handle is closed in the background.
#[derive(Debug, Clone)]
pub struct EtcdStore {
    handle: Arc<Handle>,
}

impl EtcdStore {
    /// Opens a store. Unless the configuration is lazy, it looks for a member with a leader and
    /// logs in there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotReachable`] and [`ErrorKind::Timeout`] when no member answers within the
    /// configuration's `connection_timeout`, [`ErrorKind::PermissionDenied`] for a wrong user or
    /// password, [`ErrorKind::InvalidConfig`] for files that cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is left open.
    pub async fn open(config: EtcdConfig) -> Result<Self> {
        Ok(Self { handle: Handle::open(config).await? })
    }
}

/// Prints the store's address as a URL, without secrets.
impl fmt::Display for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.handle.address)
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn backend(&self) -> BackendName {
        ETCD
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
            let deadline = self.handle.demand_open(GET, opts.deadline)?;
            let found =
                self.handle.find(key, opts.keys_only, opts.consistency, GET, deadline).await?;
            let found = found.ok_or_else(|| Error::new(ErrorKind::KeyNotFound, ETCD, GET))?;
            Ok(self.handle.pair(key.clone(), found))
        };
        getting.await.map_err(|error: Error| error.or_key(key))
    }

    async fn put_opts(&self, key: &Key, value: Bytes, opts: WriteOptions) -> Result<Version> {
        const PUT: &str = "put";
        let putting = async {
            not_root(key, PUT)?;
            limits().check_value(value.len(), ETCD, PUT)?;
            let call = self.call(PUT, opts.deadline)?;
            let mut guards = Guards::default();
            if let Some(fence) = &opts.fence {
                guards.fence(fence, PUT)?;
            }
            guards.expect(&self.handle.names, key, opts.expect, PUT)?;
            let bytes = self.handle.names.prefix_bytes() + key.as_str().len() + value.len();
            check_request(1, bytes, &guards, PUT)?;
            self.put(key, &value, opts.lifetime, &guards, &call).await
        };
        putting.await.map_err(|error: Error| error.or_key(key))
    }

    async fn delete_opts(&self, key: &Key, opts: DeleteOptions) -> Result<()> {
        const DELETE: &str = "delete";
        let deleting = async {
            not_root(key, DELETE)?;
            let call = self.call(DELETE, opts.deadline)?;
            let (names, name) = (&self.handle.names, self.handle.names.name(key));
            let mut guards = Guards::default();
            if let Some(fence) = &opts.fence {
                guards.fence(fence, DELETE)?;
            }
            guards.expect(names, key, opts.expect, DELETE)?;
            let plain = guards.is_empty() && lease_in(&name).is_none();
            if plain {
                return self.delete(&name, &call).await;
            }
            guards.exists(names, key);
            let response = self.commit(&guards, vec![TxnOp::delete(name, None)], &call).await?;
            done(response, &guards, DELETE).map(drop)
        };
        deleting.await.map_err(|error: Error| error.or_key(key))
    }

    async fn delete_tree_opts(&self, dir: &Key, opts: DeleteTreeOptions) -> Result<()> {
        const DELETE_TREE: &str = "delete_tree";
        let deleting = async {
            let call = self.call(DELETE_TREE, opts.deadline)?;
            let mut guards = Guards::default();
            if let Some(fence) = &opts.fence {
                guards.fence(fence, DELETE_TREE)?;
            }
            let span = self.handle.names.below(dir);
            let range = span.end.map(|end| ClientDelete::new().with_range(end));
            let mut deletes = vec![TxnOp::delete(span.from, range)];
            if !dir.is_root() {
                deletes.push(TxnOp::delete(self.handle.names.name(dir), None));
            }
            let response = self.commit(&guards, deletes, &call).await?;
            done(response, &guards, DELETE_TREE).map(drop)
        };
        deleting.await.map_err(|error: Error| error.or_key(dir))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        const TXN: &str = "txn";
        limits().check_txn(&txn, ETCD)?;
        let call = self.call(TXN, txn.deadline())?;
        let prefix = self.handle.names.prefix_bytes();
        let bytes = txn.bytes() + prefix * txn.writes().len();
        let (compares, fences, writes) = txn.into_parts();
        let mut guards = Guards::default();
        for fence in &fences {
            guards.fence(fence, TXN)?;
        }
        for compare in &compares {
            let added = guards.condition(&self.handle.names, &compare.key, compare.condition);
            added.map_err(|error| error.or_key(&compare.key))?;
        }
        check_request(writes.len(), bytes, &guards, TXN)?;
        self.write_all(writes, &guards, &call).await
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
            let limits = self.handle.ttl_limits();
            let ttl = limits.checked(opts.ttl.unwrap_or(limits.default), ETCD, LOCK)?;
            let bytes = opts.value.as_ref().map_or(0, Bytes::len);
            crate::handle::limits().check_value(bytes, ETCD, LOCK)?;
            let (handle, value) = (self.handle.clone(), opts.value.clone());
            let lock = EtcdLock::new(handle, key.clone(), value, ttl);
            Ok(Box::new(lock) as Box<dyn LockSession>)
        };
        making().map_err(|error: Error| error.or_key(key))
    }

    async fn close(&self) -> Result<()> {
        self.handle.close().await
    }
}

impl EtcdStore {
    fn call(&self, operation: &'static str, deadline: Option<std::time::Instant>) -> Result<Call> {
        let deadline = self.handle.demand_open(operation, deadline)?;
        Ok(Call { operation, lane: Lane::Calls, way: Way::Write, deadline })
    }

    /// Puts a key with its lifetime. A session that turns out to be gone is replaced once: the server
    /// refused the put and did nothing.
    async fn put(
        &self,
        key: &Key,
        value: &Bytes,
        lifetime: Lifetime,
        guards: &Guards,
        call: &Call,
    ) -> Result<Version> {
        let mut gone = None;
        loop {
            let mut owner = Owner::get(&self.handle, lifetime, gone, call).await?;
            owner.send();
            let written = self.put_bound(key, value, owner.lease(), guards, call).await;
            let outcome = match written {
                Ok(response) => response.map(version),
                Err(failure) if self.may_replace(&failure, lifetime, gone) => {
                    gone = Some(owner.lease());
                    continue;
                }
                Err(failure) => Err(failure.into_error(call)),
            };
            return owner.settle(outcome, &self.handle, call).await;
        }
    }

    /// Whether a write was refused because its session is gone, for the first time.
    fn may_replace(&self, failure: &Failure, lifetime: Lifetime, gone: Option<i64>) -> bool {
        failure.fault.is_lease_gone() && lifetime == Lifetime::Ephemeral && gone.is_none()
    }

    /// One exchange; the inner error is a refusal by the guards.
    async fn put_bound(
        &self,
        key: &Key,
        value: &Bytes,
        lease: i64,
        guards: &Guards,
        call: &Call,
    ) -> Result<Result<i64>, Failure> {
        let (name, options) = (self.handle.names.name(key), PutOptions::new().with_lease(lease));
        if guards.is_empty() {
            let response = self.handle.cluster.call(call, |at: Connection| {
                let (name, value, options) = (name.clone(), value.to_vec(), options.clone());
                async move { at.kv().put(name, value, Some(options)).await }
            });
            let response = response.await?;
            return Ok(Ok(response.header().map_or(0, |header| header.revision())));
        }
        let put = TxnOp::put(name, value.to_vec(), Some(options));
        let response = self.exchange(guards, vec![put], call).await?;
        Ok(done(response, guards, call.operation))
    }

    async fn delete(&self, name: &[u8], call: &Call) -> Result<()> {
        let response = self.handle.cluster.call(call, |at: Connection| {
            let name = name.to_vec();
            async move { at.kv().delete(name, None).await }
        });
        let response = response.await.map_err(|failure| failure.into_error(call))?;
        if response.deleted() == 0 {
            return Err(Error::new(ErrorKind::KeyNotFound, ETCD, call.operation));
        }
        Ok(())
    }

    /// Does the writes of a transaction, after granting the leases that its keys need. Keys with the
    /// same lifetime share one.
    async fn write_all(
        &self,
        writes: Vec<TxnWrite>,
        guards: &Guards,
        call: &Call,
    ) -> Result<TxnOutcome> {
        let lifetimes = self.lifetimes(&writes, call)?;
        let mut gone = None;
        loop {
            let mut owners = Vec::with_capacity(lifetimes.len());
            for lifetime in &lifetimes {
                let owner = Owner::get(&self.handle, *lifetime, gone, call).await?;
                owners.push((*lifetime, owner));
            }
            let steps = self.steps(&writes, &owners, call)?;
            owners.iter_mut().for_each(|(_, owner)| owner.send());
            let session = owners.iter().find(|(lifetime, _)| *lifetime == Lifetime::Ephemeral);
            let session = session.map(|(_, owner)| owner.lease());
            let mut outcome = match self.exchange(guards, steps, call).await {
                Ok(response) => done(response, guards, call.operation),
                Err(failure)
                    if self.may_replace(&failure, Lifetime::Ephemeral, gone)
                        && session.is_some() =>
                {
                    gone = session;
                    continue;
                }
                Err(failure) => Err(failure.into_error(call)),
            };
            for (_, mut owner) in owners {
                outcome = owner.settle(outcome, &self.handle, call).await;
            }
            let revision = outcome?;
            let puts = writes.iter().filter(|write| matches!(write, TxnWrite::Put { .. })).count();
            let index = u64::try_from(revision).unwrap_or_default();
            return Ok(TxnOutcome::new(index, vec![version(revision); puts]));
        }
    }

    /// The different lifetimes of a transaction's puts, all of which can be had.
    fn lifetimes(&self, writes: &[TxnWrite], call: &Call) -> Result<Vec<Lifetime>> {
        let mut lifetimes = Vec::new();
        for write in writes {
            if let TxnWrite::Put { key, lifetime, .. } = write
                && !lifetimes.contains(lifetime)
            {
                let checked = Owner::check(&self.handle, *lifetime, call);
                checked.map_err(|error| error.or_key(key))?;
                lifetimes.push(*lifetime);
            }
        }
        Ok(lifetimes)
    }

    fn steps(
        &self,
        writes: &[TxnWrite],
        owners: &[(Lifetime, Owner)],
        call: &Call,
    ) -> Result<Vec<TxnOp>> {
        let step = |write: &TxnWrite| {
            let name = self.handle.names.name(write.key());
            match write {
                TxnWrite::Put { value, lifetime, .. } => {
                    let owner = owners.iter().find(|(known, _)| known == lifetime);
                    let lease = owner.map_or(0, |(_, owner)| owner.lease());
                    let options = PutOptions::new().with_lease(lease);
                    Ok(TxnOp::put(name, value.to_vec(), Some(options)))
                }
                TxnWrite::Delete { .. } => Ok(TxnOp::delete(name, None)),
                other => Err(unknown("a write", other, call.operation)),
            }
        };
        writes.iter().map(step).collect()
    }

    async fn commit(
        &self,
        guards: &Guards,
        writes: Vec<TxnOp>,
        call: &Call,
    ) -> Result<TxnResponse> {
        self.exchange(guards, writes, call).await.map_err(|failure| failure.into_error(call))
    }

    async fn exchange(
        &self,
        guards: &Guards,
        writes: Vec<TxnOp>,
        call: &Call,
    ) -> Result<TxnResponse, Failure> {
        let txn = guards.guard(writes);
        self.handle
            .cluster
            .call(call, |at: Connection| {
                let txn = txn.clone();
                async move { at.kv().txn(txn).await }
            })
            .await
    }
}

/// The revision of a transaction that happened.
fn done(response: TxnResponse, guards: &Guards, operation: &'static str) -> Result<i64> {
    if response.succeeded() {
        return Ok(response.header().map_or(0, |header| header.revision()));
    }
    Err(guards.explain(response, operation))
}

fn not_root(key: &Key, operation: &'static str) -> Result<()> {
    key.not_root(operation).map(drop).map_err(|error| error.in_operation(ETCD, operation))
}
