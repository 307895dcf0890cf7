use std::sync::Arc;
use std::time::Duration;

use libkv_core::{Error, ErrorKind, Lifetime, Result};
use tokio::time::{Instant, timeout_at};

use crate::client::Call;
use crate::error::CONSUL;
use crate::handle::{Handle, key_limits};
use crate::kept::{Kept, Purpose};
use crate::request::unknown;

/// What a session lasts longer than asked, to make up for the time between its making and the put
/// that uses it.
const MARGIN: Duration = Duration::from_millis(500);

/// What a key that is put is bound to.
#[derive(Debug)]
pub(crate) enum Owner {
    Nobody,
    Session(Arc<str>),
    Time(Box<Granted>),
}

/// A session for a key. Where it turns out that no key has it, it is ended.
#[derive(Debug)]
pub(crate) struct Granted {
    handle: Arc<Handle>,
    kept: Kept,
    ttl: Duration,
    needed: bool,
}

impl Drop for Granted {
    fn drop(&mut self) {
        if !self.needed {
            self.handle.retire(std::mem::take(&mut self.kept.id));
        }
    }
}

impl Owner {
    /// Checks a lifetime before anything is sent.
    pub(crate) fn check(lifetime: Lifetime, operation: &'static str) -> Result<()> {
        match lifetime {
            Lifetime::Permanent | Lifetime::Ephemeral => Ok(()),
            Lifetime::Ttl(ttl) => key_limits().checked(ttl, CONSUL, operation).map(drop),
            other => Err(unknown("a lifetime", &other, operation)),
        }
    }

    /// Gets what a key with this lifetime is to be bound to, but not to a session that is `gone`.
    pub(crate) async fn get(
        handle: &Arc<Handle>,
        lifetime: Lifetime,
        gone: Option<&Arc<str>>,
        call: &Call,
    ) -> Result<Self> {
        Self::check(lifetime, call.operation)?;
        match lifetime {
            Lifetime::Ephemeral => {
                let late = |_| {
                    Error::new(ErrorKind::Timeout, CONSUL, call.operation)
                        .with_detail("no session could be opened in time; nothing was written")
                };
                let session = timeout_at(call.deadline, handle.session.id(gone)).await;
                Ok(Self::Session(session.map_err(late)??))
            }
            Lifetime::Ttl(ttl) => {
                let limits = key_limits();
                let ttl = limits.checked(ttl, CONSUL, call.operation)?;
                let asked = (ttl + MARGIN).min(limits.max);
                let kept = handle.new_session(Purpose::Key, asked, call).await?;
                let granted = Granted { handle: handle.clone(), kept, ttl, needed: false };
                Ok(Self::Time(Box::new(granted)))
            }
            _ => Ok(Self::Nobody),
        }
    }

    /// The session to put with.
    pub(crate) fn session(&self) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Session(session) => Some(session.to_string()),
            Self::Time(granted) => Some(granted.kept.id.clone()),
        }
    }

    /// The write is about to be sent: from now on a key may have the session.
    pub(crate) fn send(&mut self) {
        if let Self::Time(granted) = self {
            granted.needed = true;
        }
    }

    /// After the write: makes sure that the key lives as long as was asked, from now on.
    pub(crate) async fn settle<T: Send>(
        &mut self,
        outcome: Result<T>,
        handle: &Handle,
        call: &Call,
    ) -> Result<T> {
        match (self, outcome) {
            (Self::Session(session), Ok(_))
                if handle.session.current().as_ref() != Some(session) =>
            {
                Err(unsure(call, "the session ended while it was written"))
            }
            (Self::Time(granted), Ok(answer)) => {
                let until = Instant::now() + granted.ttl;
                match granted.kept.ensure(granted.ttl, call).await {
                    Err(error) if granted.kept.life.deadline() < until.into_std() => {
                        let text =
                            "the answer came late, and the key may have ended before its time";
                        Err(unsure(call, text).with_source(error))
                    }
                    _ => Ok(answer),
                }
            }
            (Self::Time(granted), Err(error)) => {
                // Where it may be there, the key has this session.
                granted.needed = !error.changed_nothing();
                Err(error)
            }
            (_, outcome) => outcome,
        }
    }
}

fn unsure(call: &Call, detail: &str) -> Error {
    Error::new(ErrorKind::OutcomeUnknown, CONSUL, call.operation).with_detail(detail)
}
