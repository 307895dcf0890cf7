//! The one session with the servers, and the next one when it is over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use libkv_core::{Backoff, Error, ErrorKind, Result, Session, SessionState};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use zookeeper_client as zk;

use crate::error::{Call, ZK};

const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How many pings fit into a session's time: several may be lost before it is over.
const PINGS: u32 = 6;

/// How long a client may take to end its session when nobody has it any more.
const GRACE: Duration = Duration::from_millis(200);

/// How to get a session.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) connector: zk::Connector,
    /// The servers, as the client takes them: `h1:2181,h2:2181`.
    pub(crate) cluster: String,
    /// How long one attempt at all servers may take.
    pub(crate) patience: Duration,
}

/// Where the sessions are kept. It ends with this.
#[derive(Debug)]
pub(crate) struct Link {
    standing: watch::Receiver<Standing>,
    end: watch::Sender<bool>,
}

/// What there is at a moment.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// None yet; with what came of the last attempt.
    Connecting(Option<zk::Error>),
    Open(Arc<Conn>),
    /// The handle was closed, and the servers were told or need not be.
    Ended {
        told: bool,
    },
}

/// A session with the servers, and its life by our own clock.
#[derive(Debug)]
pub(crate) struct Conn {
    /// None once it is over: whoever has a client keeps the session.
    client: Mutex<Option<zk::Client>>,
    /// What nodes name as their owner.
    pub(crate) id: i64,
    /// How long the servers keep it without a word from us.
    pub(crate) timeout: Duration,
    life: watch::Sender<Session>,
}

impl Link {
    /// Starts to connect, on the runtime that this is called in.
    pub(crate) fn start(door: Door) -> Self {
        let (tell, standing) = watch::channel(Standing::Connecting(None));
        let (end, ended) = watch::channel(false);
        tokio::spawn(run(door, tell, ended));
        Self { standing, end }
    }

    /// Waits for a session whose connection is well.
    ///
    /// # Errors
    ///
    /// Of them all, nothing was sent.
    pub(crate) async fn ready(&self, call: &Call) -> Result<(Arc<Conn>, zk::Client)> {
        let mut standing = self.standing.clone();
        match timeout_at(call.deadline, self.wait(&mut standing, call)).await {
            Ok(ready) => ready,
            Err(_) => Err(unready(&standing.borrow(), call)),
        }
    }

    async fn wait(
        &self,
        standing: &mut watch::Receiver<Standing>,
        call: &Call,
    ) -> Result<(Arc<Conn>, zk::Client)> {
        loop {
            let now = standing.borrow_and_update().clone();
            match now {
                Standing::Ended { .. } => return Err(closed(call.operation)),
                Standing::Connecting(Some(error)) if error == zk::Error::AuthFailed => {
                    return Err(unready(&Standing::Connecting(Some(error)), call));
                }
                Standing::Connecting(_) => {}
                Standing::Open(conn) => {
                    let mut life = conn.life();
                    let well = life.wait_for(|life| state(life) == SessionState::Connected);
                    tokio::select! {
                        Ok(_) = well => if let Some(client) = conn.client() {
                            return Ok((conn, client));
                        },
                        _ = standing.changed() => continue,
                    }
                }
            }
            if standing.changed().await.is_err() {
                return Err(closed(call.operation));
            }
        }
    }

    /// Ends the session, and waits until the servers know.
    ///
    /// # Errors
    ///
    /// `Timeout` where they could not be told.
    pub(crate) async fn end(&self, call: &Call) -> Result<()> {
        self.end.send_replace(true);
        let mut standing = self.standing.clone();
        let over = standing.wait_for(|standing| matches!(standing, Standing::Ended { told: true }));
        match timeout_at(call.deadline, over).await {
            // The task tells before it goes.
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(ErrorKind::Timeout, ZK, call.operation)
                .with_detail("the server could not be told; what is left ends with its session")),
        }
    }
}

/// The error of a handle that was closed.
pub(crate) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, ZK, operation)
}

/// Why there is no connection in time.
fn unready(standing: &Standing, call: &Call) -> Error {
    let new = |kind| Error::new(kind, ZK, call.operation);
    match standing {
        Standing::Connecting(Some(zk::Error::AuthFailed)) => new(ErrorKind::PermissionDenied)
            .with_detail("the servers do not take the credentials")
            .with_source(zk::Error::AuthFailed),
        Standing::Connecting(Some(error)) => new(ErrorKind::NotReachable)
            .with_detail("no session with any of the servers")
            .with_source(error.clone()),
        Standing::Connecting(None) | Standing::Open(_) => {
            new(ErrorKind::Timeout).with_detail("no connection to the servers in time")
        }
        Standing::Ended { .. } => closed(call.operation),
    }
}

impl Conn {
    /// The client, as long as the session is not over.
    pub(crate) fn client(&self) -> Option<zk::Client> {
        self.inner().clone()
    }

    /// Its life, to look at or to wait for.
    pub(crate) fn life(&self) -> watch::Receiver<Session> {
        self.life.subscribe()
    }

