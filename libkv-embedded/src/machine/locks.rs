use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use libkv_core::Deadline;
use tokio::sync::oneshot;

use super::time::Time;
use crate::engine::{Id, Path, Span};

/// Who holds and who waits for which lock. A queue is here as long as anybody is in it.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    queues: BTreeMap<Path, Queue>,
    paths: HashMap<Id, Path>,
}

#[derive(Debug, Default)]
struct Queue {
    holder: Option<Holder>,
    waiting: VecDeque<Attempt>,
}

#[derive(Debug)]
struct Holder {
    attempt: Id,
    session: Id,
    token: u64,
    ttl: Duration,
    until: Time,
    valid: Deadline,
    lost: oneshot::Sender<Loss>,
}

/// One attempt to get a lock.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) id: Id,
    pub(crate) session: Id,
    pub(crate) ttl: Duration,
    pub(crate) value: Option<Bytes>,
    /// What the guard reads; ended in the very moment of a loss.
    pub(crate) valid: Deadline,
    pub(crate) granted: oneshot::Sender<Grant>,
}

/// What the winner of an attempt is told.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) token: u64,
    pub(crate) until: Time,
    pub(crate) lost: oneshot::Receiver<Loss>,
}

/// Why a holder lost its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    Expired,
    Deleted,
    Closed,
}

/// A lock that somebody left.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) path: Path,
    pub(crate) attempt: Id,
    /// Until when it was held; none for one who only waited.
    pub(crate) held_until: Option<Time>,
}

impl Locks {
    pub(crate) fn is_free(&self, path: &str) -> bool {
        !self.queues.contains_key(path)
    }

    pub(crate) fn is_held_with(&self, path: &str, token: u64) -> bool {
        let holder = self.queues.get(path).and_then(|queue| queue.holder.as_ref());
        holder.is_some_and(|holder| holder.token == token)
    }

    pub(crate) fn queue(&mut self, path: &Path, attempt: Attempt) {
        self.paths.insert(attempt.id, path.clone());
        self.queues.entry(path.clone()).or_default().waiting.push_back(attempt);
    }

    /// Takes the next in the queue of a lock that nobody holds; those who left meanwhile are
    /// forgotten.
    pub(crate) fn take_next(&mut self, path: &str) -> Option<Attempt> {
        let queue = self.queues.get_mut(path).filter(|queue| queue.holder.is_none())?;
        while let Some(attempt) = queue.waiting.pop_front() {
            if !attempt.granted.is_closed() {
                return Some(attempt);
            }
            self.paths.remove(&attempt.id);
        }
        self.queues.remove(path);
        None
    }

    /// Makes an attempt the holder; the caller tells it.
    pub(crate) fn grant(
        &mut self,
        path: &Path,
        attempt: &Attempt,
        token: u64,
        until: Time,
    ) -> Grant {
        let Attempt { id, session, ttl, .. } = *attempt;
        let valid = attempt.valid.clone();
        let (lost, told_lost) = oneshot::channel();
        let holder = Holder { attempt: id, session, token, ttl, until, valid, lost };
        self.queues.entry(path.clone()).or_default().holder = Some(holder);
        Grant { token, until, lost: told_lost }
    }

    /// Makes a holder that was not told yet the first of those who wait.
    pub(crate) fn take_back(&mut self, attempt: Attempt) {
        let queue = self.paths.get(&attempt.id).and_then(|path| self.queues.get_mut(path));
        let Some(queue) = queue else {
            return;
        };
        if queue.holder.take_if(|holder| holder.attempt == attempt.id).is_some() {
            queue.waiting.push_front(attempt);
        }
    }

    /// The locks that nobody holds although somebody waits.
    pub(crate) fn unheld(&self) -> Vec<Path> {
        let unheld = self.queues.iter().filter(|(_, queue)| queue.holder.is_none());
        unheld.map(|(path, _)| path.clone()).collect()
    }

    /// Moves a holder's end to its time to live after `now`; returns the old and the new end.
    pub(crate) fn renew(&mut self, attempt: Id, now: Time) -> Option<(Time, Time)> {
        let queue = self.queues.get_mut(self.paths.get(&attempt)?)?;
        let holder = queue.holder.as_mut().filter(|holder| holder.attempt == attempt)?;
        let old = std::mem::replace(&mut holder.until, now.after(holder.ttl));
        Some((old, holder.until))
    }

    /// Takes an attempt out, held or waiting. Nobody is told and nobody is next yet.
    pub(crate) fn leave(&mut self, attempt: Id) -> Option<Left> {
        self.remove(attempt, None)
    }

    /// Takes the lock away from a holder and tells it why.
    pub(crate) fn lose(&mut self, attempt: Id, loss: Loss) -> Option<Left> {
        self.remove(attempt, Some(loss))
    }

    fn remove(&mut self, attempt: Id, loss: Option<Loss>) -> Option<Left> {
        let path = self.paths.remove(&attempt)?;
        let queue = self.queues.get_mut(&path)?;
        queue.waiting.retain(|waiting| waiting.id != attempt);
        let holder = queue.holder.take_if(|holder| holder.attempt == attempt);
        let held_until = holder.as_ref().map(|holder| holder.until);
        if let (Some(holder), Some(loss)) = (holder, loss) {
            // Before anybody else is next, so that two guards never both hold.
            holder.valid.expire();
            // Without a listener the attempt is being released already.
            let _ = holder.lost.send(loss);
        }
        if queue.holder.is_none() && queue.waiting.is_empty() {
            self.queues.remove(&path);
        }
        Some(Left { path, attempt, held_until })
    }

    /// When the locks that are held end.
    pub(crate) fn ends(&self) -> Vec<(Time, Id)> {
        let holders = self.queues.values().filter_map(|queue| queue.holder.as_ref());
        holders.map(|holder| (holder.until, holder.attempt)).collect()
    }

    /// The attempts of a session, waiters first, so that none of them is next when another leaves.
    pub(crate) fn of_session(&self, session: Id) -> Vec<Id> {
        let waiters = self.queues.values().flat_map(|queue| &queue.waiting);
        let waiters =
            waiters.filter(|attempt| attempt.session == session).map(|attempt| attempt.id);
        let holders = self.queues.values().filter_map(|queue| queue.holder.as_ref());
        let holders =
            holders.filter(|holder| holder.session == session).map(|holder| holder.attempt);
        waiters.chain(holders).collect()
    }

    /// The holders of the locks on a directory and below it.
    pub(crate) fn holders_in(&self, dir: Option<&str>, below: &Span) -> Vec<Id> {
        let inside = |path: &Path| dir == Some(&**path) || below.holds(path);
        let holders = self.queues.iter().filter(|(path, _)| inside(path));
        holders.filter_map(|(_, queue)| Some(queue.holder.as_ref()?.attempt)).collect()
    }
}
