use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::session::tokio_now;
use crate::{BackendName, Deadline, Error, ErrorKind, Fence, FencingToken, Key, Result, Wait};

/// What a backend supplies for a lock: one attempt to get it, hold it and give it back.
///
/// The one keeper task in this module owns a session and calls it; a backend never spawns a task
/// that outlives its session.
#[async_trait]
pub trait LockSession: fmt::Debug + Send + 'static {
    /// Waits for the lock.
    ///
    /// # Errors
    ///
    /// `CannotLock` when `wait` is over, `Timeout` when the server does not answer. Where it is not
    /// known whether the lock was obtained, `OutcomeUnknown`, which is told as a `Timeout`:
    /// [`release`](Self::release) follows.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any await. [`release`](Self::release) follows and must find
    /// whatever the attempt left behind.
    async fn acquire(&mut self, wait: Wait) -> Result<Held>;

    /// Keeps the lock, and returns the reason once possession can no longer be shown.
    ///
    /// It moves [`Held::valid_until`] whenever the server confirmed a renewal, counted from when
    /// that renewal was sent.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any await, as when the lock is given back meanwhile.
    /// [`release`](Self::release) follows.
    async fn keep(&mut self) -> Error;

    /// Gives the lock back, or the place in the queue, or whatever a dropped `acquire` left. It
    /// compares, so that it can never free a successor's lock, and may be called again.
    ///
    /// # Errors
    ///
    /// `LockLost` when the lock was not ours any more.
    ///
    /// # Cancel safety
    ///
    /// It is dropped only with its runtime; what it did not get to ends with its time to live.
    async fn release(&mut self) -> Result<()>;

    /// A session for another attempt at the same lock, which holds nothing yet.
    fn again(&self) -> Box<dyn LockSession>;
}

/// A lock that was obtained.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Held {
    /// The holder's token.
    pub token: FencingToken,
    /// What makes a write depend on the lock.
    pub fence: Fence,
    /// Until when possession is sure; moved by [`LockSession::keep`].
    pub valid_until: Deadline,
}

impl Held {
    /// Puts it together, as a backend does.
    pub fn new(token: FencingToken, fence: Fence, valid_until: Deadline) -> Self {
        Self { token, fence, valid_until }
    }
}

/// A lock on a key, which can be taken, given back and taken again.
///
/// Not re-entrant: two guards never hold one lock, whichever handles they come from.
pub struct Lock {
    backend: BackendName,
    key: Key,
    wait: Wait,
    /// Never acquired itself: every attempt gets a session of its own from it.
    template: Mutex<Box<dyn LockSession>>,
}

impl Lock {
    /// Makes the lock that a backend's session takes.
    pub fn new(backend: BackendName, key: Key, wait: Wait, session: Box<dyn LockSession>) -> Self {
        Self { backend, key, wait, template: Mutex::new(session) }
    }

    /// The key that is locked.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Takes the lock, waiting as long as the lock's options say.
    ///
    /// # Errors
    ///
    /// `CannotLock` when the wait is over, `Timeout` and `NotReachable` when the server does not
    /// answer, `Closed` on a closed handle.
    ///
    /// # Cancel safety
    ///
    /// Safe. If the future is dropped, the place in the queue is given up, and a lock that was
    /// obtained in that moment is released.
    pub async fn lock(&self) -> Result<LockGuard> {
        self.acquire(self.wait).await
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock), with `CannotLock` at once when it is held.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    pub async fn try_lock(&self) -> Result<LockGuard> {
        self.acquire(Wait::Never).await
    }

    async fn acquire(&self, wait: Wait) -> Result<LockGuard> {
        let session = self.template.lock().unwrap_or_else(PoisonError::into_inner).again();
        let about = About { backend: self.backend, key: self.key.clone() };
        let runtime = about.runtime()?;
        let (stop, stopped) = oneshot::channel();
        let (obtained, obtaining) = oneshot::channel();
        let (tell_fate, fate) = watch::channel(Fate::Held);
        let keeper = Keeper { session, about: about.clone(), tell_fate, stopped };
        let mut attempt = Box::pin(keeper.attempt(wait));
        // Begun here and not by the task, so that who asked first is first in the queue, in
        // whatever order tasks come to run.
        let begun = poll_fn(|cx| Poll::Ready(attempt.as_mut().poll(cx))).await;
        let keeper = runtime.spawn(async move {
            let (keeper, outcome) = match begun {
                Poll::Ready(ended) => ended,
                Poll::Pending => attempt.await,
            };
            keeper.run(outcome, obtained).await
        });
        let held = obtaining.await.map_err(|_| about.keeper_died())??;
        Ok(LockGuard { about, held, fate, stop, keeper })
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("backend", &self.backend).field("key", &self.key).finish()
    }
}