    fn inner(&self) -> MutexGuard<'_, Option<zk::Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a life stands now.
pub(crate) fn state(life: &Session) -> SessionState {
    life.state(Instant::now().into_std())
}

/// Opens one session after the other, until the handle ends.
async fn run(door: Door, tell: watch::Sender<Standing>, mut ended: watch::Receiver<bool>) {
    let tending = async {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            match door.open().await {
                Ok(conn) => {
                    backoff.reset();
                    let conn = Arc::new(conn);
                    tell.send_replace(Standing::Open(conn.clone()));
                    tend(&conn).await;
                    tell.send_replace(Standing::Connecting(None));
                    let (door, client) = (door.clone(), conn.inner().take());
                    tokio::spawn(async move { door.bury(client).await });
                }
                Err(error) => {
                    tracing::warn!(backend = %ZK, servers = door.cluster, %error, "no session");
                    tell.send_replace(Standing::Connecting(Some(error)));
                    sleep(backoff.next_jittered()).await;
                }
            }
        }
    };
    tokio::select! {
        () = tending => {}
        // It fails where the handle is gone.
        _ = ended.wait_for(|ended| *ended) => {}
    }
    if let Standing::Open(conn) = tell.send_replace(Standing::Ended { told: false }) {
        conn.life.send_modify(Session::lose);
        let client = conn.inner().take();
        door.bury(client).await;
    }
    tell.send_replace(Standing::Ended { told: true });
}

impl Door {
    async fn open(&self) -> Result<Conn, zk::Error> {
        let begun = Instant::now();
        let connector = self.connector.clone();
        let opening = connector.connect(&self.cluster);
        let client = timeout(self.patience, opening).await.unwrap_or(Err(zk::Error::Timeout))?;
        let (id, timeout) = (client.session_id().0, client.session_timeout());
        let life = watch::Sender::new(Session::opened(begun.into_std(), timeout));
        tracing::debug!(backend = %ZK, session = %client.session_id(), ?timeout, "session opened");
        Ok(Conn { client: Mutex::new(Some(client)), id, timeout, life })
    }
}

impl Door {
    /// Ends a session at the servers, or finds that they have ended it.
    ///
    /// The client does so when nobody has it any more. But whoever does not go on with a call keeps
    /// it, and then another connection takes the session over and ends it.
    async fn bury(&self, client: Option<zk::Client>) {
        let Some(client) = client else { return };
        let (info, patience) = (client.session().clone(), 2 * client.session_timeout());
        let mut told = client.state_watcher();
        drop(client);
        let given_up = Instant::now() + patience;
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            // A state that was seen is not told again.
            if told.peek_state().is_terminated() {
                return;
            }
            let over = async { while !told.changed().await.is_terminated() {} };
            if timeout(GRACE, over).await.is_ok() {
                return;
            }
            let taking = self.connector.clone().with_session(info.clone()).connect(&self.cluster);
            match timeout(self.patience, taking).await {
                Ok(Ok(client)) => drop(client),
                Ok(Err(zk::Error::SessionExpired)) => return,
                Ok(Err(_)) | Err(_) => sleep(backoff.next_jittered()).await,
            }
            if Instant::now() >= given_up {
                return;
            }
        }
    }
}

/// Keeps a session alive, and returns when it is over: when the servers say so, or when they may
/// have ended it because they heard nothing of us.
///
/// The client pings as well. But when a server answered last it does not tell, and it takes a
/// session for over only long after the servers do.
async fn tend(conn: &Conn) {
    let Some(client) = conn.client() else { return };
    let mut states = client.state_watcher();
    let every = conn.timeout / PINGS;
    let mut next = Instant::now() + every;
    let mut ping: Option<BoxFuture<'static, (Instant, bool)>> = None;
    loop {
        let deadline = conn.life.borrow().deadline();
        tokio::select! {
            state = states.changed() => {
                if state.is_terminated() {
                    tracing::warn!(backend = %ZK, session = conn.id, %state, "session over");
                    return conn.life.send_modify(Session::lose);
                }
                if state == zk::SessionState::Disconnected {
                    tracing::warn!(backend = %ZK, session = conn.id, "connection lost");
                    conn.life.send_modify(Session::suspend);
                }
                (next, ping) = (Instant::now(), None);
            }
            () = sleep_until(next), if ping.is_none() => {
                next = Instant::now() + every;
                let state = client.state();
                if state.is_terminated() {
                    tracing::warn!(backend = %ZK, session = conn.id, %state, "session over");
                    return conn.life.send_modify(Session::lose);
                }
                if state == zk::SessionState::SyncConnected {
                    let (sent, answer) = (Instant::now(), client.check_stat("/"));
                    let pinging = async move { (sent, !is_lost(&answer.await)) };
                    ping = Some(pinging.boxed());
                }
            }
            (sent, answered) = pinged(&mut ping) => {
                ping = None;
                if answered {
                    let now = Instant::now().into_std();
                    let confirm = |life: &mut Session| {
                        life.confirmed(sent.into_std(), conn.timeout, now);
                    };
                    conn.life.send_modify(confirm);
                }
            }
            () = sleep_until(deadline.into()) => {
                tracing::warn!(backend = %ZK, session = conn.id, "session not confirmed in time");
                return conn.life.send_modify(Session::lose);
            }
        }
    }
}

async fn pinged(ping: &mut Option<BoxFuture<'static, (Instant, bool)>>) -> (Instant, bool) {
    match ping {
        Some(ping) => ping.await,
        None => std::future::pending().await,
    }
}

/// Whether there was no answer: one that refuses is one too.
fn is_lost<T>(answer: &Result<T, zk::Error>) -> bool {
    matches!(answer, Err(error) if matches!(crate::error::Failure::of(error.clone()), crate::error::Failure::Lost(_)))
}
