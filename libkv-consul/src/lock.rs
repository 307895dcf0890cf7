mod leave;
mod node;
mod wait;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use libkv_core::{
    Deadline, Error, ErrorKind, Fence, FencingToken, Held, Key, LockSession, Result, SessionState,
    Wait,
};
use tokio::time::Instant;

use self::node::watch_over;
use crate::client::Call;
use crate::error::CONSUL;
use crate::handle::Handle;
use crate::hub::{Subscription, closed};
use crate::kept::{Kept, Purpose, destroy};
use crate::request::holder;

const LOCK: &str = "lock";
/// A lock's key is made and deleted, and those who wait hear of it.
const NODE_CHANGES: usize = 16;
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One attempt at a lock.
pub(crate) struct ConsulLock {
    handle: Arc<Handle>,
    key: Key,
    /// The name of the lock's own key.
    name: String,
    value: Option<Bytes>,
    ttl: Duration,
    /// What a dropped attempt may have left.
    session: Option<String>,
    /// An attempt may have come to something, or may still do so.
    doubtful: AtomicBool,
    held: Option<Possession>,
}

/// What holding a lock needs.
struct Possession {
    kept: Kept,
    /// The index at which the lock was taken.
    token: u64,
    /// The index of the value that was written with it.
    value: Option<u64>,
    node: Subscription,
    valid_until: Deadline,
}

/// A lock that was taken, and who hears of its key.
struct Taken {
    token: u64,
    value: Option<u64>,
    node: Subscription,
}

impl ConsulLock {
    pub(crate) fn new(handle: Arc<Handle>, key: Key, value: Option<Bytes>, ttl: Duration) -> Self {
        let name = handle.names.lock(&key);
        let doubtful = AtomicBool::new(false);
        Self { handle, key, name, value, ttl, session: None, doubtful, held: None }
    }

    fn error(&self, kind: ErrorKind, detail: &str) -> Error {
        Error::new(kind, CONSUL, LOCK).with_key(&self.key).with_detail(detail)
    }

    fn call(&self) -> Call {
        let deadline = Instant::now() + self.handle.client.operation_timeout();
        Call { operation: LOCK, deadline }
    }

    /// Takes the lock with a spare session of the handle, or with a new one. A spare may be gone:
    /// the server then did nothing, and says so.
    async fn take(&mut self, wait: Wait) -> Result<Possession> {
        let begun = Instant::now();
        while let Some(spare) = self.handle.spares.take(self.ttl) {
            if let Some(held) = self.take_with(spare, wait, begun).await? {
                return Ok(held);
            }
            self.abandon();
        }
        self.handle.demand_open(LOCK, None)?;
        let kept = self.handle.new_session(Purpose::Lock, self.ttl, &self.call()).await?;
        let gone = self.error(ErrorKind::Timeout, "its session was ended by others");
        self.take_with(kept, wait, begun).await?.ok_or(gone)
    }

    /// Waits for the lock with a session; none where the server does not know the session. One that
    /// waited in vain is as good for another lock.
    async fn take_with(
        &mut self,
        mut kept: Kept,
        wait: Wait,
        begun: Instant,
    ) -> Result<Option<Possession>> {
        self.begin(&kept.id)?;
        match self.wait_with(&mut kept, wait, begun).await {
            Ok(None) => Ok(None),
            Ok(Some(Taken { token, value, node })) => {
                let valid_until = Deadline::at(kept.life.deadline());
                self.handle.note_held(&kept.id, &valid_until);
                Ok(Some(Possession { kept, token, value, node, valid_until }))
            }
            Err(error) => {
                if error.kind() == ErrorKind::CannotLock && !self.doubtful.load(Ordering::Relaxed) {
                    self.abandon();
                    self.handle.spare(kept);
                }
                Err(error)
            }
        }
    }

    /// Notes the session before anything depends on it.
    fn begin(&mut self, session: &str) -> Result<()> {
        if let Err(error) = self.handle.note_lock(session, LOCK) {
            self.handle.retire(session.to_owned());
            return Err(error);
        }
        self.session = Some(session.to_owned());
        Ok(())
    }

