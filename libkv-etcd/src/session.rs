use std::sync::Arc;

use libkv_core::{Backoff, Error, ErrorKind, Result, SessionState, StateSender, StateWatch};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::error::ETCD;
use crate::lease::{self, Lease, Purpose};

use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A handle's session: the lease that its ephemeral keys are bound to, and the task that keeps it.
#[derive(Debug)]
pub(crate) struct HandleSession {
    orders: mpsc::UnboundedSender<Order>,
    lease: watch::Receiver<Option<i64>>,
    state: StateWatch,
}

#[derive(Debug)]
enum Order {
    /// Opens the session if there is none.
    Open(oneshot::Sender<Result<i64>>),
    /// The server says that this lease is gone.
    Gone(i64),
    /// Ends the session for good.
    End(oneshot::Sender<Result<()>>),
}

impl HandleSession {
    /// Starts the task. It ends the session when the handle is gone.
    pub(crate) fn start(cluster: Arc<Cluster>, seconds: i64) -> Self {
        let (orders, receiver) = mpsc::unbounded_channel();
        let (tell, lease) = watch::channel(None);
        let sender = StateSender::default();
        let state = sender.watch();
        let keeper = Keeper { cluster, seconds, orders: receiver, tell, state: sender };
        tokio::spawn(keeper.run());
        Self { orders, lease, state }
    }

    pub(crate) fn state(&self) -> StateWatch {
        self.state.clone()
    }

    /// The lease for ephemeral keys; opens the session where there is none, or only one that is
    /// known to be gone.
    pub(crate) async fn lease(&self, gone: Option<i64>) -> Result<i64> {
        if let Some(lease) = self.current().filter(|lease| Some(*lease) != gone) {
            return Ok(lease);
        }
        if let Some(gone) = gone {
            // Before the order below, so that the answer is another lease.
            self.gone(gone);
        }
        let (reply, answer) = oneshot::channel();
        // The task ends with an answer to nobody when the handle is closed.
        let _ = self.orders.send(Order::Open(reply));
        answer.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, ETCD, "open")))
    }

    /// The lease of the present session.
    pub(crate) fn current(&self) -> Option<i64> {
        *self.lease.borrow()
    }

    /// Says that the server does not know the lease any more.
    pub(crate) fn gone(&self, lease: i64) {
        let _ = self.orders.send(Order::Gone(lease));
    }

    /// Ends the session for good. Again is fine.
    pub(crate) async fn end(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let _ = self.orders.send(Order::End(reply));
        answer.await.unwrap_or(Ok(()))
    }
}

/// The task that owns a session.
struct Keeper {
    cluster: Arc<Cluster>,
    seconds: i64,
    orders: mpsc::UnboundedReceiver<Order>,
    tell: watch::Sender<Option<i64>>,
    state: StateSender,
}

/// How the keeping of a lease ended.
enum Ended {
    Lost,
    Ordered(Option<oneshot::Sender<Result<()>>>),
}

impl Keeper {
    async fn run(mut self) {
        let reply = loop {
            match self.orders.recv().await {
                None => break None,
                Some(Order::End(reply)) => break Some(reply),
                Some(Order::Gone(_)) => {}
                // Who asked may have left meanwhile.
                Some(Order::Open(reply)) if reply.is_closed() => {}
                Some(Order::Open(reply)) => match self.open().await {
                    Ok(lease) => {
                        let _ = reply.send(Ok(lease.id));
                        if let Some(end) = self.hold(lease).await {
                            return self.end(end).await;
                        }
                    }
                    Err(error) => drop(reply.send(Err(error))),
                },
            }
        };
        self.end((None, reply)).await;
    }

    async fn open(&mut self) -> Result<Lease> {
        let deadline = Instant::now() + self.cluster.operation_timeout;
        let purpose = Purpose::Session;
        let lease =
            Lease::grant_new(&self.cluster, purpose, self.seconds, "open", deadline).await?;
        self.tell.send_replace(Some(lease.id));
        self.state.set(SessionState::Connected);
        Ok(lease)
    }

    /// Keeps a lease, and opens another when it is lost, until the handle ends.
    async fn hold(&mut self, mut lease: Lease) -> Option<End> {
        loop {
            match self.keep(&mut lease).await {
                Ended::Ordered(reply) => return Some((Some(lease.id), reply)),
                Ended::Lost => {
                    self.tell.send_replace(None);
                    self.state.set(SessionState::Lost);
                    tracing::warn!(backend = %ETCD, lease = lease.id, "session lost");
                }
            }
            match self.replace(lease.id).await {
                Ok(next) => lease = next,
                Err(end) => return Some(end),
            }
        }
    }

    async fn keep(&mut self, lease: &mut Lease) -> Ended {
        let (id, state) = (lease.id, &self.state);
        let keeping = lease.keep(None, |life| state.set(life.state(Instant::now().into_std())));
        tokio::pin!(keeping);
        loop {
            tokio::select! {
                reason = &mut keeping => {
                    tracing::warn!(backend = %ETCD, lease = id, %reason, "session ends");
                    return Ended::Lost;
                }
                order = self.orders.recv() => match order {
                    None => return Ended::Ordered(None),
                    Some(Order::End(reply)) => return Ended::Ordered(Some(reply)),
                    Some(Order::Gone(gone)) if gone == id => return Ended::Lost,
                    Some(Order::Gone(_)) => {}
                    Some(Order::Open(reply)) => drop(reply.send(Ok(id))),
                },
            }
        }
    }

    /// Opens a session in place of a lost one, however long that takes. What the old one owned is
    /// removed first, where the server still has it: it was told to be gone.
    async fn replace(&mut self, old: i64) -> Result<Lease, End> {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let mut waiting: Vec<oneshot::Sender<Result<i64>>> = Vec::new();
        loop {
            let cluster = self.cluster.clone();
            let opening = async {
                let deadline = Instant::now() + cluster.operation_timeout;
                lease::revoke(&cluster, old, deadline).await?;
                self.open().await
            };
            let error = match opening.await {
                Ok(lease) => {
                    waiting.into_iter().for_each(|reply| drop(reply.send(Ok(lease.id))));
                    return Ok(lease);
                }
                Err(error) => error,
            };
            tracing::warn!(backend = %ETCD, %error, "no new session yet");
            let pause = sleep(backoff.next_jittered());
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    order = self.orders.recv() => match order {
                        None => return Err((Some(old), None)),
                        Some(Order::End(reply)) => return Err((Some(old), Some(reply))),
                        Some(Order::Gone(_)) => {}
                        Some(Order::Open(reply)) => waiting.push(reply),
                    },
                }
            }
            // Who waits is told why it takes so long.
            waiting.drain(..).for_each(|reply| drop(reply.send(Err(error.clone()))));
        }
    }

    async fn end(self, (lease, reply): End) {
        self.tell.send_replace(None);
        if self.state.watch().get() != SessionState::Idle {
            self.state.set(SessionState::Lost);
        }
        let deadline = Instant::now() + self.cluster.operation_timeout;
        let ended = match lease {
            Some(lease) => lease::revoke(&self.cluster, lease, deadline).await,
            None => Ok(()),
        };
        match reply {
            Some(reply) => drop(reply.send(ended)),
            None => {
                if let Err(error) = ended {
                    tracing::warn!(backend = %ETCD, %error, "session not ended");
                }
            }
        }
    }
}

/// The lease to end, and who waits for that.
type End = (Option<i64>, Option<oneshot::Sender<Result<()>>>);
