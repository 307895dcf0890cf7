use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libkv_core::SessionState;
use tokio::time::Instant;

use crate::kept::Kept;

/// How many sessions a handle keeps for its next locks.
const MOST: usize = 16;
/// A session that lives longer is not kept: whoever lists the server's sessions would wonder.
const LONGEST_TTL: Duration = Duration::from_secs(60);

/// Sessions of locks that were given back, for the next locks of their handle.
///
/// A lock that is taken again and again then costs neither the making nor the end of a session, each
/// of which goes through the servers' log. Nobody renews a spare, so one that is not wanted ends by
/// itself.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Vec<Kept>>);

impl Spares {
    /// Takes a session with this time to live that is as good as a new one: less than a third of it
    /// has passed.
    pub(crate) fn take(&self, ttl: Duration) -> Option<Kept> {
        let (now, mut spares) = (Instant::now().into_std(), self.inner());
        spares.retain(|kept| {
            now < kept.life.next_renewal() && kept.life.state(now) == SessionState::Connected
        });
        let at = spares.iter().rposition(|kept| kept.ttl() == ttl)?;
        Some(spares.swap_remove(at))
    }

    /// Keeps a session that nothing depends on; returns it where it is not worth keeping.
    pub(crate) fn keep(&self, kept: Kept) -> Option<Kept> {
        let mut spares = self.inner();
        if spares.len() >= MOST || kept.ttl() > LONGEST_TTL {
            return Some(kept);
        }
        spares.push(kept);
        None
    }

    /// Takes all of them, to be ended.
    pub(crate) fn drain(&self) -> Vec<String> {
        self.inner().drain(..).map(|kept| kept.id).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
