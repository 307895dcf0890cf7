use std::sync::Arc;
use std::time::Duration;

use libkv_core::{Backoff, Error, ErrorKind, Key, Result, Session, SessionState};
use tokio::time::{Instant, sleep_until};

use crate::client::{Call, Client, NewSession};
use crate::error::CONSUL;

const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a session of Consul is for. It is told by the session's name, so that every reader of a key
/// knows, and so do operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The ephemeral keys of a handle.
    Handle,
    /// A lock, with its value.
    Lock,
    /// A key with a time to live.
    Key,
}

impl Purpose {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Handle => "libkv session",
            Self::Lock => "libkv lock",
            Self::Key => "libkv ttl",
        }
    }
}

/// A session that the server made, and its life by our own clock.
#[derive(Debug)]
pub(crate) struct Kept {
    client: Arc<Client>,
    pub(crate) id: String,
    pub(crate) life: Session,
    ttl: Duration,
}

impl Kept {
    /// Makes a session. One that nobody heard of is nobody's loss: it ends by itself.
    pub(crate) async fn make(
        client: &Arc<Client>,
        purpose: Purpose,
        ttl: Duration,
        call: &Call,
    ) -> Result<Self> {
        let sent = Instant::now();
        let made = client.create_session(&NewSession { name: purpose.name(), ttl }, call).await;
        let id = made.map_err(|failure| failure.into_error(call, false))?;
        let life = Session::opened(sent.into_std(), ttl);
        Ok(Self { client: client.clone(), id, life, ttl })
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Makes sure that the session lives for `ttl` from now on.
    pub(crate) async fn ensure(&mut self, ttl: Duration, call: &Call) -> Result<()> {
        let now = Instant::now();
        if self.life.deadline() >= (now + ttl).into_std() {
            return Ok(());
        }
        match self.client.renew_session(&self.id, call).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(gone()),
            Err(failure) => Err(failure.into_error(call, false)),
        }
    }

    /// Keeps the session alive, and returns why it is over. `told` hears of each change.
    ///
    /// It renews at thirds of the time to live, and tries again until the end where that fails.
    /// `key` is that of the lock which lives by it, if it is one.
    pub(crate) async fn keep(
        &mut self,
        key: Option<&Key>,
        mut told: impl FnMut(&Session) + Send,
    ) -> Error {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let mut next = self.life.next_renewal();
        loop {
            sleep_until(next.into()).await;
            let sent = Instant::now();
            if self.life.state(sent.into_std()) == SessionState::Lost {
                told(&self.life);
                return expired();
            }
            let until = (sent + (self.ttl / 6)).min(self.life.deadline().into());
            let call = Call { operation: "renew", deadline: until };
            let renewed = self.client.renew_session(&self.id, &call).await;
            let now = Instant::now().into_std();
            next = match renewed {
                Ok(Some(ttl)) => {
                    // A server may give more than was asked for, and never less.
                    self.ttl = ttl.max(self.ttl);
                    self.life.confirmed(sent.into_std(), self.ttl, now);
                    backoff.reset();
                    self.life.next_renewal()
                }
                Ok(None) => {
                    self.life.lose();
                    told(&self.life);
                    return gone();
                }
                Err(failure) => {
                    self.life.suspend();
                    let (session, error) = (&self.id, failure.into_error(&call, false));
                    let key = key.map(tracing::field::display);
                    tracing::warn!(backend = %CONSUL, key, session, %error, "session not renewed");
                    (now + backoff.next_jittered()).min(self.life.deadline())
                }
            };
            told(&self.life);
        }
    }
}

/// Ends a session, and all keys that are bound to it. One that is gone already is fine.
pub(crate) async fn destroy(client: &Client, id: &str, deadline: Instant) -> Result<()> {
    let call = Call { operation: "destroy", deadline };
    client.destroy_session(id, &call).await.map_err(|failure| failure.into_error(&call, false))
}

fn expired() -> Error {
    Error::new(ErrorKind::LockLost, CONSUL, "renew")
        .with_detail("no renewal was confirmed within the time to live")
}

fn gone() -> Error {
    Error::new(ErrorKind::LockLost, CONSUL, "renew").with_detail("the server has ended the session")
}
