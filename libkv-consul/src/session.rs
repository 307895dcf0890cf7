use std::sync::Arc;
use std::time::Duration;

use libkv_core::{Backoff, Error, ErrorKind, Result, SessionState, StateSender, StateWatch};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use crate::client::{Call, Client};
use crate::error::CONSUL;
use crate::kept::{Kept, Purpose, destroy};
use crate::kinds::Kinds;

const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A handle's session: the session of Consul that its ephemeral keys are bound to, and the task that
/// keeps it.
#[derive(Debug)]
pub(crate) struct HandleSession {
    orders: mpsc::UnboundedSender<Order>,
    id: watch::Receiver<Option<Arc<str>>>,
    state: StateWatch,
}

#[derive(Debug)]
enum Order {
    /// Opens the session if there is none.
    Open(oneshot::Sender<Result<Arc<str>>>),
    /// The server says that this session is gone.
    Gone(Arc<str>),
    /// Ends the session for good.
    End(oneshot::Sender<Result<()>>),
}

impl HandleSession {
    /// Starts the task. It ends the session when the handle is gone.
    pub(crate) fn start(client: Arc<Client>, kinds: Arc<Kinds>, ttl: Duration) -> Self {
        let (orders, receiver) = mpsc::unbounded_channel();
        let (tell, id) = watch::channel(None);
        let sender = StateSender::default();
        let state = sender.watch();
        let keeper = Keeper { client, kinds, ttl, orders: receiver, tell, state: sender };
        tokio::spawn(keeper.run());
        Self { orders, id, state }
    }

    pub(crate) fn state(&self) -> StateWatch {
        self.state.clone()
    }

    /// The session for ephemeral keys; opens it where there is none, or only one that is known to
    /// be gone.
    pub(crate) async fn id(&self, gone: Option<&Arc<str>>) -> Result<Arc<str>> {
        if let Some(id) = self.current().filter(|id| Some(id) != gone) {
            return Ok(id);
        }
        if let Some(gone) = gone {
            // Before the order below, so that the answer is another session.
            let _ = self.orders.send(Order::Gone(gone.clone()));
        }
        let (reply, answer) = oneshot::channel();
        // The task ends with an answer to nobody when the handle is closed.
        let _ = self.orders.send(Order::Open(reply));
        answer.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, CONSUL, "open")))
    }

    /// The present session.
    pub(crate) fn current(&self) -> Option<Arc<str>> {
        self.id.borrow().clone()
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
    client: Arc<Client>,
    kinds: Arc<Kinds>,
    ttl: Duration,
    orders: mpsc::UnboundedReceiver<Order>,
    tell: watch::Sender<Option<Arc<str>>>,
    state: StateSender,
}

/// How the keeping of a session ended.
enum Ended {
    Lost,
    Ordered(Option<oneshot::Sender<Result<()>>>),
}

/// The session to end, and who waits for that.
type End = (Option<Arc<str>>, Option<oneshot::Sender<Result<()>>>);

/// A session that is kept, and its id to hand out.
struct Open {
    kept: Kept,
    id: Arc<str>,
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
                    Ok(open) => {
                        let _ = reply.send(Ok(open.id.clone()));
                        if let Some(end) = self.hold(open).await {
                            return self.end(end).await;
                        }
                    }
                    Err(error) => drop(reply.send(Err(error))),
                },
            }
        };
        self.end((None, reply)).await;
    }

    fn call(&self, operation: &'static str) -> Call {
        Call { operation, deadline: Instant::now() + self.client.operation_timeout() }
    }

    async fn open(&mut self) -> Result<Open> {
        let kept = Kept::make(&self.client, Purpose::Handle, self.ttl, &self.call("open")).await?;
        self.kinds.note(&kept.id, Purpose::Handle);
        let id: Arc<str> = kept.id.as_str().into();
        self.tell.send_replace(Some(id.clone()));
        self.state.set(SessionState::Connected);
        Ok(Open { kept, id })
    }

    /// Keeps a session, and opens another when it is lost, until the handle ends.
    async fn hold(&mut self, mut open: Open) -> Option<End> {
        loop {
            match self.keep(&mut open).await {
                Ended::Ordered(reply) => return Some((Some(open.id), reply)),
                Ended::Lost => {
                    self.tell.send_replace(None);
                    self.state.set(SessionState::Lost);
                    tracing::warn!(backend = %CONSUL, session = %open.id, "session lost");
                }
            }
            match self.replace(open.id).await {
                Ok(next) => open = next,
                Err(end) => return Some(end),
            }
        }
    }

    async fn keep(&mut self, open: &mut Open) -> Ended {
        let (id, state) = (open.id.clone(), &self.state);
        let keeping = open.kept.keep(None, |life| state.set(life.state(Instant::now().into_std())));
        tokio::pin!(keeping);
        loop {
            tokio::select! {
                reason = &mut keeping => {
                    tracing::warn!(backend = %CONSUL, session = %id, %reason, "session ends");
                    return Ended::Lost;
                }
                order = self.orders.recv() => match order {
                    None => return Ended::Ordered(None),
                    Some(Order::End(reply)) => return Ended::Ordered(Some(reply)),
                    Some(Order::Gone(gone)) if gone == id => return Ended::Lost,
                    Some(Order::Gone(_)) => {}
                    Some(Order::Open(reply)) => drop(reply.send(Ok(id.clone()))),
                },
            }
        }
    }

    /// Opens a session in place of a lost one, however long that takes. What the old one owned is
    /// removed first, where the server still has it: it was told to be gone.
    async fn replace(&mut self, old: Arc<str>) -> Result<Open, End> {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let mut waiting: Vec<oneshot::Sender<Result<Arc<str>>>> = Vec::new();
        loop {
            let client = self.client.clone();
            let deadline = self.call("open").deadline;
            let opening = async {
                destroy(&client, &old, deadline).await?;
                self.open().await
            };
            let error = match opening.await {
                Ok(open) => {
                    waiting.into_iter().for_each(|reply| drop(reply.send(Ok(open.id.clone()))));
                    return Ok(open);
                }
                Err(error) => error,
            };
            tracing::warn!(backend = %CONSUL, %error, "no new session yet");
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

    async fn end(self, (session, reply): End) {
        self.tell.send_replace(None);
        if self.state.watch().get() != SessionState::Idle {
            self.state.set(SessionState::Lost);
        }
        let deadline = self.call("close").deadline;
        let ended = match session {
            Some(session) => destroy(&self.client, &session, deadline).await,
            None => Ok(()),
        };
        match reply {
            Some(reply) => drop(reply.send(ended)),
            None => {
                if let Err(error) = ended {
                    tracing::warn!(backend = %CONSUL, %error, "session not ended");
                }
            }
        }
    }
}
