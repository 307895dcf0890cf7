use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use libkv_core::{
    Deadline, Error, ErrorKind, Fence, FencingToken, Held, Key, LockSession, Result, Wait,
};
use tokio::sync::oneshot;

use crate::engine::{Id, Path};
use crate::error::{MEM, closed, lost};
use crate::handle::Handle;
use crate::machine::{Attempt, Grant, Loss};

/// One attempt at a lock of the state machine.
#[derive(Debug)]
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
    until: Deadline,
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

    /// Joins the queue; the number of the attempt is known before anything can be waited for.
    fn join(&mut self, wait: Wait) -> Result<oneshot::Receiver<Grant>> {
        let (granted, grant) = oneshot::channel();
        let handle = self.handle.clone();
        handle.with("lock", None, |state| {
            if wait == Wait::Never && !state.locks.is_free(&self.path) {
                return Err(self.busy());
            }
            let id = state.new_id();
            self.attempt = Some(id);
            let (ttl, value) = (self.ttl, self.value.clone());
            let attempt = Attempt { id, handle: handle.id, ttl, value, granted };
            state.join_lock(&self.path, attempt, handle.machine.clock().now())
        })?;
        Ok(grant)
    }

    fn busy(&self) -> Error {
        Error::new(ErrorKind::CannotLock, MEM, "lock")
            .with_key(&self.key)
            .with_detail("somebody else holds it")
    }
}

#[async_trait]
impl LockSession for EmbeddedLock {
    async fn acquire(&mut self, wait: Wait) -> Result<Held> {
        let grant = self.join(wait).map_err(|error| error.with_key(&self.key))?;
        let grant = match wait {
            Wait::AtMost(longest) => {
                tokio::time::timeout(longest, grant).await.map_err(|_| self.busy())?
            }
            _ => grant.await,
        };
        let grant = grant.map_err(|_| closed("lock").with_key(&self.key))?;
        let until = Deadline::at(self.handle.machine.clock().instant(grant.until));
        self.held = Some(Possession { until: until.clone(), lost: grant.lost });
        let token = FencingToken::new(grant.token);
        let fence = Fence::new(MEM, self.key.clone(), token, self.path.clone());
        Ok(Held::new(token, fence, until))
    }

    async fn keep(&mut self) -> Error {
        let (Some(attempt), Some(held)) = (self.attempt, &mut self.held) else {
            return lost(Loss::Closed, &self.key);
        };
        loop {
            tokio::select! {
                loss = &mut held.lost => return lost(loss.unwrap_or(Loss::Closed), &self.key),
                () = tokio::time::sleep(self.ttl / 3) => {}
            }
            let machine = &self.handle.machine;
            let now = machine.clock().now();
            let renewed = machine.with(|state| Ok::<_, Error>(state.renew_lock(attempt, now)));
            match renewed {
                Ok(Some(until)) => held.until.extend_to(machine.clock().instant(until)),
                Ok(None) => return lost(Loss::Expired, &self.key),
                Err(error) => {
                    tracing::warn!(backend = %MEM, key = %self.key, %error, "not renewed")
                }
            }
        }
    }

    async fn release(&mut self) -> Result<()> {
        let Some(attempt) = self.attempt.take() else {
            return Ok(());
        };
        let held = self.held.take();
        let machine = &self.handle.machine;
        let left = machine.with(|state| state.leave_lock(attempt, machine.clock().now()))?;
        match held {
            Some(mut held) if !left => {
                let loss = held.lost.try_recv().unwrap_or(Loss::Expired);
                Err(lost(loss, &self.key))
            }
            _ => Ok(()),
        }
    }

    fn again(&self) -> Box<dyn LockSession> {
        let (key, path, value) = (self.key.clone(), self.path.clone(), self.value.clone());
        Box::new(Self::new(self.handle.clone(), key, path, value, self.ttl))
    }
}
