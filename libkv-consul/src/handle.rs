use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use libkv_core::{
    Capabilities, Consistency, Deadline, Error, ErrorKind, Gate, HandleSession, Key, KvPair,
    LifetimeKind, Result, TtlLimits, Version,
};
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::ConsulConfig;
use crate::client::{Call, Client, Entry, LONGEST_BODY, Mode};
use crate::error::CONSUL;
use crate::hub::Hub;
use crate::kept::{Kept, Purpose, destroy};
use crate::kinds::Kinds;
use crate::names::Names;
use crate::rights::Rights;
use crate::session::Sessions;
use crate::spare::Spares;

/// What an operation of a transaction takes of its body at most, beside the key and the value.
const OP_BYTES: usize = 136;
const LONGEST_KEY: usize = 512;
/// The operations of a transaction that servers before 1.14 take (`maxTxnOps` in their
/// `txn_endpoint.go`), and later ones.
const OLD_MAX_OPS: usize = 64;
const MAX_OPS: usize = 128;
const MORE_OPS_SINCE: (u32, u32) = (1, 14);
/// A put takes as many as this of the server's operations, and so does a fence with what it guards.
const OPS_OF_A_WRITE: usize = 3;
/// What a server allows unless told otherwise (`session_ttl_min`), and the most that it ever does
/// (`SessionTTLMax` in its `structs.go`).
const SHORTEST_TTL: Duration = Duration::from_secs(10);
const LONGEST_TTL: Duration = Duration::from_secs(86_400);
const DEFAULT_TTL: Duration = Duration::from_secs(15);
/// The server ends a session after twice its time to live (`SessionTTLMultiplier`).
const TTL_FACTOR: u32 = 2;
const TTL_SLACK: Duration = Duration::from_secs(3);
/// How many sessions are ended at a time in the background.
const ENDING: usize = 8;

/// One session on a datacenter. The store's clones, its guards and its streams share it.
pub(crate) struct Handle {
    pub(crate) address: String,
    pub(crate) names: Names,
    pub(crate) client: Arc<Client>,
    pub(crate) hub: Hub,
    pub(crate) session: HandleSession<Arc<str>>,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) rights: Arc<Rights>,
    /// Sessions for the next locks.
    pub(crate) spares: Spares,
    gate: Gate,
    /// The sessions of locks, with the deadlines of those that are held.
    locks: Mutex<HashMap<String, Option<Deadline>>>,
    /// Sessions that nobody needs any more.
    retired: mpsc::UnboundedSender<String>,
    max_ops: OnceCell<usize>,
}

impl Handle {
    /// Opens a session on a datacenter, and starts the tasks that serve it.
    pub(crate) async fn open(config: ConsulConfig) -> Result<Arc<Self>> {
        let config = config.checked().map_err(|error| error.in_operation(CONSUL, "open"))?;
        let common = &config.common;
        let ttl = common.ephemeral_ttl.unwrap_or(DEFAULT_TTL);
        let ttl = session_limits().checked(ttl, CONSUL, "open")?;
        let client = Arc::new(Client::open(&config).await?);
        let max_ops = OnceCell::new();
        if !common.lazy {
            let deadline = Instant::now() + common.connection_timeout;
            let call = Call { operation: "open", deadline };
            let (reached, version) = tokio::join!(reach(&client, &call), client.version(&call));
            reached?;
            // Where nobody may know it, the servers are taken for old ones.
            let modern = version.is_ok_and(|version| version >= Some(MORE_OPS_SINCE));
            let _ = max_ops.set(if modern { MAX_OPS } else { OLD_MAX_OPS });
        }
        let kinds = Arc::new(Kinds::default());
        let (retired, sessions) = mpsc::unbounded_channel();
        tokio::spawn(end_all(client.clone(), sessions));
        let rights = Arc::new(Rights::new(client.clone()));
        Ok(Arc::new(Self {
            address: config.to_string(),
            names: Names::below_root(&common.root),
            hub: Hub::new(client.clone(), rights.clone()),
            session: HandleSession::start(Sessions {
                client: client.clone(),
                kinds: kinds.clone(),
                ttl,
            }),
            kinds,
            rights,
            spares: Spares::default(),
            client,
            gate: Gate::new(CONSUL),
            locks: Mutex::default(),
            retired,
            max_ops,
        }))
    }

