//! The one state machine: every change of a store goes through [`State`], in order.

mod history;
mod locks;
mod state;
mod time;
mod watchers;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use libkv_core::Result;
use tokio::sync::watch;

use crate::engine::Memory;

pub(crate) use self::history::Change;
pub(crate) use self::locks::{Attempt, Grant, Loss};
pub(crate) use self::state::{Check, Fault, State, Write};
pub(crate) use self::time::{Clock, Time};
pub(crate) use self::watchers::{Buffer, Found};

/// A state machine that many handles share, with the clock that makes things due.
#[derive(Debug)]
pub(crate) struct Machine {
    state: Mutex<State<Memory>>,
    clock: Clock,
    /// Tells the timer task when something is due next. It ends when this is dropped.
    next_due: watch::Sender<Option<Time>>,
}

impl Machine {
    /// Starts an empty machine and the task that makes its timers fire.
    pub(crate) fn start(runtime: &tokio::runtime::Handle) -> Arc<Self> {
        let (next_due, due) = watch::channel(None);
        let state = Mutex::new(State::new(Memory::default()));
        let machine = Arc::new(Self { state, clock: Clock::start(), next_due });
        runtime.spawn(run_timers(Arc::downgrade(&machine), machine.clock, due));
        machine
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Works on the state as it is now: what is due has happened before.
    pub(crate) fn with<T, E: From<libkv_core::Error>>(
        &self,
        work: impl FnOnce(&mut State<Memory>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.next_due().is_some() {
            state.expire(self.clock.now())?;
        }
        let done = work(&mut state);
        let next = state.next_due();
        self.next_due.send_if_modified(|told| std::mem::replace(told, next) != next);
        done
    }
}

/// Makes what is due happen on time, also when nobody calls. The store's end is its own: the
/// machine drops the sending side.
async fn run_timers(machine: Weak<Machine>, clock: Clock, mut due: watch::Receiver<Option<Time>>) {
    loop {
        let next = *due.borrow_and_update();
        let changed = match next {
            None => due.changed().await,
            Some(time) => tokio::select! {
                changed = due.changed() => changed,
                () = tokio::time::sleep_until(clock.instant(time)) => Ok(()),
            },
        };
        let Some(machine) = machine.upgrade().filter(|_| changed.is_ok()) else {
            return;
        };
        if let Err(error) = machine.with(|_| Ok::<_, libkv_core::Error>(())) {
            tracing::warn!(%error, "what was due could not be done");
        }
    }
}