    /// Forgets a session that is gone.
    fn abandon(&mut self) {
        if let Some(session) = self.session.take() {
            self.handle.forget_lock(&session);
        }
    }

    /// Waits, and keeps the session alive meanwhile, which may be long.
    async fn wait_with(
        &self,
        kept: &mut Kept,
        wait: Wait,
        begun: Instant,
    ) -> Result<Option<Taken>> {
        let id = kept.id.clone();
        let mut unsure = false;
        let outcome = tokio::select! {
            taken = self.wait_for_it(&id, wait, begun) => taken,
            reason = kept.keep(Some(&self.key), |life| {
                unsure = life.state(Instant::now().into_std()) != SessionState::Connected;
            }) => {
                let silent = self.error(ErrorKind::Timeout, "the session was lost while waiting");
                Err(silent.with_source(reason))
            }
            () = self.handle.closing() => Err(closed(LOCK)),
        };
        match outcome {
            // Nobody knows whether somebody else holds it.
            Err(error) if unsure && error.kind() == ErrorKind::CannotLock => {
                Err(self.error(ErrorKind::Timeout, "the server does not answer"))
            }
            outcome => outcome,
        }
    }

    fn busy(&self) -> Error {
        self.error(ErrorKind::CannotLock, "somebody else holds it")
    }
}

/// Shows the length of the value and never the value.
impl fmt::Debug for ConsulLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulLock")
            .field("key", &self.key)
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("ttl", &self.ttl)
            .field("held", &self.held.is_some())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl LockSession for ConsulLock {
    async fn acquire(&mut self, wait: Wait) -> Result<Held> {
        let held = self.take(wait).await.map_err(|error| error.or_key(&self.key))?;
        let token = FencingToken::new(held.token);
        let node = holder(&self.name, &held.kept.id);
        let fence = Fence::new(CONSUL, self.key.clone(), token, node);
        let valid_until = held.valid_until.clone();
        self.held = Some(held);
        Ok(Held::new(token, fence, valid_until))
    }

    async fn keep(&mut self) -> Error {
        let lost = |detail: &str| {
            Error::new(ErrorKind::LockLost, CONSUL, LOCK).with_key(&self.key).with_detail(detail)
        };
        let Some(held) = &mut self.held else {
            return lost("it was never obtained");
        };
        let Possession { kept, token, node, valid_until, .. } = held;
        let watching = watch_over(&self.handle, &self.name, *token, node);
        tokio::select! {
            reason = watching => lost(reason),
            reason = kept.keep(Some(&self.key), |life| match life.state(Instant::now().into_std()) {
                SessionState::Lost => valid_until.expire(),
                _ => valid_until.extend_to(life.deadline()),
            }) => lost("its session is over").with_source(reason),
            () = self.handle.closing() => lost("its handle was closed"),
        }
    }

    async fn release(&mut self) -> Result<()> {
        let Some(id) = self.session.take() else {
            return Ok(());
        };
        let Some(held) = self.held.take() else {
            let ended = destroy(&self.handle.client, &id, self.call().deadline).await;
            self.handle.forget_lock(&id);
            return ended;
        };
        let left = self.leave(&held).await;
        // Not before: a handle that is closed meanwhile ends the session.
        self.handle.forget_lock(&id);
        match left {
            Ok(()) if self.doubtful.load(Ordering::Relaxed) => {
                // What was sent long ago must find no session to take the lock with.
                self.handle.retire(id);
                Ok(())
            }
            Ok(()) => {
                self.handle.spare(held.kept);
                Ok(())
            }
            Err(error) => {
                // Whatever is left goes with the session.
                self.handle.retire(id);
                Err(match error.kind() {
                    ErrorKind::LockLost => self.error(ErrorKind::LockLost, "its key was gone"),
                    _ => error.or_key(&self.key),
                })
            }
        }
    }

    fn again(&self) -> Box<dyn LockSession> {
        let (handle, key) = (self.handle.clone(), self.key.clone());
        Box::new(Self::new(handle, key, self.value.clone(), self.ttl))
    }
}
