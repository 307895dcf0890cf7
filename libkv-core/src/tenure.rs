use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use crate::{BackendName, Backoff, Error, ErrorKind, Result, Session, SessionState};
use crate::{StateSender, StateWatch};

const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A server as one that grants tenures, such as leases of etcd's and sessions of Consul's: a backend
/// implements it for [`HandleSession`].
#[async_trait]
pub trait Grantor: Send + Sync + 'static {
    /// What names a tenure to the server.
    type Id: Clone + PartialEq + fmt::Debug + fmt::Display + Send + Sync + 'static;
    /// What is granted.
    type Tenure: Tenure<Id = Self::Id>;

    /// The backend's name, for errors and events.
    fn backend(&self) -> BackendName;

    /// Grants a tenure.
    ///
    /// # Errors
    ///
    /// Those of the server.
    ///
    /// # Cancel safety
    ///
    /// Safe: one that nobody heard of ends by itself.
    async fn grant(&self) -> Result<Self::Tenure>;

    /// Ends a tenure, and all keys that are bound to it. One that is gone already is fine.
    ///
    /// # Errors
    ///
    /// Those of the server.
    ///
    /// # Cancel safety
    ///
    /// What was not ended ends by itself.
    async fn end(&self, id: &Self::Id) -> Result<()>;
}

/// What keys are bound to, for as long as it is kept alive.
#[async_trait]
pub trait Tenure: Send + 'static {
    /// What names it to the server.
    type Id;

    /// Its name.
    fn id(&self) -> Self::Id;

    /// Keeps it alive, and returns why it is over. `told` hears of each change of its life.
    ///
    /// # Cancel safety
    ///
    /// Safe: call it again.
    async fn keep(&mut self, told: &mut (dyn for<'a> FnMut(&'a Session) + Send)) -> Error;
}

/// A handle's session: the tenure that its ephemeral keys are bound to, and the task that keeps it.
///
/// The task ends with this, and ends the session then.
#[derive(Debug)]
pub struct HandleSession<Id> {
    orders: mpsc::UnboundedSender<Order<Id>>,
    current: watch::Receiver<Option<Id>>,
    state: StateWatch,
    backend: BackendName,
}

#[derive(Debug)]
enum Order<Id> {
    /// Opens the session if there is none.
    Open(oneshot::Sender<Result<Id>>),
    /// The server says that this tenure is gone.
    Gone(Id),
    /// Ends the session for good.
    End(oneshot::Sender<Result<()>>),
}

impl<Id: Clone + PartialEq + Send + Sync + 'static> HandleSession<Id> {
    /// Starts the task, on the runtime that this is called in.
    pub fn start(grantor: impl Grantor<Id = Id>) -> Self {
        let (orders, receiver) = mpsc::unbounded_channel();
        let (tell, current) = watch::channel(None);
        let sender = StateSender::default();
        let (state, backend) = (sender.watch(), grantor.backend());
        tokio::spawn(Keeper { grantor, orders: receiver, tell, state: sender }.run());
        Self { orders, current, state, backend }
    }

    /// Where it stands, to look at or to wait for.
    pub fn state(&self) -> StateWatch {
        self.state.clone()
    }

    /// The tenure for ephemeral keys; gets one where there is none, or only one that is known to be
    /// gone.
    ///
    /// # Errors
    ///
    /// Those of the server; `Closed` once the session was ended.
    ///
    /// # Cancel safety
    ///
    /// Safe: the session may be open afterwards.
    pub async fn id(&self, gone: Option<&Id>) -> Result<Id> {
        if let Some(id) = self.current().filter(|id| Some(id) != gone) {
            return Ok(id);
        }
        if let Some(gone) = gone {
            // Before the order below, so that the answer is another tenure.
            let _ = self.orders.send(Order::Gone(gone.clone()));
        }
        let (reply, answer) = oneshot::channel();
        // The task ends with an answer to nobody when the handle is closed.
        let _ = self.orders.send(Order::Open(reply));
        answer.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, self.backend, "open")))
    }

    /// The present tenure.
    pub fn current(&self) -> Option<Id> {
        self.current.borrow().clone()
    }

    /// Ends the session for good. Again is fine.
    ///
    /// # Errors
    ///
    /// When the server could not be told; what the session owned then ends by itself.
    ///
    /// # Cancel safety
    ///
    /// The task goes on with it.
    pub async fn end(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let _ = self.orders.send(Order::End(reply));
        answer.await.unwrap_or(Ok(()))
    }
}

