use bytes::Bytes;
use libkv_core::{Condition, Error, ErrorKind, Expect, Fence, Key, Result, Version};

use crate::client::{Entry, Op, Refusal};
use crate::error::{CONSUL, Failure, is_denied_text, is_session_gone_text};
use crate::names::{LOCK_FLAG, Names};
use crate::rights::is_absent_text;

/// Between the name of a lock and the session that holds it, in a fence.
const HOLDER: char = '#';
/// No key has this index.
const NEVER: u64 = u64::MAX;

/// A transaction of the server, with what each of its operations is for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    ops: Vec<Op>,
    roles: Vec<Role>,
}

/// What it means that an operation was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Role {
    /// The fence's guard does not hold its lock any more.
    Held(Key),
    Absent(Key),
    Exists(Key),
    Version(Key),
    /// A write met a key that is bound to a session, or bound otherwise than it was found.
    Bound(usize),
    /// The lock is not as it was found.
    Found,
    /// The lock is held.
    Taken,
    /// It is refused by itself only where the token lacks the right, or the session is gone.
    Step,
}

/// Why a transaction was refused.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Something is not as it must be, or may not be done.
    Failed(Error),
    /// These writes met keys that are bound otherwise than was thought.
    Bound(Vec<usize>),
    /// The lock that was to be taken is held.
    Taken,
    /// Nobody holds the lock, but it is not as it was found.
    Stale,
    /// A key may not be bound for a while, since its last session did not end in an orderly way.
    Delayed,
    /// A session is gone, and which one the server's words say.
    SessionGone(String),
}

/// One write of a transaction.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) name: String,
    /// None deletes the key.
    pub(crate) value: Option<Bytes>,
    pub(crate) flags: u64,
    /// The session that the key is to be bound to.
    pub(crate) owner: Option<String>,
    /// The transaction checks that the key is absent.
    pub(crate) absent: bool,
    /// How the key is bound to another session than it is to be.
    pub(crate) bound: Option<Bound>,
}

/// A key as it was found.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    modified: u64,
    session: String,
}

impl Bound {
    /// How a key is bound; none where it is to none, or to the session that it is to be bound to.
    pub(crate) fn of(entry: Entry, wanted: Option<&str>) -> Option<Self> {
        let session = entry.session.filter(|session| Some(session.as_str()) != wanted)?;
        Some(Self { modified: entry.modify_index, session })
    }
}

impl Bound {
    /// The session that it is bound to.
    pub(crate) fn session(&self) -> &str {
        &self.session
    }
}

impl Write {
    pub(crate) fn removal(name: String) -> Self {
        Self { name, value: None, flags: 0, owner: None, absent: false, bound: None }
    }
}

impl Plan {
    pub(crate) fn ops(&self) -> &[Op] {
        &self.ops
    }

    fn push(&mut self, op: Op, role: Role) {
        self.ops.push(op);
        self.roles.push(role);
    }

    /// The lock must be held: its key must be as its guard wrote it.
    pub(crate) fn fence(&mut self, fence: &Fence, operation: &'static str) -> Result<()> {
        let checked = fence.checked(CONSUL, operation);
        let fence = checked.map_err(|error| error.with_key(fence.key()))?;
        let (name, session) = fence.node().rsplit_once(HOLDER).unwrap_or_default();
        // A session may hold the lock a second time, for another guard.
        self.hold_lock(fence.key(), name, session, fence.token().get());
        Ok(())
    }

    /// The key must be as it is expected. Returns whether that is to be absent.
    pub(crate) fn expect(
        &mut self,
        names: &Names,
        key: &Key,
        expect: Expect,
        operation: &'static str,
    ) -> Result<()> {
        match expect {
            Expect::Anything => Ok(()),
            Expect::Absent => self.condition(names, key, Condition::Absent),
            Expect::Version(version) => {
                version.checked(CONSUL, operation)?;
                self.condition(names, key, Condition::Version(version))
            }
            other => Err(unknown("an expectation", &other, operation)),
        }
    }