/// Possession of a lock.
///
/// Dropping the guard releases the lock in the background; [`unlock`](Self::unlock) waits for the
/// server's word.
#[must_use = "dropping the guard releases the lock"]
pub struct LockGuard {
    about: About,
    held: Held,
    fate: watch::Receiver<Fate>,
    // Dropping it tells the keeper to release: there is no other clean-up path.
    stop: oneshot::Sender<()>,
    keeper: JoinHandle<Result<()>>,
}

impl LockGuard {
    /// The key that is locked.
    pub fn key(&self) -> &Key {
        &self.about.key
    }

    /// The number to send along with what the lock protects; strictly larger for each later holder.
    pub fn token(&self) -> FencingToken {
        self.held.token
    }

    /// Whether the lock is surely held at this moment.
    ///
    /// It reads the deadline itself, so that it is right at once after a paused process wakes.
    pub fn is_held(&self) -> bool {
        let kept = matches!(*self.fate.borrow(), Fate::Held) && self.fate.has_changed().is_ok();
        kept && !self.held.valid_until.is_over(tokio_now())
    }

    /// A future, independent of the guard, that resolves with the reason when the lock is lost.
    ///
    /// It resolves before the server can give the lock to anybody else. A voluntary release is no
    /// loss: after it the future stays pending for ever.
    ///
    /// # Cancel safety
    ///
    /// Safe: call it again.
    pub fn lost(&self) -> impl Future<Output = Error> + Send + 'static {
        let (mut fate, about) = (self.fate.clone(), self.about.clone());
        async move {
            let fate = match fate.wait_for(|fate| !matches!(fate, Fate::Held)).await {
                Ok(fate) => fate.clone(),
                Err(_) => Fate::Lost(about.keeper_died()),
            };
            match fate {
                Fate::Lost(reason) => reason,
                Fate::Held | Fate::Released => std::future::pending().await,
            }
        }
    }

    /// What makes a write or a transaction happen only while this guard holds the lock.
    pub fn fence(&self) -> Fence {
        self.held.fence.clone()
    }

    /// Releases the lock and waits for the server's word.
    ///
    /// # Errors
    ///
    /// `LockLost` when the lock was lost before. `Timeout` or `OutcomeUnknown` when the server does
    /// not answer: the lock then ends with its time to live.
    ///
    /// # Cancel safety
    ///
    /// The release goes on in the background when the future is dropped.
    pub async fn unlock(self) -> Result<()> {
        let Self { about, stop, keeper, .. } = self;
        drop(stop);
        keeper.await.map_err(|error| about.keeper_died().with_source(error))?
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("backend", &self.about.backend)
            .field("key", &self.about.key)
            .field("token", &self.held.token)
            .field("held", &self.is_held())
            .finish()
    }
}

/// Whose lock it is, for errors and events.
#[derive(Debug, Clone)]
struct About {
    backend: BackendName,
    key: Key,
}

impl About {
    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        Error::new(kind, self.backend, operation).with_key(&self.key)
    }

    fn runtime(&self) -> Result<Handle> {
        Handle::try_current().map_err(|error| {
            self.error(ErrorKind::Other, "lock")
                .with_detail("a lock needs a Tokio runtime to be kept in")
                .with_source(error)
        })
    }

    fn expired(&self) -> Error {
        self.error(ErrorKind::LockLost, "lock")
            .with_detail("no renewal was confirmed within the time to live")
    }

    /// A lock whose fate is unknown is not obtained: what it may have left is tidied up.
    fn not_taken(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::OutcomeUnknown {
            return error;
        }
        self.error(ErrorKind::Timeout, "lock")
            .with_detail("the server did not say whether it was obtained")
            .with_source(error)
    }

    fn keeper_died(&self) -> Error {
        self.error(ErrorKind::LockLost, "lock").with_detail("the task that kept the lock has ended")
    }
}

