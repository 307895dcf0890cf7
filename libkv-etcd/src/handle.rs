use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::GetOptions;
use etcd_client::proto::PbKeyValue;
use futures_util::StreamExt;
use futures_util::future::join_all;
use libkv_core::{
    Capabilities, Consistency, Deadline, Error, ErrorKind, Gate, HandleSession, Key, KvPair,
    Result, TtlLimits, Version,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::EtcdConfig;
use crate::cluster::{Call, Cluster, Way};
use crate::endpoint::{Connection, Lane};
use crate::error::ETCD;
use crate::hub::Hub;
use crate::lease::{self, Lease, seconds};
use crate::names::{Names, is_lock_node};
use crate::session::Leases;
use crate::spare::Spares;

/// The server's limit of a request, less what keys and fences in it may take.
pub(crate) const MAX_REQUEST_BYTES: usize = 3 << 19;
const MAX_VALUE_BYTES: usize = MAX_REQUEST_BYTES - (32 << 10);
pub(crate) const MAX_TXN_OPS: usize = 128;
const LONGEST_KEY: usize = 512;
/// One and a half times the usual time of an election, which the server rounds up to whole seconds
/// (`minTTL` in its `server.go`). A slower cluster says so in its answer.
const USUAL_SHORTEST_TTL: Duration = Duration::from_secs(2);
/// The server's own limit (`MaxLeaseTTL` in its `lessor.go`) is 285 years.
const LONGEST_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// A second for the put after the grant, and the server looks for what is over twice a second.
const TTL_SLACK: Duration = Duration::from_secs(3);
const DEFAULT_TTL: Duration = Duration::from_secs(15);
/// How many watches read a page of their state at once: each call has buffers of its own, and all
/// watches of a handle may want theirs together.
const SNAPSHOTS: usize = 16;
/// How many leases are revoked at a time in the background.
const REVOKING: usize = 16;

/// One session on a cluster. The store's clones, its guards and its streams share it.
pub(crate) struct Handle {
    pub(crate) address: String,
    pub(crate) names: Names,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) hub: Hub,
    pub(crate) session: HandleSession<i64>,
    /// Whose turn it is to read a page of a watch's state. Nobody who waits for a consumer has one.
    pub(crate) snapshots: Semaphore,
    gate: Gate,
    /// Leases for the next locks.
    pub(crate) spares: Spares,
    /// The leases of locks, with the deadlines of those that are held.
    locks: Mutex<HashMap<i64, Option<Deadline>>>,
    /// Leases that nobody needs any more.
    retired: mpsc::UnboundedSender<i64>,
    /// The shortest time to live that the server is known to grant, in seconds.
    shortest_ttl: AtomicU64,
}

impl Handle {
    /// Opens a session on a cluster, and starts the tasks that serve it.
    pub(crate) async fn open(config: EtcdConfig) -> Result<Arc<Self>> {
        let config = config.checked().map_err(|error| error.in_operation(ETCD, "open"))?;
        let common = &config.common;
        let cluster = Arc::new(Cluster::prepare(&config.addresses(), common).await?);
        if !common.lazy {
            cluster.reach(Instant::now() + common.connection_timeout).await?;
        }
        let names = match &config.prefix {
            Some(prefix) => Names::with_prefix(prefix),
            None => Names::below_root(&common.root),
        };
        let seconds = seconds(common.ephemeral_ttl.unwrap_or(DEFAULT_TTL));
        let (retired, leases) = mpsc::unbounded_channel();
        tokio::spawn(revoke_all(cluster.clone(), leases));
        Ok(Arc::new(Self {
            address: config.to_string(),
            names,
            hub: Hub::start(&cluster),
            session: HandleSession::start(Leases { cluster: cluster.clone(), seconds }),
            snapshots: Semaphore::new(SNAPSHOTS),
            cluster,
            gate: Gate::new(ETCD),
            spares: Spares::default(),
            locks: Mutex::default(),
            retired,
            shortest_ttl: AtomicU64::new(USUAL_SHORTEST_TTL.as_secs()),
        }))
    }

