//! What handles ask of the state machine: plain data, so that a request can wait for its turn.

use std::time::Duration;

use bytes::Bytes;
use libkv_core::{Error, ErrorKind, Result};

use super::locks::Attempt;
use super::time::Time;
use super::turn::Turn;
use crate::engine::{Id, Path, Span};

/// Something that happens to the state in one step.
pub(crate) trait Request: Send + 'static {
    type Answer: Send + Unpin + 'static;

    fn apply(self, turn: &mut Turn<'_>) -> Result<Self::Answer, Fault>;
}

/// Why nothing was written.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The check of this position failed.
    Refused { check: usize, kind: ErrorKind },
    /// The handle's session has ended.
    Closed,
    /// The engine failed, or could not be asked.
    Engine(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// What must be true for a write to happen.
#[derive(Debug)]
pub(crate) enum Check {
    Absent(Path),
    Exists(Path),
    Revision(Path, u64),
    /// The lock is held with this token.
    Held(Path, u64),
}

/// One key's write.
#[derive(Debug)]
pub(crate) enum Write {
    Put(Path, Bytes, Life),
    Delete(Path),
}

/// How long a put key is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Permanent,
    For(Duration),
    Session,
}

/// Begins a session.
#[derive(Debug)]
pub(crate) struct OpenSession(pub(crate) Id);

impl Request for OpenSession {
    type Answer = ();

    fn apply(self, turn: &mut Turn<'_>) -> Result<(), Fault> {
        turn.state.sessions.insert(self.0);
        Ok(())
    }
}

/// Ends a session: its locks, its ephemeral keys and its watches.
#[derive(Debug)]
pub(crate) struct EndSession(pub(crate) Id);

impl Request for EndSession {
    type Answer = ();

    fn apply(self, turn: &mut Turn<'_>) -> Result<(), Fault> {
        Ok(turn.end_session(self.0)?)
    }
}

/// Checks, then writes everything in one revision, or nothing. The answer is the revision.
///
/// Most writes are of one key: an array of one needs no memory of its own.
#[derive(Debug)]
pub(crate) struct Commit<W> {
    pub(crate) session: Id,
    pub(crate) checks: Vec<Check>,
    pub(crate) writes: W,
}

impl<W: IntoIterator<Item = Write> + Send + 'static> Request for Commit<W> {
    type Answer = u64;

    fn apply(self, turn: &mut Turn<'_>) -> Result<u64, Fault> {
        turn.demand_session(self.session)?;
        turn.check(&self.checks)?;
        Ok(turn.write(self.writes, self.session)?)
    }
}

/// Deletes a directory and all below it in one revision, and takes the locks there away.
#[derive(Debug)]
pub(crate) struct DeleteTree {
    pub(crate) session: Id,
    pub(crate) checks: Vec<Check>,
    /// The directory itself, where it is a key.
    pub(crate) dir: Option<Path>,
    pub(crate) below: Span,
}

impl Request for DeleteTree {
    type Answer = ();

    fn apply(self, turn: &mut Turn<'_>) -> Result<(), Fault> {
        turn.demand_session(self.session)?;
        turn.check(&self.checks)?;
        Ok(turn.delete_tree(self.dir, &self.below)?)
    }
}

/// Queues for a lock, or takes it at once where it is free. Who does not want to wait is told no.
#[derive(Debug)]
pub(crate) struct JoinLock {
    pub(crate) path: Path,
    pub(crate) may_wait: bool,
    pub(crate) attempt: Attempt,
}

impl Request for JoinLock {
    type Answer = bool;

    fn apply(self, turn: &mut Turn<'_>) -> Result<bool, Fault> {
        turn.demand_session(self.attempt.session)?;
        if !self.may_wait && !turn.state.locks.is_free(&self.path) {
            return Ok(false);
        }
        turn.state.locks.queue(&self.path, self.attempt);
        turn.grant_next(&self.path)?;
        Ok(true)
    }
}

/// Moves the end of a lock that is held. The answer is the new end.
#[derive(Debug)]
pub(crate) struct RenewLock(pub(crate) Id);

impl Request for RenewLock {
    type Answer = Option<Time>;

    fn apply(self, turn: &mut Turn<'_>) -> Result<Option<Time>, Fault> {
        Ok(turn.renew_lock(self.0))
    }
}

/// Gives a lock back, or a place in its queue. False where there was neither.
#[derive(Debug)]
pub(crate) struct LeaveLock(pub(crate) Id);

impl Request for LeaveLock {
    type Answer = bool;

    fn apply(self, turn: &mut Turn<'_>) -> Result<bool, Fault> {
        Ok(turn.leave_lock(self.0)?)
    }
}
