//! The one state machine: every change of a store is a [`Request`], and they happen in order.
//!
//! A store in memory does a request where it is made. A store on disk has a thread that does all
//! requests which wait, stores them together, and tells the world afterwards.

mod answer;
mod disk;
mod history;
mod locks;
mod memory;
mod request;
mod state;
mod time;
mod turn;
mod watchers;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use libkv_core::Result;

use self::disk::OnDisk;
use self::memory::InMemory;
use self::state::Told;
use self::watchers::Watchers;
use crate::engine::{Engine, File, FileView, Id, Record, Span, Visit};

pub(crate) use self::answer::Answering;
pub(crate) use self::history::{Change, History};
pub(crate) use self::locks::{Attempt, Grant, Loss};
pub(crate) use self::request::{
    Check, Commit, DeleteTree, EndSession, Fault, JoinLock, LeaveLock, Life, OpenSession,
    RenewLock, Request, Write,
};
pub(crate) use self::state::State;
pub(crate) use self::time::{Clock, Due, Time};
pub(crate) use self::watchers::{Buffer, Found};

/// A state machine that many sessions share.
#[derive(Debug)]
pub(crate) struct Machine {
    keeping: Keeping,
    clock: Clock,
    watchers: Arc<Mutex<Watchers>>,
    last_id: AtomicU64,
}

#[derive(Debug)]
enum Keeping {
    Memory(Arc<InMemory>),
    Disk(OnDisk),
}

impl Machine {
    /// Starts an empty machine in memory.
    pub(crate) fn in_memory(runtime: &tokio::runtime::Handle) -> Arc<Self> {
        let (clock, watchers) = (Clock::start(), Arc::default());
        let memory = InMemory::start(runtime, clock, Arc::clone(&watchers));
        Arc::new(Self { keeping: Keeping::Memory(memory), clock, watchers, last_id: 0.into() })
    }

    /// Starts a machine on an opened file.
    pub(crate) fn on_disk(file: File) -> Result<Arc<Self>> {
        let (clock, watchers) = (Clock::start_at_time_of_day(), Arc::default());
        let disk = OnDisk::start(Arc::new(file), clock, Arc::clone(&watchers))?;
        Ok(Arc::new(Self { keeping: Keeping::Disk(disk), clock, watchers, last_id: 0.into() }))
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// A number that no session and no attempt of this process has had.
    pub(crate) fn new_id(&self) -> Id {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Makes a request; the answer is there when it is done and stored.
    ///
    /// Requests take their turn in the order in which they are made, also where nobody waits for
    /// the answer any more.
    pub(crate) fn ask<R: Request>(&self, request: R) -> Answering<R::Answer> {
        match &self.keeping {
            Keeping::Memory(memory) => Answering::Known(Some(memory.ask(request))),
            Keeping::Disk(disk) => disk.ask(request),
        }
    }

    /// Reads one record.
    pub(crate) fn get(&self, path: &str) -> Result<Option<Record>> {
        match &self.keeping {
            Keeping::Memory(memory) => memory.read(|_, engine| engine.get(path)),
            Keeping::Disk(disk) => disk.get(path),
        }
    }

    /// Looks at the records as they are at one moment; `look` gets their revision.
    pub(crate) fn look<T>(&self, look: impl FnOnce(u64, &dyn Records) -> Result<T>) -> Result<T> {
        match &self.keeping {
            Keeping::Memory(memory) => {
                memory.read(|state, engine| look(state.revision, &InTurn(engine)))
            }
            Keeping::Disk(disk) => {
                let view = disk.view()?;
                look(view.revision(), &view)
            }
        }
    }

    /// The records as they are now, to be read bit by bit; none for a store in memory, which is
    /// read at once.
    pub(crate) fn lasting_view(&self) -> Result<Option<FileView>> {
        match &self.keeping {
            Keeping::Memory(_) => Ok(None),
            Keeping::Disk(disk) => disk.view().map(Some),
        }
    }

    /// The revision of what is stored.
    pub(crate) fn revision(&self) -> Result<u64> {
        match &self.keeping {
            Keeping::Memory(memory) => memory.read(|state, _| Ok(state.revision)),
            Keeping::Disk(disk) => Ok(disk.revision()),
        }
    }

    /// Looks at the latest changes that are stored; `look` gets the revision of the last one.
    pub(crate) fn look_back<T>(&self, look: impl FnOnce(&History, u64) -> Result<T>) -> Result<T> {
        match &self.keeping {
            Keeping::Memory(memory) => memory.read(|state, _| look(&state.history, state.revision)),
            Keeping::Disk(disk) => disk.look_back(look),
        }
    }

    pub(crate) fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records to be read.
pub(crate) trait Records {
    fn get(&self, path: &str) -> Result<Option<Record>>;
    fn scan(&self, span: &Span, visit: Visit<'_>) -> Result<()>;
}

struct InTurn<'a>(&'a dyn Engine);

impl Records for InTurn<'_> {
    fn get(&self, path: &str) -> Result<Option<Record>> {
        self.0.get(path)
    }

    fn scan(&self, span: &Span, visit: Visit<'_>) -> Result<()> {
        self.0.scan(span, visit)
    }
}

impl Records for FileView {
    fn get(&self, path: &str) -> Result<Option<Record>> {
        Self::get(self, path)
    }

    fn scan(&self, span: &Span, visit: Visit<'_>) -> Result<()> {
        Self::scan(self, span, visit)
    }
}

/// Tells the world what is stored now. Returns the consumers to be woken once no lock is held: what
/// they do then is their own affair.
#[must_use]
fn deliver(state: &mut State, watchers: &Mutex<Watchers>) -> Vec<Waker> {
    let mut woken = Vec::new();
    state.ended.clear();
    if state.outbox.is_empty() {
        return woken;
    }
    let mut watchers = watchers.lock().unwrap_or_else(PoisonError::into_inner);
    for told in state.outbox.drain(..) {
        match told {
            Told::Change(change) => watchers.publish(&change, &mut woken),
            Told::Ended(session) => watchers.close(session, &mut woken),
            // Who left in this very moment releases by its id.
            Told::Grant(attempt, grant) => drop(attempt.granted.send(grant)),
        }
    }
    woken
}