    /// Until when an operation may take; an error where the handle is closed, or the caller's time
    /// was over before the call began.
    pub(crate) fn demand_open(
        &self,
        operation: &'static str,
        deadline: Option<std::time::Instant>,
    ) -> Result<Instant> {
        let usual = self.cluster.operation_timeout;
        self.gate.deadline(operation, deadline, usual).map(Instant::from)
    }

    /// Resolves when the handle is closed.
    pub(crate) fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        self.gate.closing()
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let mut facts = limits();
        facts.ttl = Some(self.ttl_limits());
        facts.lock_ttl = Some(self.ttl_limits());
        facts.atomic_list = true;
        facts.atomic_delete_tree = true;
        facts.watches_every_version = true;
        facts.history = true;
        facts.fair_locks = true;
        facts.empty_values_on_parents = true;
        facts.children_of_ephemeral = true;
        facts
    }

    pub(crate) fn ttl_limits(&self) -> TtlLimits {
        let shortest = Duration::from_secs(self.shortest_ttl.load(Ordering::Relaxed));
        TtlLimits::new(shortest, LONGEST_TTL, DEFAULT_TTL.max(shortest), TTL_SLACK)
            .with_unit(Duration::from_secs(1))
    }

    /// Checks the time to live that the server chose against what was asked for. It is longer where
    /// the cluster's elections take longer than usual; the limits say so from then on.
    pub(crate) fn check_granted(
        &self,
        asked: Duration,
        granted: Duration,
        operation: &'static str,
    ) -> Result<()> {
        if granted <= asked {
            return Ok(());
        }
        self.shortest_ttl.fetch_max(granted.as_secs(), Ordering::Relaxed);
        Err(Error::new(ErrorKind::NotImplemented, ETCD, operation).with_detail(format!(
            "a time to live of {asked:?}; this cluster gives {granted:?} at least"
        )))
    }

    /// Reads one key, and leaves its value at the server if it is not wanted.
    pub(crate) async fn find(
        &self,
        key: &Key,
        keys_only: bool,
        consistency: Consistency,
        operation: &'static str,
        deadline: Instant,
    ) -> Result<Option<PbKeyValue>> {
        let mut options = GetOptions::new();
        if keys_only {
            options = options.with_keys_only();
        }
        if consistency == Consistency::Local {
            options = options.with_serializable();
        }
        let call = Call { operation, lane: Lane::Calls, way: Way::Read, deadline };
        let name = self.names.name(key);
        let answer = self.cluster.call(&call, |at: Connection| {
            let (name, options) = (name.clone(), options.clone());
            async move { at.kv().get(name, Some(options)).await }
        });
        let answer = answer.await.map_err(|failure| failure.into_error(&call))?;
        let found = answer.0.kvs.into_iter().next();
        Ok(found.filter(|kv| !is_lock_node(&kv.key, kv.lease)))
    }

    pub(crate) async fn exists(
        &self,
        key: &Key,
        operation: &'static str,
        deadline: Instant,
    ) -> Result<bool> {
        let found = self.find(key, true, Consistency::Linearizable, operation, deadline).await?;
        Ok(found.is_some())
    }

    /// The pair of a stored key.
    pub(crate) fn pair(&self, key: Key, kv: PbKeyValue) -> KvPair {
        KvPair::new(key, kv.value.into(), version(kv.mod_revision), lease::kind(kv.lease))
    }

    /// Notes the lease of a lock that is being taken, so that closing the handle ends it.
    pub(crate) fn note_lock(&self, lease: i64, operation: &'static str) -> Result<()> {
        let mut locks = self.locks();
        // Under the same lock in which a close takes them all.
        self.demand_open(operation, None)?;
        locks.insert(lease, None);
        Ok(())
    }

    /// Notes until when a lock is held, so that closing the handle ends it at once.
    pub(crate) fn note_held(&self, lease: i64, until: &Deadline) {
        match self.locks().get_mut(&lease) {
            Some(deadline) => *deadline = Some(until.clone()),
            None => until.expire(),
        }
    }

    /// The lock is given back.
    pub(crate) fn forget_lock(&self, lease: i64) {
        self.locks().remove(&lease);
    }

    /// Takes back the lease of a lock that was given back.
    pub(crate) fn spare(&self, lease: Lease) {
        let left = self.spares.keep(lease);
        left.into_iter().for_each(|lease| self.retire(lease.id));
        if self.gate.is_closed() {
            // It came too late for whoever closed the handle.
            self.spares.drain().into_iter().for_each(|lease| self.retire(lease));
        }
    }

    /// Ends a lease in the background, that nothing depends on any more.
    pub(crate) fn retire(&self, lease: i64) {
        let _ = self.retired.send(lease);
    }

    /// Closes the handle; what the server must be told goes on if the future is dropped.
    pub(crate) async fn close(&self) -> Result<()> {
        let leases: Vec<i64> = {
            let mut locks = self.locks();
            self.gate.close();
            locks.values().flatten().for_each(Deadline::expire);
            let locks = locks.drain().map(|(lease, _)| lease);
            locks.chain(self.spares.drain()).collect()
        };
        self.hub.end();
        let deadline = Instant::now() + self.cluster.operation_timeout;
        let cluster = self.cluster.clone();
        let locks = tokio::spawn(async move {
            let revoking = leases.into_iter().map(|id| lease::revoke(&cluster, id, deadline));
            join_all(revoking).await.into_iter().collect::<Result<()>>()
        });
        let ending = async { (self.session.end().await, locks.await) };
        let late = |_| {
            Error::new(ErrorKind::Timeout, ETCD, "close").with_detail(
                "the server could not be told; what is left ends with its time to live",
            )
        };
        let (session, locks) = timeout_at(deadline, ending).await.map_err(late)?;
        let failed = |error| Error::new(ErrorKind::Other, ETCD, "close").with_source(error);
        session.and(locks.map_err(failed)?).map_err(|error| unended(&error))
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<i64, Option<Deadline>>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What nobody needs any more is ended by a task that runs already.
impl Drop for Handle {
    fn drop(&mut self) {
        self.spares.drain().into_iter().for_each(|lease| self.retire(lease));
    }
}

/// Shows where the data is and never the data.
impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("address", &self.address)
            .field("closed", &self.gate.is_closed())
            .finish_non_exhaustive()
    }
}

pub(crate) fn version(revision: i64) -> Version {
    Version::new(ETCD, u64::try_from(revision).unwrap_or_default())
}

pub(crate) fn limits() -> Capabilities {
    Capabilities::new(MAX_VALUE_BYTES, MAX_TXN_OPS, MAX_VALUE_BYTES + LONGEST_KEY)
}

/// Revokes leases until nobody retires any more.
async fn revoke_all(cluster: Arc<Cluster>, mut leases: mpsc::UnboundedReceiver<i64>) {
    let leases = futures_util::stream::poll_fn(move |cx| leases.poll_recv(cx));
    leases
        .for_each_concurrent(REVOKING, |id| {
            let cluster = cluster.clone();
            async move {
                let deadline = Instant::now() + cluster.operation_timeout;
                if let Err(error) = lease::revoke(&cluster, id, deadline).await {
                    tracing::warn!(backend = %ETCD, lease = id, %error, "lease not revoked");
                }
            }
        })
        .await;
}

fn unended(error: &Error) -> Error {
    let kind = error.kind();
    Error::new(kind, ETCD, "close")
        .with_detail("the server could not be told; what is left ends with its time to live")
        .with_source(error.clone())
}
