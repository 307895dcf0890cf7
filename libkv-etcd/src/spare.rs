use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libkv_core::SessionState;
use tokio::time::Instant;

use crate::lease::Lease;

/// How many leases a handle keeps for its next locks.
const MOST: usize = 16;
/// A lease that lives longer is not kept: whoever lists the server's leases would wonder about it.
const LONGEST_TTL: Duration = Duration::from_secs(60);

/// Leases of locks that were given back, for the next locks of their handle.
///
/// A lock that is taken again and again then costs neither a grant nor an end, and the end of a
/// lease is what a server does slowest: it deletes it from its database, which is committed to the
/// disk at once (`Unlock` in etcd's `batch_tx.go`). Nobody renews a spare, so one that is not
/// wanted ends by itself.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Vec<Lease>>);

impl Spares {
    /// Takes a lease with this time to live that is as good as a new one: less than a third of it
    /// has passed.
    pub(crate) fn take(&self, ttl: Duration) -> Option<Lease> {
        let (now, mut spares) = (Instant::now().into_std(), self.inner());
        spares.retain(|lease| {
            now < lease.life.next_renewal() && lease.life.state(now) == SessionState::Connected
        });
        let at = spares.iter().rposition(|lease| lease.ttl() == ttl)?;
        Some(spares.swap_remove(at))
    }

    /// Keeps a lease that nothing depends on; returns it where it is not worth keeping.
    pub(crate) fn keep(&self, lease: Lease) -> Option<Lease> {
        let mut spares = self.inner();
        if spares.len() >= MOST || lease.ttl() > LONGEST_TTL {
            return Some(lease);
        }
        spares.push(lease);
        None
    }

    /// Takes all of them, to be ended.
    pub(crate) fn drain(&self) -> Vec<i64> {
        self.inner().drain(..).map(|lease| lease.id).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Vec<Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
