use std::collections::{BTreeSet, HashMap, HashSet};

use super::history::{Change, History};
use super::locks::{Attempt, Grant, Locks};
use super::time::{Time, Timers};
use crate::engine::{Id, Path};

/// What a store is, beside its records: all of it is small, and can be made again from the records
/// and the logged changes, but for the sessions and locks, which end with the process.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) revision: u64,
    pub(crate) timers: Timers,
    /// The paths that live as long as a session or a lock attempt.
    pub(crate) owned: HashMap<Id, BTreeSet<Path>>,
    /// Sessions and attempts that have ended, until the end of what they owned is stored.
    pub(crate) ended: HashSet<Id>,
    /// Locks that nobody holds although somebody may wait.
    pub(crate) free_locks: Vec<Path>,
    /// Each write looks for its own among them, and mostly there are few.
    pub(crate) sessions: BTreeSet<Id>,
    pub(crate) locks: Locks,
    pub(crate) history: History,
    /// What the world is told once it is stored.
    pub(crate) outbox: Vec<Told>,
}

/// Something to be told.
#[derive(Debug)]
pub(crate) enum Told {
    Change(Change),
    /// The attempt has its lock.
    Grant(Attempt, Grant),
    /// The watches of this session are over.
    Ended(Id),
}

impl State {
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Whether something is to be done that nobody will ask for.
    pub(crate) fn owes(&self) -> bool {
        !self.ended.is_empty() || !self.free_locks.is_empty()
    }
}