/// The task that owns a session.
struct Keeper<G: Grantor> {
    grantor: G,
    orders: mpsc::UnboundedReceiver<Order<G::Id>>,
    tell: watch::Sender<Option<G::Id>>,
    state: StateSender,
}

/// How the keeping of a tenure ended.
enum Ended {
    Lost,
    Ordered(Option<oneshot::Sender<Result<()>>>),
}

/// The tenure to end, and who waits for that.
type End<Id> = (Option<Id>, Option<oneshot::Sender<Result<()>>>);

impl<G: Grantor> Keeper<G> {
    async fn run(mut self) {
        let reply = loop {
            match self.orders.recv().await {
                None => break None,
                Some(Order::End(reply)) => break Some(reply),
                Some(Order::Gone(_)) => {}
                // Who asked may have left meanwhile.
                Some(Order::Open(reply)) if reply.is_closed() => {}
                Some(Order::Open(reply)) => match self.open().await {
                    Ok(tenure) => {
                        let _ = reply.send(Ok(tenure.id()));
                        if let Some(end) = self.hold(tenure).await {
                            return self.end(end).await;
                        }
                    }
                    Err(error) => drop(reply.send(Err(error))),
                },
            }
        };
        self.end((None, reply)).await;
    }

    async fn open(&mut self) -> Result<G::Tenure> {
        let tenure = self.grantor.grant().await?;
        self.tell.send_replace(Some(tenure.id()));
        self.state.set(SessionState::Connected);
        Ok(tenure)
    }

    /// Keeps a tenure, and gets another when it is lost, until the handle ends.
    async fn hold(&mut self, mut tenure: G::Tenure) -> Option<End<G::Id>> {
        loop {
            let id = tenure.id();
            match self.keep(&mut tenure, &id).await {
                Ended::Ordered(reply) => return Some((Some(id), reply)),
                Ended::Lost => {
                    self.tell.send_replace(None);
                    self.state.set(SessionState::Lost);
                    tracing::warn!(backend = %self.grantor.backend(), %id, "session lost");
                }
            }
            match self.replace(id).await {
                Ok(next) => tenure = next,
                Err(end) => return Some(end),
            }
        }
    }

    async fn keep(&mut self, tenure: &mut G::Tenure, id: &G::Id) -> Ended {
        let (state, backend) = (&self.state, self.grantor.backend());
        let mut told = |life: &Session| state.set(life.state(Instant::now().into_std()));
        let keeping = tenure.keep(&mut told);
        tokio::pin!(keeping);
        loop {
            tokio::select! {
                reason = &mut keeping => {
                    tracing::warn!(%backend, %id, %reason, "session ends");
                    return Ended::Lost;
                }
                order = self.orders.recv() => match order {
                    None => return Ended::Ordered(None),
                    Some(Order::End(reply)) => return Ended::Ordered(Some(reply)),
                    Some(Order::Gone(gone)) if gone == *id => return Ended::Lost,
                    Some(Order::Gone(_)) => {}
                    Some(Order::Open(reply)) => drop(reply.send(Ok(id.clone()))),
                },
            }
        }
    }

    /// Gets a tenure in place of a lost one, however long that takes. What the old one owned is
    /// removed first, where the server still has it: it was told to be gone.
    async fn replace(&mut self, old: G::Id) -> Result<G::Tenure, End<G::Id>> {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let mut waiting: Vec<oneshot::Sender<Result<G::Id>>> = Vec::new();
        loop {
            let error = match self.replace_once(&old).await {
                Ok(tenure) => {
                    waiting.into_iter().for_each(|reply| drop(reply.send(Ok(tenure.id()))));
                    return Ok(tenure);
                }
                Err(error) => error,
            };
            tracing::warn!(backend = %self.grantor.backend(), %error, "no new session yet");
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

    async fn replace_once(&mut self, old: &G::Id) -> Result<G::Tenure> {
        self.grantor.end(old).await?;
        self.open().await
    }

    async fn end(self, (id, reply): End<G::Id>) {
        self.tell.send_replace(None);
        if self.state.watch().get() != SessionState::Idle {
            self.state.set(SessionState::Lost);
        }
        let ended = match id {
            Some(id) => self.grantor.end(&id).await,
            None => Ok(()),
        };
        match reply {
            Some(reply) => drop(reply.send(ended)),
            None => {
                if let Err(error) = ended {
                    tracing::warn!(backend = %self.grantor.backend(), %error, "session not ended");
                }
            }
        }
    }
}