    /// Until when an operation may take; an error where the handle is closed, or the caller's time
    /// was over before the call began.
    pub(crate) fn demand_open(
        &self,
        operation: &'static str,
        deadline: Option<std::time::Instant>,
    ) -> Result<Call> {
        let usual = self.client.operation_timeout();
        let deadline = self.gate.deadline(operation, deadline, usual)?.into();
        Ok(Call { operation, deadline })
    }

    /// Resolves when the handle is closed.
    pub(crate) fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        self.gate.closing()
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let mut facts = self.limits();
        facts.ttl = Some(key_limits());
        facts.lock_ttl = Some(session_limits());
        facts.atomic_list = true;
        facts.atomic_delete_tree = true;
        facts.empty_values_on_parents = true;
        facts.children_of_ephemeral = true;
        facts
    }

    /// How much the servers take at once.
    pub(crate) fn limits(&self) -> Capabilities {
        limits(self.max_ops(), self.names.root_bytes())
    }

    /// How many operations the servers take at once.
    pub(crate) fn max_ops(&self) -> usize {
        self.max_ops.get().copied().unwrap_or(OLD_MAX_OPS)
    }

    /// The pairs of stored keys.
    pub(crate) async fn pairs(
        &self,
        entries: Vec<(Key, Entry)>,
        mode: Mode,
        call: &Call,
    ) -> Result<Vec<KvPair>> {
        let (keys, entries): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let kinds = self.kinds.of(&self.client, &entries, mode, call).await?;
        let pairs = keys.into_iter().zip(entries).zip(kinds);
        Ok(pairs.map(|((key, entry), kind)| pair(key, entry, kind)).collect())
    }

    /// Makes a session. Where nobody waits for it any more, it is ended again.
    pub(crate) async fn new_session(
        &self,
        purpose: Purpose,
        ttl: Duration,
        call: &Call,
    ) -> Result<Kept> {
        let (client, kinds, call) = (self.client.clone(), self.kinds.clone(), *call);
        let retired = self.retired.clone();
        let (give, given) = oneshot::channel();
        tokio::spawn(async move {
            let made = Kept::make(&client, purpose, ttl, &call).await;
            if let Ok(kept) = &made {
                kinds.note(&kept.id, purpose);
            }
            if let Err(Ok(kept)) = give.send(made) {
                let _ = retired.send(kept.id);
            }
        });
        // Whoever makes it says how that went, unless the runtime ends.
        given.await.map_err(|_| Error::new(ErrorKind::Closed, CONSUL, call.operation))?
    }

    /// Ends in the background a session whose key is bound to it no more, if it was for that key alone.
    pub(crate) fn end_if_of_key(&self, session: &str) {
        let (client, session) = (self.client.clone(), session.to_owned());
        let retired = self.retired.clone();
        let deadline = Instant::now() + client.operation_timeout();
        tokio::spawn(async move {
            let call = Call { operation: "destroy", deadline };
            // Otherwise it ends by itself.
            if let Ok(Some(found)) = client.session(&session, Mode::Consistent, &call).await
                && found.name == Purpose::Key.name()
            {
                let _ = retired.send(session);
            }
        });
    }

    /// Notes the session of a lock that is being taken, so that closing the handle ends it.
    pub(crate) fn note_lock(&self, session: &str, operation: &'static str) -> Result<()> {
        let mut locks = self.locks();
        // Under the same lock in which a close takes them all.
        self.demand_open(operation, None)?;
        locks.insert(session.to_owned(), None);
        Ok(())
    }

    /// Notes until when a lock is held, so that closing the handle ends it at once.
    pub(crate) fn note_held(&self, session: &str, until: &Deadline) {
        match self.locks().get_mut(session) {
            Some(deadline) => *deadline = Some(until.clone()),
            None => until.expire(),
        }
    }

    /// The lock is given back.
    pub(crate) fn forget_lock(&self, session: &str) {
        self.locks().remove(session);
    }

    /// Takes back the session of a lock that was given back.
    pub(crate) fn spare(&self, kept: Kept) {
        let left = self.spares.keep(kept);
        left.into_iter().for_each(|kept| self.retire(kept.id));
        if self.gate.is_closed() {
            // It came too late for whoever closed the handle.
            self.spares.drain().into_iter().for_each(|session| self.retire(session));
        }
    }

    /// Ends a session in the background, that nothing depends on any more.
    pub(crate) fn retire(&self, session: String) {
        let _ = self.retired.send(session);
    }

    /// Closes the handle; what the server must be told goes on if the future is dropped.
    pub(crate) async fn close(&self) -> Result<()> {
        let sessions: Vec<String> = {
            let mut locks = self.locks();
            self.gate.close();
            locks.values().flatten().for_each(Deadline::expire);
            let locks = locks.drain().map(|(session, _)| session);
            locks.chain(self.spares.drain()).collect()
        };
        self.hub.end();
        let deadline = Instant::now() + self.client.operation_timeout();
        let client = self.client.clone();
        let locks = tokio::spawn(async move {
            let ending = sessions.iter().map(|id| destroy(&client, id, deadline));
            join_all(ending).await.into_iter().collect::<Result<()>>()
        });
        let ending = async { (self.session.end().await, locks.await) };
        let late = |_| Error::new(ErrorKind::Timeout, CONSUL, "close").with_detail(UNTOLD);
        let (session, locks) = timeout_at(deadline, ending).await.map_err(late)?;
        let failed = |error| Error::new(ErrorKind::Other, CONSUL, "close").with_source(error);
        session.and(locks.map_err(failed)?).map_err(|error| {
            let kind = error.kind();
            Error::new(kind, CONSUL, "close").with_detail(UNTOLD).with_source(error)
        })
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<String, Option<Deadline>>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const UNTOLD: &str = "the server could not be told; what is left ends with its time to live";

/// What nobody needs any more is ended by a task that runs already.
impl Drop for Handle {
    fn drop(&mut self) {
        self.spares.drain().into_iter().for_each(|session| self.retire(session));
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

/// The pair of a stored key.
pub(crate) fn pair(key: Key, entry: Entry, kind: LifetimeKind) -> KvPair {
    let version = version(&entry);
    KvPair::new(key, entry.value, version, kind)
}

/// The version of an entry. Flags are other programs' data, which a write that knows the version
/// leaves as it is.
pub(crate) fn version(entry: &Entry) -> Version {
    Version::with_extra(CONSUL, entry.modify_index, [entry.flags, 0])
}

pub(crate) fn mode(consistency: Consistency) -> Mode {
    match consistency {
        Consistency::Local => Mode::Stale,
        _ => Mode::Consistent,
    }
}

/// What fits into the body of a transaction, in which a value takes four thirds of its bytes,
/// however many operations with however long names there are.
fn limits(max_ops: usize, root: usize) -> Capabilities {
    let names = max_ops * (OP_BYTES + root + LONGEST_KEY);
    let bytes = LONGEST_BODY.saturating_sub(names) / 4 * 3;
    Capabilities::new(bytes.saturating_sub(LONGEST_KEY), max_ops / OPS_OF_A_WRITE, bytes)
}

/// Limits of times to live that the server counts twice.
pub(crate) fn key_limits() -> TtlLimits {
    session_limits()
}

pub(crate) fn session_limits() -> TtlLimits {
    TtlLimits::new(SHORTEST_TTL, LONGEST_TTL, DEFAULT_TTL, TTL_SLACK)
        .with_unit(Duration::from_millis(1))
        .with_factor(TTL_FACTOR)
}

/// Looks for an agent that knows a leader.
async fn reach(client: &Client, call: &Call) -> Result<()> {
    match client.leader(call).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Error::new(ErrorKind::NotReachable, CONSUL, "open")
            .with_detail(format!("{}: the datacenter has no leader", client.address()))),
        Err(failure) => Err(failure.into_error(call, false)),
    }
}

/// Ends sessions until nobody retires any more.
async fn end_all(client: Arc<Client>, mut sessions: mpsc::UnboundedReceiver<String>) {
    let sessions = futures_util::stream::poll_fn(move |cx| sessions.poll_recv(cx));
    sessions
        .for_each_concurrent(ENDING, |session| {
            let client = client.clone();
            async move {
                let deadline = Instant::now() + client.operation_timeout();
                if let Err(error) = destroy(&client, &session, deadline).await {
                    tracing::warn!(backend = %CONSUL, session, %error, "session not ended");
                }
            }
        })
        .await;
}
