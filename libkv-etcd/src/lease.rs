use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::LeaseGrantOptions;
use libkv_core::{Backoff, Error, ErrorKind, Key, LifetimeKind, Result, Session, SessionState};
use tokio::time::{Instant, sleep_until};

use crate::cluster::{Call, Cluster, Failure, Way};
use crate::endpoint::{Connection, Lane};
use crate::error::ETCD;

/// What a lease lasts longer than asked, to make up for the time between its grant and the put
/// that uses it.
const MARGIN: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a lease is for. It is told by the lease's number, so that every reader of a key knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The ephemeral keys of a handle.
    Session,
    /// A lock, with its value.
    Lock,
    /// A key with a time to live.
    Key,
}

impl Purpose {
    /// The first three of the eight bytes of the number: in hex `6b76` for "kv", and a letter.
    const fn mark(self) -> i64 {
        match self {
            Self::Session => 0x6b_7653,
            Self::Lock => 0x6b_764c,
            Self::Key => 0x6b_7654,
        }
    }

    /// A number that nobody is likely to have: the server says so where somebody has it.
    pub(crate) fn new_id(self) -> i64 {
        // Seeded by the system: machines that were copied while they ran must not agree.
        let random = RandomState::new().build_hasher().finish() >> (u64::BITS - RANDOM_BITS);
        self.mark() << RANDOM_BITS | i64::try_from(random).unwrap_or_default()
    }
}

const RANDOM_BITS: u32 = 40;

/// What ends the life of a key with this lease.
pub(crate) fn kind(lease: i64) -> LifetimeKind {
    let mark = lease >> RANDOM_BITS;
    if lease == 0 {
        LifetimeKind::Permanent
    } else if mark == Purpose::Session.mark() || mark == Purpose::Lock.mark() {
        LifetimeKind::Ephemeral
    } else {
        LifetimeKind::Ttl
    }
}

/// The whole seconds to ask for, so that a key lives at least `ttl` after its put.
pub(crate) fn seconds_for_key(ttl: Duration) -> i64 {
    seconds(ttl.saturating_add(MARGIN))
}

/// A time in whole seconds, rounded up.
pub(crate) fn seconds(ttl: Duration) -> i64 {
    let whole = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
    i64::try_from(whole).unwrap_or(i64::MAX)
}

/// A lease that the server granted, and its life by our own clock.
#[derive(Debug)]
pub(crate) struct Lease {
    cluster: Arc<Cluster>,
    pub(crate) id: i64,
    pub(crate) life: Session,
    ttl: Duration,
}

impl Lease {
    /// Asks for a lease of `seconds` with a number; none where that number is somebody's.
    pub(crate) async fn grant(
        cluster: &Arc<Cluster>,
        id: i64,
        seconds: i64,
        operation: &'static str,
        deadline: Instant,
    ) -> Result<Option<Self>> {
        // A second grant of the number is refused, and a lease that nobody knows of is nobody's loss.
        let call = Call { operation, lane: Lane::Leases, way: Way::Read, deadline };
        let sent = Instant::now();
        let granting = cluster.call(&call, |at: Connection| async move {
            at.lease().grant(seconds, Some(LeaseGrantOptions::new().with_id(id))).await
        });
        match granting.await {
            Ok(granted) => {
                let ttl = u64::try_from(granted.ttl()).unwrap_or_default();
                let ttl = Duration::from_secs(ttl);
                let life = Session::opened(sent.into_std(), ttl);
                Ok(Some(Self { cluster: cluster.clone(), id, life, ttl }))
            }
            Err(failure) if failure.fault.is_lease_taken() => Ok(None),
            Err(failure) => Err(failure.into_error(&call)),
        }
    }

    /// As [`grant`](Self::grant), with a number that is nobody's.
    pub(crate) async fn grant_new(
        cluster: &Arc<Cluster>,
        purpose: Purpose,
        seconds: i64,
        operation: &'static str,
        deadline: Instant,
    ) -> Result<Self> {
        loop {
            let id = purpose.new_id();
            if let Some(lease) = Self::grant(cluster, id, seconds, operation, deadline).await? {
                return Ok(lease);
            }
        }
    }

