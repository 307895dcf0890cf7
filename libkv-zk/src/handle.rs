use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libkv_core::{Capabilities, Error, ErrorKind, Gate, HandleSession, Result, TtlLimits};
use tokio::time::{Instant, timeout_at};
use zookeeper_client as zk;

use crate::ZkConfig;
use crate::error::{Call, Failure, ZK};
use crate::link::{Door, Link};
use crate::locks::{Locks, Note};
use crate::paths::Paths;
use crate::session::Sessions;

/// What a server takes as one request (`jute.maxbuffer`, and one byte less), less what paths, ACLs
/// and headers may take.
pub(crate) const MAX_REQUEST_BYTES: usize = 0x000f_ffff;
const MAX_TXN_OPS: usize = 128;
/// The longest key and what goes with an operation.
const OP_BYTES: usize = 1 << 10;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// The servers look for what is over once a tick.
const TTL_SLACK: Duration = Duration::from_secs(5);

/// One session on an ensemble. The store's clones, its guards and its streams share it.
pub(crate) struct Handle {
    pub(crate) address: String,
    pub(crate) paths: Paths,
    pub(crate) link: Arc<Link>,
    pub(crate) session: HandleSession<i64>,
    pub(crate) operation_timeout: Duration,
    /// What was asked for, until the servers say what they give.
    asked: Duration,
    negotiated: OnceLock<Duration>,
    gate: Gate,
    locks: Locks,
}

impl Handle {
    /// Opens a session on an ensemble. Unless the configuration is lazy, it looks whether the
    /// server knows what this needs.
    pub(crate) async fn open(config: ZkConfig) -> Result<Arc<Self>> {
        let config = config.checked().map_err(|error| error.in_operation(ZK, "open"))?;
        let common = &config.common;
        let asked = common.ephemeral_ttl.unwrap_or(DEFAULT_TIMEOUT);
        let link = Arc::new(Link::start(Door {
            connector: zk::Client::connector().with_session_timeout(asked).with_fail_eagerly(),
            cluster: config.addresses().join(","),
            patience: common.connection_timeout,
        }));
        let operation_timeout = common.operation_timeout;
        let session = HandleSession::start(Sessions { link: link.clone(), operation_timeout });
        let handle = Self {
            address: config.to_string(),
            paths: Paths::below_root(&common.root),
            link,
            session,
            operation_timeout,
            asked,
            negotiated: OnceLock::new(),
            gate: Gate::new(ZK),
            locks: Locks::default(),
        };
        if !common.lazy {
            let deadline = Instant::now() + common.connection_timeout;
            handle.greet(&Call { operation: "open", deadline }).await?;
        }
        Ok(Arc::new(handle))
    }

    /// Looks whether the server is young enough: reading several nodes at once came with 3.6, as
    /// did watches that stay.
    async fn greet(&self, call: &Call) -> Result<()> {
        let (conn, _) = self.link.ready(call).await?;
        let _ = self.negotiated.set(conn.timeout);
        let looking = self.link.read(call, |client| async move {
            let mut reader = client.new_multi_reader();
            reader.add_get_data("/")?;
            reader.commit().await
        });
        looking.await.map(drop).map_err(|failure| match failure {
            Failure::Refused(zk::Error::Unimplemented) => {
                Error::new(ErrorKind::NotSupported, ZK, call.operation)
                    .with_detail("the server is older than ZooKeeper 3.6")
            }
            failure => failure.into_error(call, false),
        })
    }

    /// Until when an operation may take; an error where the handle is closed, or the caller's time
    /// was over before the call began.
    pub(crate) fn demand_open(
        &self,
        operation: &'static str,
        deadline: Option<std::time::Instant>,
    ) -> Result<Call> {
        let deadline = self.gate.deadline(operation, deadline, self.operation_timeout)?.into();
        Ok(Call { operation, deadline })
    }

    /// Resolves when the handle is closed.
    pub(crate) fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        self.gate.closing()
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let bytes = MAX_REQUEST_BYTES - MAX_TXN_OPS * OP_BYTES;
        let mut facts = Capabilities::new(bytes - OP_BYTES, MAX_TXN_OPS, bytes);
        facts.lock_ttl = Some(self.lock_limits());
        facts.fair_locks = true;
        facts
    }

    /// Guards use the session, and nothing shorter.
    pub(crate) fn lock_limits(&self) -> TtlLimits {
        let timeout = self.negotiated.get().copied().unwrap_or(self.asked);
        TtlLimits::new(timeout, LONGEST_TTL, timeout, TTL_SLACK)
    }

    /// Notes a lock that is about to be taken. A handle that is closed waits until it is given back.
    pub(crate) fn note_lock(&self, operation: &'static str) -> Result<Note> {
        let note = self.locks.note();
        self.demand_open(operation, None).map(|_| note)
    }

    /// Closes the handle; what the server must be told goes on if the future is dropped.
    pub(crate) async fn close(&self) -> Result<()> {
        self.gate.close();
        let deadline = Instant::now() + self.operation_timeout;
        self.locks.expire();
        // Those who hold them are told, and give them back with their values.
        let _ = timeout_at(deadline, self.locks.given_back()).await;
        let call = Call { operation: "close", deadline };
        let ended = self.link.end(&call).await;
        self.session.end().await.and(ended)
    }

    /// Who may do what with nodes that this makes.
    pub(crate) fn acls(&self) -> zk::Acls<'static> {
        zk::Acls::anyone_all()
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
