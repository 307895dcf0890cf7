use std::collections::{BTreeSet, HashMap};

use libkv_core::{Error, ErrorKind, Result};

use super::history::{Change, History};
use super::locks::{Attempt, Left, Locks, Loss};
use super::time::{Due, Time, Timers};
use super::watchers::Watchers;
use crate::engine::{Engine, Id, Owner, Path, Record, Span};

/// Everything that a store is. It knows no clock: time is passed in.
#[derive(Debug)]
pub(crate) struct State<E> {
    engine: E,
    revision: u64,
    timers: Timers,
    /// The paths that live as long as a session or a lock attempt.
    owned: HashMap<Id, BTreeSet<Path>>,
    pub(crate) locks: Locks,
    pub(crate) history: History,
    pub(crate) watchers: Watchers,
    last_id: Id,
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
    Put(Path, bytes::Bytes, Owner),
    Delete(Path),
}

/// Why nothing was written.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The check of this position failed.
    Refused {
        check: usize,
        kind: ErrorKind,
    },
    Engine(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl<E: Engine> State<E> {
    pub(crate) fn new(engine: E) -> Self {
        Self {
            engine,
            revision: 0,
            timers: Timers::default(),
            owned: HashMap::new(),
            locks: Locks::default(),
            history: History::default(),
            watchers: Watchers::default(),
            last_id: 0,
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn next_due(&self) -> Option<Time> {
        self.timers.next()
    }

    /// A number that no session and no attempt has had.
    pub(crate) fn new_id(&mut self) -> Id {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn get(&self, path: &str) -> Result<Option<Record>> {
        self.engine.get(path)
    }

    pub(crate) fn scan(
        &self,
        span: &Span,
        visit: &mut dyn FnMut(&Path, &Record) -> bool,
    ) -> Result<()> {
        self.engine.scan(span, visit)
    }

    /// Checks, then writes everything in one revision, or nothing. Returns the revision.
    pub(crate) fn commit(&mut self, checks: &[Check], writes: Vec<Write>) -> Result<u64, Fault> {
        for (position, check) in checks.iter().enumerate() {
            if let Some(kind) = self.refuse(check)? {
                return Err(Fault::Refused { check: position, kind });
            }
        }
        Ok(self.write(writes)?)
    }

    fn refuse(&self, check: &Check) -> Result<Option<ErrorKind>> {
        let found = match check {
            Check::Absent(path) | Check::Exists(path) | Check::Revision(path, _) => {
                self.engine.get(path)?
            }
            Check::Held(..) => None,
        };
        Ok(match (check, found) {
            (Check::Absent(_), Some(_)) => Some(ErrorKind::KeyExists),
            (Check::Exists(_) | Check::Revision(..), None) => Some(ErrorKind::KeyNotFound),
            (Check::Revision(_, wanted), Some(record)) if record.revision != *wanted => {
                Some(ErrorKind::KeyModified)
            }
            (Check::Held(path, token), _) if !self.locks.is_held_with(path, *token) => {
                Some(ErrorKind::LockLost)
            }
            _ => None,
        })
    }

    /// Writes everything in one revision. Deleting what is not there is nothing, and where all is
    /// nothing there is no new revision.
    fn write(&mut self, writes: Vec<Write>) -> Result<u64> {
        let revision = self.revision + 1;
        for write in writes {
            let (path, new) = match write {
                Write::Put(path, value, owner) => (path, Some(Record { value, revision, owner })),
                Write::Delete(path) => (path, None),
            };
            let old = self.engine.get(&path)?;
            match &new {
                Some(record) => self.engine.put(&path, record.clone())?,
                None if old.is_some() => self.engine.remove(&path)?,
                None => continue,
            }
            self.revision = revision;
            self.change_owner(&path, old.as_ref(), new.as_ref());
            let change = Change { revision, path, record: new, existed: old.is_some() };
            self.watchers.publish(&change);
            self.history.push(change);
        }
        Ok(self.revision)
    }

    fn change_owner(&mut self, path: &Path, old: Option<&Record>, new: Option<&Record>) {
        let owner = |record: Option<&Record>| record.map_or(Owner::Nobody, |record| record.owner);
        match owner(old) {
            Owner::Nobody => {}
            Owner::Until(time) => self.timers.clear(time, Due::Key(path.clone())),
            Owner::Session(id) | Owner::Guard(id) => {
                if let Some(paths) = self.owned.get_mut(&id) {
                    paths.remove(path);
                    if paths.is_empty() {
                        self.owned.remove(&id);
                    }
                }
            }
        }
        match owner(new) {
            Owner::Nobody => {}
            Owner::Until(time) => self.timers.set(time, Due::Key(path.clone())),
            Owner::Session(id) | Owner::Guard(id) => {
                self.owned.entry(id).or_default().insert(path.clone());
            }
        }
    }

    /// Deletes a directory and all below it in one revision, and takes the locks there away.
    pub(crate) fn delete_tree(
        &mut self,
        checks: &[Check],
        dir: Option<&Path>,
        below: &Span,
        now: Time,
    ) -> Result<(), Fault> {
        let mut writes: Vec<Write> =
            dir.map(|dir| Write::Delete(dir.clone())).into_iter().collect();
        self.engine.scan(below, &mut |path, _| {
            writes.push(Write::Delete(path.clone()));
            true
        })?;
        self.commit(checks, writes)?;
        for attempt in self.locks.holders_in(dir.map(|dir| &**dir), below) {
            self.lose_lock(attempt, Loss::Deleted, now)?;
        }
        Ok(())
    }

    /// Does what is due at `now`, in the order of time.
    pub(crate) fn expire(&mut self, now: Time) -> Result<()> {
        while let Some(due) = self.timers.take_due(now) {
            match due {
                Due::Key(path) => {
                    self.write(vec![Write::Delete(path)])?;
                }
                Due::Lock(attempt) => self.lose_lock(attempt, Loss::Expired, now)?,
            }
        }
        Ok(())
    }

    /// Ends a handle: its locks, its ephemeral keys and its watches.
    pub(crate) fn end_handle(&mut self, handle: Id, now: Time) -> Result<()> {
        for attempt in self.locks.of_handle(handle) {
            self.lose_lock(attempt, Loss::Closed, now)?;
        }
        self.drop_owned(handle)?;
        self.watchers.close(handle);
        Ok(())
    }

    /// Queues for a lock, or takes it at once where it is free.
    pub(crate) fn join_lock(&mut self, path: &Path, attempt: Attempt, now: Time) -> Result<()> {
        self.locks.queue(path, attempt);
        self.grant_next(path, now)
    }

    /// Moves the end of a lock that is held; returns the new end.
    pub(crate) fn renew_lock(&mut self, attempt: Id, now: Time) -> Option<Time> {
        let (old, new) = self.locks.renew(attempt, now)?;
        self.timers.clear(old, Due::Lock(attempt));
        self.timers.set(new, Due::Lock(attempt));
        Some(new)
    }

    /// Gives a lock back, or a place in its queue. False where there was neither.
    pub(crate) fn leave_lock(&mut self, attempt: Id, now: Time) -> Result<bool> {
        let Some(left) = self.locks.leave(attempt) else {
            return Ok(false);
        };
        self.after_leaving(left, now)?;
        Ok(true)
    }

    fn lose_lock(&mut self, attempt: Id, loss: Loss, now: Time) -> Result<()> {
        match self.locks.lose(attempt, loss) {
            Some(left) => self.after_leaving(left, now),
            None => Ok(()),
        }
    }

    fn after_leaving(&mut self, left: Left, now: Time) -> Result<()> {
        if let Some(until) = left.held_until {
            self.timers.clear(until, Due::Lock(left.attempt));
            self.drop_owned(left.attempt)?;
        }
        self.grant_next(&left.path, now)
    }

    /// Deletes what lived as long as a session or an attempt, in one revision.
    fn drop_owned(&mut self, owner: Id) -> Result<()> {
        let paths = self.owned.remove(&owner).unwrap_or_default();
        self.write(paths.into_iter().map(Write::Delete).collect())?;
        Ok(())
    }

    /// Gives a free lock to the next in its queue. Its revision is the token, so that tokens grow
    /// whatever becomes of the lock and its key.
    fn grant_next(&mut self, path: &Path, now: Time) -> Result<()> {
        let Some(mut attempt) = self.locks.take_next(path) else {
            return Ok(());
        };
        match attempt.value.take() {
            Some(value) => {
                self.write(vec![Write::Put(path.clone(), value, Owner::Guard(attempt.id))])?;
            }
            None => self.revision += 1,
        }
        let until = now.after(attempt.ttl);
        self.timers.set(until, Due::Lock(attempt.id));
        self.locks.grant(path, attempt, self.revision, until);
        Ok(())
    }
}