    /// The time to live that the server chose.
    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Makes sure that the lease lives for `ttl` from now on.
    pub(crate) async fn ensure(&mut self, ttl: Duration, call: &Call) -> Result<()> {
        let now = Instant::now();
        if self.life.deadline() >= (now + ttl).into_std() {
            return Ok(());
        }
        renew(&self.cluster, self.id, call.operation, call.deadline)
            .await
            .map_err(|failure| failure.into_error(call))
    }

    /// Keeps the lease alive, and returns why it is over. `told` hears of each change.
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
            let renewed = renew(&self.cluster, self.id, "renew", until).await;
            let now = Instant::now().into_std();
            next = match renewed {
                Ok(()) => {
                    self.life.confirmed(sent.into_std(), self.ttl, now);
                    backoff.reset();
                    self.life.next_renewal()
                }
                Err(failure) if failure.fault.is_lease_gone() => {
                    self.life.lose();
                    told(&self.life);
                    return gone();
                }
                Err(failure) => {
                    self.life.suspend();
                    let call = renewal("renew", until);
                    let (lease, error) = (self.id, failure.into_error(&call));
                    let key = key.map(tracing::field::display);
                    tracing::warn!(backend = %ETCD, key, lease, %error, "lease not renewed");
                    (now + backoff.next_jittered()).min(self.life.deadline())
                }
            };
            told(&self.life);
        }
    }
}

/// Ends a lease, and all keys that are bound to it. One that is gone already is fine.
pub(crate) async fn revoke(cluster: &Cluster, lease: i64, deadline: Instant) -> Result<()> {
    let call = renewal("revoke", deadline);
    let revoking =
        cluster.call(&call, |at: Connection| async move { at.lease().revoke(lease).await });
    match revoking.await {
        Ok(_) => Ok(()),
        Err(failure) if failure.fault.is_lease_gone() => Ok(()),
        Err(failure) => Err(failure.into_error(&call)),
    }
}

/// Renews once. Each renewal is a short stream of its own, so that it can go to another member.
async fn renew(
    cluster: &Cluster,
    lease: i64,
    operation: &'static str,
    deadline: Instant,
) -> Result<(), Failure> {
    let call = renewal(operation, deadline);
    // The client waits for the first reply, and makes an error of a time to live of zero.
    let renewing =
        cluster.call(&call, |at: Connection| async move { at.lease().keep_alive(lease).await });
    renewing.await.map(drop)
}

/// Renewing and revoking twice does no harm.
fn renewal(operation: &'static str, deadline: Instant) -> Call {
    Call { operation, lane: Lane::Leases, way: Way::Read, deadline }
}

fn expired() -> Error {
    Error::new(ErrorKind::LockLost, ETCD, "renew")
        .with_detail("no renewal was confirmed within the time to live")
}

fn gone() -> Error {
    Error::new(ErrorKind::LockLost, ETCD, "renew").with_detail("the server has ended the lease")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_tells_what_the_lease_is_for() {
        for _ in 0..100 {
            for (purpose, expected) in [
                (Purpose::Session, LifetimeKind::Ephemeral),
                (Purpose::Lock, LifetimeKind::Ephemeral),
                (Purpose::Key, LifetimeKind::Ttl),
            ] {
                let id = purpose.new_id();
                assert!(id > 0 && format!("{id:x}").starts_with("6b76"), "{id:x}");
                assert_eq!(kind(id), expected);
            }
        }
        assert_eq!(kind(0), LifetimeKind::Permanent);
        assert_eq!(kind(0x694d_8f2a), LifetimeKind::Ttl);
    }

    #[test]
    fn seconds_are_rounded_up() {
        for (millis, whole) in [(1, 1), (999, 1), (1000, 1), (1001, 2), (2000, 2)] {
            assert_eq!(seconds(Duration::from_millis(millis)), whole, "{millis}");
        }
        assert_eq!(seconds_for_key(Duration::from_secs(2)), 3);
        assert_eq!(seconds_for_key(Duration::from_millis(1_200)), 2);
        assert_eq!(seconds(Duration::MAX), i64::MAX);
    }
}
