use libkv_core::{ErrorKind, Result};

use super::history::Change;
use super::locks::{Left, Loss};
use super::request::{Check, Fault, Life, Write};
use super::state::{State, Told};
use super::time::{Due, Now, Time};
use crate::engine::{Engine, Id, Owner, Path, Record, Span};

/// The state with its records at one moment, for one request.
pub(crate) struct Turn<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) engine: &'a mut dyn Engine,
    pub(crate) now: Now,
}

impl Turn<'_> {
    /// Does what is due, in the order of time, and what ended sessions still owe.
    pub(crate) fn catch_up(&mut self) -> Result<()> {
        while let Some(due) = self.take_due() {
            match due {
                Due::Key(path) => {
                    self.write([Write::Delete(path)], 0)?;
                }
                Due::Lock(attempt) => self.lose_lock(attempt, Loss::Expired)?,
            }
        }
        if !self.state.owes() {
            return Ok(());
        }
        let ended: Vec<Id> = self.state.ended.iter().copied().collect();
        ended.into_iter().try_for_each(|owner| self.drop_owned(owner))?;
        let free = std::mem::take(&mut self.state.free_locks);
        free.into_iter().try_for_each(|path| self.grant_next(&path))
    }

    fn take_due(&mut self) -> Option<Due> {
        // Where nothing will ever be due, the time does not matter.
        self.state.next_due()?;
        self.state.timers.take_due(self.now.get())
    }

    pub(crate) fn demand_session(&self, session: Id) -> Result<(), Fault> {
        if self.state.sessions.contains(&session) { Ok(()) } else { Err(Fault::Closed) }
    }

    pub(crate) fn check(&self, checks: &[Check]) -> Result<(), Fault> {
        for (position, check) in checks.iter().enumerate() {
            if let Some(kind) = self.refuse(check)? {
                return Err(Fault::Refused { check: position, kind });
            }
        }
        Ok(())
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
            (Check::Held(path, token), _) if !self.state.locks.is_held_with(path, *token) => {
                Some(ErrorKind::LockLost)
            }
            _ => None,
        })
    }

    /// Writes everything in one revision, which is returned. Deleting what is not there is nothing,
    /// and where all is nothing there is no new revision.
    pub(crate) fn write(
        &mut self,
        writes: impl IntoIterator<Item = Write>,
        session: Id,
    ) -> Result<u64> {
        let revision = self.state.revision + 1;
        for write in writes {
            match write {
                Write::Put(path, value, life) => {
                    let owner = match life {
                        Life::Permanent => Owner::Nobody,
                        Life::For(ttl) => Owner::Until(self.now.get().after(ttl)),
                        Life::Session => Owner::Session(session),
                    };
                    self.put(path, Record { value, revision, owner })?;
                }
                Write::Delete(path) => self.delete(path, revision)?,
            }
        }
        Ok(self.state.revision)
    }

    fn put(&mut self, path: Path, record: Record) -> Result<()> {
        let old = self.engine.put(&path, &record)?;
        self.change_owner(&path, old, record.owner);
        let (revision, existed) = (record.revision, old.is_some());
        self.note(Change { revision, path, record: Some(record), existed })
    }

    fn delete(&mut self, path: Path, revision: u64) -> Result<()> {
        let Some(old) = self.engine.remove(&path)? else {
            return Ok(());
        };
        self.change_owner(&path, Some(old), Owner::Nobody);
        self.note(Change { revision, path, record: None, existed: true })
    }

    fn note(&mut self, change: Change) -> Result<()> {
        self.state.revision = change.revision;
        self.engine.log(&change)?;
        if let Some(floor) = self.state.history.push(change.clone()) {
            self.engine.forget(floor)?;
        }
        self.state.outbox.push(Told::Change(change));
        Ok(())
    }

    fn change_owner(&mut self, path: &Path, old: Option<Owner>, new: Owner) {
        match old.unwrap_or(Owner::Nobody) {
            Owner::Nobody => {}
            Owner::Until(time) => self.state.timers.clear(time, Due::Key(path.clone())),
            Owner::Session(id) | Owner::Guard(id) => {
                if let Some(paths) = self.state.owned.get_mut(&id) {
                    paths.remove(path);
                }
            }
        }
        match new {
            Owner::Nobody => {}
            Owner::Until(time) => self.state.timers.set(time, Due::Key(path.clone())),
            Owner::Session(id) | Owner::Guard(id) => {
                self.state.owned.entry(id).or_default().insert(path.clone());
            }
        }
    }

    pub(crate) fn delete_tree(&mut self, dir: Option<Path>, below: &Span) -> Result<()> {
        let locks = self.state.locks.holders_in(dir.as_deref(), below);
        let mut paths: Vec<Path> = dir.into_iter().collect();
        self.engine.scan(below, &mut |path, _| {
            paths.push(path);
            true
        })?;
        self.write(paths.into_iter().map(Write::Delete), 0)?;
        locks.into_iter().try_for_each(|attempt| self.lose_lock(attempt, Loss::Deleted))
    }

    pub(crate) fn end_session(&mut self, session: Id) -> Result<()> {
        if !self.state.sessions.remove(&session) {
            return Ok(());
        }
        // What cannot fail comes first: what is left to do then is known, and done later.
        self.state.outbox.push(Told::Ended(session));
        self.state.ended.insert(session);
        let attempts = self.state.locks.of_session(session);
        let lost = attempts.into_iter().filter_map(|id| self.state.locks.lose(id, Loss::Closed));
        let left: Vec<Left> = lost.collect();
        let held = left.iter().filter(|left| left.held_until.is_some());
        self.state.ended.extend(held.map(|left| left.attempt));
        left.into_iter().try_for_each(|left| self.after_leaving(left))?;
        self.drop_owned(session)
    }

    /// Gives a free lock to the next in its queue. A revision is the token, so that tokens grow
    /// whatever becomes of the lock and its key.
    pub(crate) fn grant_next(&mut self, path: &Path) -> Result<()> {
        let Some(attempt) = self.state.locks.take_next(path) else {
            return Ok(());
        };
        let revision = self.state.revision + 1;
        let id = attempt.id;
        let stored = match attempt.value.clone() {
            Some(value) => {
                self.put(path.clone(), Record { value, revision, owner: Owner::Guard(id) })
            }
            None => self.engine.reserve(revision),
        };
        self.state.revision = revision;
        let until = self.now.get().after(attempt.ttl);
        self.state.timers.set(until, Due::Lock(id));
        let grant = self.state.locks.grant(path, &attempt, revision, until);
        self.state.outbox.push(Told::Grant(attempt, grant));
        stored
    }

    pub(crate) fn renew_lock(&mut self, attempt: Id) -> Option<Time> {
        let (old, new) = self.state.locks.renew(attempt, self.now.get())?;
        self.state.timers.clear(old, Due::Lock(attempt));
        self.state.timers.set(new, Due::Lock(attempt));
        Some(new)
    }

    pub(crate) fn leave_lock(&mut self, attempt: Id) -> Result<bool> {
        let Some(left) = self.state.locks.leave(attempt) else {
            return Ok(false);
        };
        self.after_leaving(left)?;
        Ok(true)
    }

    pub(crate) fn lose_lock(&mut self, attempt: Id, loss: Loss) -> Result<()> {
        match self.state.locks.lose(attempt, loss) {
            Some(left) => self.after_leaving(left),
            None => Ok(()),
        }
    }

    fn after_leaving(&mut self, left: Left) -> Result<()> {
        if let Some(until) = left.held_until {
            self.state.timers.clear(until, Due::Lock(left.attempt));
            self.drop_owned(left.attempt)?;
        }
        self.grant_next(&left.path)
    }

    /// Deletes what lived as long as a session or an attempt, in one revision.
    fn drop_owned(&mut self, owner: Id) -> Result<()> {
        self.state.ended.insert(owner);
        let paths = self.state.owned.get(&owner).cloned().unwrap_or_default();
        self.write(paths.into_iter().map(Write::Delete), 0)?;
        self.state.owned.remove(&owner);
        Ok(())
    }
}