    /// Takes a lock that is absent, or was found free at an index.
    pub(crate) fn take_lock(&mut self, name: &str, session: &str, found: Option<u64>) {
        let name = || name.to_owned();
        let check = match found {
            None => Op::CheckNotExists { name: name() },
            Some(index) => Op::CheckIndex { name: name(), index },
        };
        self.push(check, Role::Found);
        let (value, session) = (Bytes::new(), session.to_owned());
        self.push(Op::Lock { name: name(), value, flags: LOCK_FLAG, session }, Role::Taken);
    }

    /// A lock that this session took at this index is to be held still.
    pub(crate) fn hold_lock(&mut self, key: &Key, name: &str, session: &str, token: u64) {
        let (name, session) = (name.to_owned(), session.to_owned());
        let role = || Role::Held(key.clone());
        self.push(Op::CheckIndex { name: name.clone(), index: token }, role());
        self.push(Op::CheckSession { name, session }, role());
    }

    /// A key must be as it was when it had this index.
    pub(crate) fn unchanged(&mut self, key: &Key, name: &str, index: u64) {
        let check = Op::CheckIndex { name: name.to_owned(), index };
        self.push(check, Role::Version(key.clone()));
    }

    /// A compare of a transaction.
    pub(crate) fn condition(
        &mut self,
        names: &Names,
        key: &Key,
        condition: Condition,
    ) -> Result<()> {
        let name = names.name(key);
        match condition {
            Condition::Absent => self.push(Op::CheckNotExists { name }, Role::Absent(key.clone())),
            Condition::Exists => self.push(Op::Get { name }, Role::Exists(key.clone())),
            Condition::Version(version) => {
                let index = index(version)?;
                self.push(Op::CheckIndex { name, index }, Role::Version(key.clone()));
            }
            other => return Err(unknown("a compare", &other, "txn")),
        }
        Ok(())
    }

    /// Adds a write, `at` which place among all. Whatever was there, the key's index is moved by it:
    /// the server leaves that as it is where nothing changes, so something else is written first,
    /// which nobody sees.
    pub(crate) fn write(&mut self, at: usize, write: &Write) {
        let (name, flags) = (write.name.clone(), write.flags);
        let Some(value) = write.value.clone() else {
            return self.push(Op::Delete { name }, Role::Step);
        };
        let other = placeholder(&value);
        match (&write.owner, &write.bound) {
            (None, _) if write.absent => self.push(Op::Set { name, value, flags }, Role::Step),
            (Some(owner), _) if write.absent => {
                let session = owner.clone();
                self.push(Op::Lock { name, value, flags, session }, Role::Step);
            }
            (None, None) => {
                self.push(Op::Set { name: name.clone(), value: other, flags }, Role::Step);
                let session = String::new();
                self.push(Op::CheckSession { name: name.clone(), session }, Role::Bound(at));
                self.push(Op::Set { name, value, flags }, Role::Step);
            }
            (Some(owner), None) => {
                let session = owner.clone();
                let first = Op::Lock { name: name.clone(), value: other, flags, session };
                self.push(first, Role::Bound(at));
                let session = owner.clone();
                self.push(Op::Lock { name, value, flags, session }, Role::Step);
            }
            (owner, Some(Bound { modified, session })) => {
                let check = Op::CheckIndex { name: name.clone(), index: *modified };
                self.push(check, Role::Bound(at));
                let session = session.clone();
                let Some(owner) = owner else {
                    return self.push(Op::Unlock { name, value, flags, session }, Role::Bound(at));
                };
                let free = Op::Unlock { name: name.clone(), value: other, flags, session };
                self.push(free, Role::Bound(at));
                let session = owner.clone();
                self.push(Op::Lock { name, value, flags, session }, Role::Step);
            }
        }
    }

    /// Has the transaction tell its index, which it does only where it puts something: a key that is
    /// deleted is put before that, which nobody sees.
    pub(crate) fn delete_telling(&mut self, name: &str) {
        let name = || name.to_owned();
        self.push(Op::Delete { name: name() }, Role::Step);
        let put = Op::Set { name: name(), value: Bytes::new(), flags: 0 };
        self.push(put, Role::Step);
        self.push(Op::Delete { name: name() }, Role::Step);
    }