/// What became of a lock that was obtained.
#[derive(Debug, Clone)]
enum Fate {
    Held,
    Lost(Error),
    Released,
}

/// The one owner of a session: obtains, keeps and releases, whoever stops waiting for it.
struct Keeper {
    session: Box<dyn LockSession>,
    about: About,
    tell_fate: watch::Sender<Fate>,
    /// Resolves when nobody wants the lock any more.
    stopped: oneshot::Receiver<()>,
}

impl Keeper {
    /// Tries to obtain the lock; nothing comes of it where nobody waits for it any more.
    async fn attempt(mut self, wait: Wait) -> (Self, Option<Result<Held>>) {
        let outcome = tokio::select! {
            biased;
            _ = &mut self.stopped => None,
            outcome = self.session.acquire(wait) => Some(outcome),
        };
        let outcome = outcome.map(|outcome| outcome.map_err(|error| self.about.not_taken(error)));
        (self, outcome)
    }

    /// Goes on after the attempt, until the lock is released or lost.
    async fn run(
        mut self,
        outcome: Option<Result<Held>>,
        obtained: oneshot::Sender<Result<Held>>,
    ) -> Result<()> {
        let held = match outcome {
            None => return self.give_up().await,
            Some(Err(error)) => return self.refuse(error, obtained).await,
            Some(Ok(held)) => held,
        };
        let About { backend, key } = &self.about;
        debug!(%backend, %key, token = %held.token, "lock obtained");
        if obtained.send(Ok(held.clone())).is_err() {
            return self.give_up().await;
        }
        let expired = self.about.expired();
        let reason = tokio::select! {
            biased;
            reason = self.session.keep() => Some(reason),
            () = past(&held.valid_until) => Some(expired),
            _ = &mut self.stopped => held.valid_until.is_over(tokio_now()).then_some(expired),
        };
        match reason {
            Some(reason) => self.lose(reason, &held).await,
            None => self.give_back().await,
        }
    }

    /// Releases the lock. It may turn out that it was lost in this very moment.
    async fn give_back(mut self) -> Result<()> {
        let released = self.session.release().await;
        match &released {
            Err(error) if error.kind() == ErrorKind::LockLost => self.tell_loss(error),
            _ => drop(self.tell_fate.send_replace(Fate::Released)),
        }
        released
    }

    /// Nobody waits for the answer: leaves nothing behind.
    async fn give_up(mut self) -> Result<()> {
        self.tell_fate.send_replace(Fate::Released);
        self.tidy().await;
        Ok(())
    }

    /// Tells why the lock was not obtained. Where the server answers, the place in the queue is
    /// given up first, so that the caller finds nothing left; a silent server must not make the
    /// caller wait twice.
    async fn refuse(mut self, error: Error, tell: oneshot::Sender<Result<Held>>) -> Result<()> {
        let tidy_first = error.kind() == ErrorKind::CannotLock;
        if tidy_first {
            self.tidy().await;
        }
        // The caller may have left meanwhile, and then nobody asks.
        let _ = tell.send(Err(error));
        if !tidy_first {
            self.tidy().await;
        }
        Ok(())
    }

    async fn lose(mut self, reason: Error, held: &Held) -> Result<()> {
        held.valid_until.expire();
        self.tell_loss(&reason);
        self.tidy().await;
        Err(reason)
    }

    fn tell_loss(&self, reason: &Error) {
        let About { backend, key } = &self.about;
        warn!(%backend, %key, %reason, "lock lost");
        self.tell_fate.send_replace(Fate::Lost(reason.clone()));
    }

    async fn tidy(&mut self) {
        match self.session.release().await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::LockLost => {}
            Err(error) => {
                let About { backend, key } = &self.about;
                warn!(%backend, %key, %error, "lock not released");
            }
        }
    }
}

/// Waits until the deadline is over, however often it moves meanwhile.
async fn past(deadline: &Deadline) {
    while !deadline.is_over(tokio_now()) {
        tokio::time::sleep_until(deadline.instant().into()).await;
    }
}

#[cfg(test)]
mod tests;
