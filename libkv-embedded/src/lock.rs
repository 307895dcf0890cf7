use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use libkv_core::{
    Deadline, Error, ErrorKind, Fence, FencingToken, Held, Key, LockSession, Result, Wait,
};
use tokio::sync::oneshot;

use crate::engine::{Id, Path};
use crate::error::{closed, lost, refused};
use crate::handle::Handle;
use crate::machine::{Attempt, Grant, JoinLock, LeaveLock, Loss, RenewLock};

/// One attempt at a lock of the state machine.
pub(crate) struct EmbeddedLock {
    handle: Arc<Handle>,
    key: Key,
    path: Path,
    value: Option<Bytes>,
    ttl: Duration,
    attempt: Option<Id>,
    held: Option<Possession>,
}

#[derive(Debug)]
struct Possession {
    valid: Deadline,
    lost: oneshot::Receiver<Loss>,
}

impl EmbeddedLock {
    pub(crate) fn new(
        handle: Arc<Handle>,
        key: Key,
        path: Path,
        value: Option<Bytes>,
        ttl: Duration,
    ) -> Self {
        Self { handle, key, path, value, ttl, attempt: None, held: None }
    }

    /// Joins the queue; the number of the attempt is known before anything is waited for, so that
    /// a dropped attempt can be taken out again.
    async fn join(&mut self, wait: Wait, valid: Deadline) -> Result<oneshot::Receiver<Grant>> {
        let (granted, grant) = oneshot::channel();
        let id = self.handle.machine.new_id();
        self.attempt = Some(id);
        let (session, ttl, value) = (self.handle.id, self.ttl, self.value.clone());
        let attempt = Attempt { id, session, ttl, value, valid, granted };
        let may_wait = wait != Wait::Never;
        let request = JoinLock { path: self.path.clone(), may_wait, attempt };
        if self.handle.ask("lock", None, request, |_| None).await? {
            return Ok(grant);
        }
        Err(self.busy())
    }

    fn busy(&self) -> Error {
        Error::new(ErrorKind::CannotLock, self.handle.backend, "lock")
            .with_detail("somebody else holds it")
    }
}

/// Shows the length of the value and never the value.
impl fmt::Debug for EmbeddedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLock")
            .field("key", &self.key)
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("ttl", &self.ttl)
            .field("attempt", &self.attempt)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl LockSession for EmbeddedLock {
    async fn acquire(&mut self, wait: Wait) -> Result<Held> {
        let clock = self.handle.machine.clock();
        let valid = Deadline::at(clock.instant(clock.now()).into_std());
        let grant =
            self.join(wait, valid.clone()).await.map_err(|error| error.with_key(&self.key))?;
        let grant = match wait {
            Wait::AtMost(longest) => match tokio::time::timeout(longest, grant).await {
                Ok(grant) => grant,
                Err(_) => return Err(self.busy().with_key(&self.key)),
            },
            _ => grant.await,
        };
        let grant = grant.map_err(|_| closed(self.handle.backend, "lock").with_key(&self.key))?;
        // Not if the lock was lost again already.
        valid.extend_to(clock.instant(grant.until).into_std());
        self.held = Some(Possession { valid: valid.clone(), lost: grant.lost });
        let token = FencingToken::new(grant.token);
        let fence = Fence::new(self.handle.backend, self.key.clone(), token, self.path.clone());
        Ok(Held::new(token, fence, valid))
    }

    async fn keep(&mut self) -> Error {
        let (handle, key) = (&self.handle, &self.key);
        let lost = |loss| lost(loss, handle.backend, key);
        let (Some(attempt), Some(held)) = (self.attempt, &mut self.held) else {
            return lost(Loss::Closed);
        };
        loop {
            tokio::select! {
                loss = &mut held.lost => return lost(loss.unwrap_or(Loss::Closed)),
                () = tokio::time::sleep(self.ttl / 3) => {}
            }
            match handle.machine.ask(RenewLock(attempt)).await {
                Ok(Some(until)) => {
                    held.valid.extend_to(handle.machine.clock().instant(until).into_std())
                }
                Ok(None) => return lost(held.lost.try_recv().unwrap_or(Loss::Expired)),
                Err(fault) => {
                    tracing::warn!(backend = %handle.backend, %key, ?fault, "lock not renewed");
                }
            }
        }
    }

    async fn release(&mut self) -> Result<()> {
        let (Some(attempt), held) = (self.attempt.take(), self.held.take()) else {
            return Ok(());
        };
        let backend = self.handle.backend;
        let left = self.handle.machine.ask(LeaveLock(attempt)).await;
        let left = left.map_err(|fault| refused(fault, backend, "unlock", |_| Some(&self.key)))?;
        match held {
            Some(mut held) if !left => {
                let loss = held.lost.try_recv().unwrap_or(Loss::Expired);
                Err(lost(loss, backend, &self.key))
            }
            _ => Ok(()),
        }
    }

    fn again(&self) -> Box<dyn LockSession> {
        let (key, path, value) = (self.key.clone(), self.path.clone(), self.value.clone());
        Box::new(Self::new(self.handle.clone(), key, path, value, self.ttl))
    }
}