    pub(crate) fn delete_tree(&mut self, prefix: String) {
        self.push(Op::DeleteTree { prefix }, Role::Step);
    }

    /// Why it was refused. Nothing was done.
    pub(crate) fn explain(&self, refusals: &[Refusal], operation: &'static str) -> Refused {
        // Of rights and delays the server speaks before it looks at any key.
        if let Some(denied) = refusals.iter().find(|refusal| is_denied_text(&refusal.what)) {
            return Refused::Failed(refusal(&denied.what, operation));
        }
        if refusals.iter().any(|refusal| refusal.what.contains(DELAY_TEXT)) {
            return Refused::Delayed;
        }
        let role = |refusal: &Refusal| self.roles.get(refusal.op).cloned().unwrap_or(Role::Step);
        let mut bound = Vec::new();
        let (mut gone, mut taken, mut stale) = (None, false, false);
        let mut other = None;
        for refusal in refusals {
            let absent = is_absent_text(&refusal.what);
            let (kind, key) = match role(refusal) {
                Role::Held(key) => (ErrorKind::LockLost, key),
                Role::Absent(key) => (ErrorKind::KeyExists, key),
                Role::Exists(key) => (ErrorKind::KeyNotFound, key),
                Role::Version(key) if absent => (ErrorKind::KeyNotFound, key),
                Role::Version(key) => (ErrorKind::KeyModified, key),
                Role::Bound(_) | Role::Taken | Role::Step
                    if is_session_gone_text(&refusal.what) =>
                {
                    gone.get_or_insert_with(|| refusal.what.clone());
                    continue;
                }
                Role::Bound(at) => {
                    bound.push(at);
                    continue;
                }
                Role::Taken => {
                    taken = true;
                    continue;
                }
                Role::Found => {
                    stale = true;
                    continue;
                }
                Role::Step => {
                    other.get_or_insert(&refusal.what);
                    continue;
                }
            };
            let error = Error::new(kind, CONSUL, operation).with_key(&key);
            return Refused::Failed(match kind {
                ErrorKind::LockLost => {
                    error.with_detail("the fence's guard does not hold the lock")
                }
                _ => error,
            });
        }
        bound.dedup();
        match (gone, other) {
            (Some(what), _) => Refused::SessionGone(what),
            _ if taken => Refused::Taken,
            _ if stale => Refused::Stale,
            // What follows on a write that failed fails too.
            _ if !bound.is_empty() => Refused::Bound(bound),
            (None, Some(what)) => Refused::Failed(refusal(what, operation)),
            (None, None) => Refused::Failed(
                Error::new(ErrorKind::Other, CONSUL, operation)
                    .with_detail("the server refused and did not say why"),
            ),
        }
    }
}

/// What a transaction is refused with while a lock-delay lasts (`preCheck` in `txn_endpoint.go`).
const DELAY_TEXT: &str = "due to lock delay";

fn refusal(what: &str, operation: &'static str) -> Error {
    let deadline = tokio::time::Instant::now();
    Failure::refusal(what).into_error(&crate::client::Call { operation, deadline }, true)
}

/// Something else than a value.
fn placeholder(value: &Bytes) -> Bytes {
    if value.is_empty() { Bytes::from_static(b".") } else { Bytes::new() }
}

/// What a fence says of its lock.
pub(crate) fn holder(name: &str, session: &str) -> String {
    format!("{name}{HOLDER}{session}")
}

/// The index in a version. Zero is no key's, and the server takes it for one that is never met.
fn index(version: Version) -> Result<u64> {
    let index = version.checked(CONSUL, "txn")?.last_index();
    Ok(if index == 0 { NEVER } else { index })
}

pub(crate) fn unknown(what: &str, value: &dyn std::fmt::Debug, operation: &'static str) -> Error {
    Error::new(ErrorKind::NotImplemented, CONSUL, operation)
        .with_detail(format!("{what} of {value:?}"))
}

#[cfg(test)]
mod tests;
