use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use libkv_core::{
    Capabilities, Consistency, Deadline, Error, ErrorKind, HandleSession, Key, KvPair,
    LifetimeKind, Result, TtlLimits, Version,
};
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::ConsulConfig;
use crate::client::{Call, Client, Entry, Mode, Op, TxnReply};
use crate::error::{CONSUL, Failure, is_denied_text};
use crate::hub::Hub;
use crate::kept::{Kept, destroy};
use crate::kinds::Kinds;
use crate::names::{Names, is_lock_node, may_be_lock_node};
use crate::rights::{Rights, is_absent_text};
use crate::session::Sessions;
use crate::spare::Spares;

/// What fits into the body of a transaction, in which bytes take four thirds of their number, with
/// room for names and fences.
pub(crate) const MAX_VALUE_BYTES: usize = 385_000;
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
    closed: watch::Sender<bool>,
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
            closed: watch::Sender::new(false),
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
        if *self.closed.borrow() {
            return Err(Error::new(ErrorKind::Closed, CONSUL, operation));
        }
        let now = Instant::now();
        let deadline = match deadline {
            None => now + self.client.operation_timeout(),
            Some(at) if Instant::from(at) <= now => {
                return Err(Error::new(ErrorKind::Timeout, CONSUL, operation)
                    .with_detail("the deadline was over before the call began"));
            }
            Some(at) => at.into(),
        };
        Ok(Call { operation, deadline })
    }

    /// Resolves when the handle is closed.
    pub(crate) fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.closed.subscribe();
        async move {
            // The sender lives as long as whoever waits here, and says so before it goes.
            let _ = closed.wait_for(|closed| *closed).await;
        }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let mut facts = limits(self.max_ops.get().copied().unwrap_or(OLD_MAX_OPS));
        facts.ttl = Some(key_limits());
        facts.lock_ttl = Some(session_limits());
        facts.atomic_list = true;
        facts.atomic_delete_tree = true;
        facts.empty_values_on_parents = true;
        facts.children_of_ephemeral = true;
        facts
    }

    /// How many operations the servers take at once.
    pub(crate) fn max_ops(&self) -> usize {
        self.max_ops.get().copied().unwrap_or(OLD_MAX_OPS)
    }

    /// Reads one key that is no lock.
    pub(crate) async fn find(&self, key: &Key, mode: Mode, call: &Call) -> Result<Option<Entry>> {
        let found = self.client.get(&self.names.name(key), mode, call).await;
        let found = found.map_err(|failure| failure.into_error(call, false))?.body;
        Ok(found.filter(|entry| !is_lock_node(&entry.name, entry.flags)))
    }

    /// As [`find`](Self::find), and leaves the value at the server. Other programs' flags stay there
    /// too.
    ///
    /// No call of the server's reads a key without its value. But a check that fails says what it
    /// found, and these two always fail where the key is there.
    pub(crate) async fn find_without_value(
        &self,
        key: &Key,
        mode: Mode,
        call: &Call,
    ) -> Result<Option<Entry>> {
        let name = self.names.name(key);
        if may_be_lock_node(&name) {
            return self.find(key, mode, call).await;
        }
        let nobody = NOBODY.to_owned();
        let checks = [
            Op::CheckIndex { name: name.clone(), index: 0 },
            Op::CheckSession { name: name.clone(), session: nobody },
        ];
        let reply = self.client.txn(&checks, false, mode, call).await;
        if let TxnReply::Refused(refusals) =
            reply.map_err(|failure| failure.into_error(call, false))?
        {
            let what = |op: usize| refusals.iter().find(|refusal| refusal.op == op);
            if let Some(denied) = refusals.iter().find(|refusal| is_denied_text(&refusal.what)) {
                return Err(Failure::refusal(&denied.what).into_error(call, false));
            }
            if what(0).is_some_and(|refusal| is_absent_text(&refusal.what)) {
                return Ok(None);
            }
            let index = what(0).and_then(|refusal| said_index(&refusal.what));
            let session = what(1).and_then(|refusal| said_session(&refusal.what));
            if let (Some(modify_index), Some(session)) = (index, session) {
                let session = Some(session.to_owned()).filter(|session| !session.is_empty());
                return Ok(Some(Entry {
                    name,
                    value: Default::default(),
                    flags: 0,
                    create_index: 0,
                    modify_index,
                    lock_index: 0,
                    session,
                }));
            }
        }
        // A server that says it in other words gives the value too.
        let found = self.find(key, mode, call).await?;
        Ok(found.map(|entry| Entry { value: Default::default(), ..entry }))
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
        if *self.closed.borrow() {
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
            self.closed.send_replace(true);
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
            .field("closed", &*self.closed.borrow())
            .finish_non_exhaustive()
    }
}

/// No session has this id.
const NOBODY: &str = "nobody";

/// The index in `failed index check for key "a", current modify index 7 != 0`.
fn said_index(what: &str) -> Option<u64> {
    what.rsplit_once(" != ")?.0.rsplit_once(' ')?.1.parse().ok()
}

/// The session in `failed session check for key "a", current session "…" != "nobody"`.
fn said_session(what: &str) -> Option<&str> {
    what.strip_suffix(&format!("\" != {NOBODY:?}"))?.rsplit_once('"').map(|(_, session)| session)
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

pub(crate) fn limits(max_ops: usize) -> Capabilities {
    Capabilities::new(MAX_VALUE_BYTES, max_ops / OPS_OF_A_WRITE, MAX_VALUE_BYTES + LONGEST_KEY)
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
