use std::sync::Arc;
use std::time::Duration;

use libkv_core::{Error, ErrorKind, Lifetime, Result};
use tokio::time::{Instant, timeout_at};

use crate::cluster::Call;
use crate::error::ETCD;
use crate::handle::Handle;
use crate::lease::{Lease, Purpose, seconds_for_key};
use crate::request::unknown;

/// What a key that is put is bound to.
#[derive(Debug)]
pub(crate) enum Owner {
    Nobody,
    Session(i64),
    Time(Box<Granted>),
}

/// A lease for a key. Where it turns out that no key has it, it is ended.
#[derive(Debug)]
pub(crate) struct Granted {
    handle: Arc<Handle>,
    lease: Lease,
    ttl: Duration,
    needed: bool,
}

impl Drop for Granted {
    fn drop(&mut self) {
        if !self.needed {
            self.handle.retire(self.lease.id);
        }
    }
}

impl Owner {
    /// Checks a lifetime before anything is sent.
    pub(crate) fn check(handle: &Handle, lifetime: Lifetime, call: &Call) -> Result<()> {
        match lifetime {
            Lifetime::Permanent | Lifetime::Ephemeral => Ok(()),
            Lifetime::Ttl(ttl) => handle.ttl_limits().checked(ttl, ETCD, call.operation).map(drop),
            other => Err(unknown("a lifetime", &other, call.operation)),
        }
    }

    /// Gets what a key with this lifetime is to be bound to, but not to a session that is `gone`.
    pub(crate) async fn get(
        handle: &Arc<Handle>,
        lifetime: Lifetime,
        gone: Option<i64>,
        call: &Call,
    ) -> Result<Self> {
        Self::check(handle, lifetime, call)?;
        match lifetime {
            Lifetime::Ephemeral => {
                let late = |_| {
                    Error::new(ErrorKind::Timeout, ETCD, call.operation)
                        .with_detail("no session could be opened in time; nothing was written")
                };
                let lease = timeout_at(call.deadline, handle.session.id(gone.as_ref())).await;
                Ok(Self::Session(lease.map_err(late)??))
            }
            Lifetime::Ttl(ttl) => {
                let (seconds, operation) = (seconds_for_key(ttl), call.operation);
                let (cluster, purpose) = (&handle.cluster, Purpose::Key);
                let lease =
                    Lease::grant_new(cluster, purpose, seconds, operation, call.deadline).await?;
                let (asked, chosen) =
                    (Duration::from_secs(u64::try_from(seconds).unwrap_or_default()), lease.ttl());
                let granted = Granted { handle: handle.clone(), lease, ttl, needed: false };
                handle.check_granted(asked, chosen, operation)?;
                Ok(Self::Time(Box::new(granted)))
            }
            _ => Ok(Self::Nobody),
        }
    }

    /// The lease to put with; 0 is none.
    pub(crate) fn lease(&self) -> i64 {
        match self {
            Self::Nobody => 0,
            Self::Session(lease) => *lease,
            Self::Time(granted) => granted.lease.id,
        }
    }

    /// The write is about to be sent: from now on a key may have the lease.
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
            (Self::Session(lease), Ok(_)) if handle.session.current() != Some(*lease) => {
                Err(unsure(call, "the session ended while it was written"))
            }
            (Self::Time(granted), Ok(answer)) => {
                let until = Instant::now() + granted.ttl;
                match granted.lease.ensure(granted.ttl, call).await {
                    Err(error) if granted.lease.life.deadline() < until.into_std() => {
                        let text =
                            "the answer came late, and the key may have ended before its time";
                        Err(unsure(call, text).with_source(error))
                    }
                    _ => Ok(answer),
                }
            }
            (Self::Time(granted), Err(error)) => {
                // Where it may be there, the key has this lease.
                granted.needed = !error.changed_nothing();
                Err(error)
            }
            (_, outcome) => outcome,
        }
    }
}

fn unsure(call: &Call, detail: &str) -> Error {
    Error::new(ErrorKind::OutcomeUnknown, ETCD, call.operation).with_detail(detail)
}
