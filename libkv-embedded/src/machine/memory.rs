use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use libkv_core::{Error, Result};
use tokio::sync::watch;

use super::deliver;
use super::request::{Fault, Request};
use super::state::State;
use super::time::{Clock, Now, Time};
use super::turn::Turn;
use super::watchers::Watchers;
use crate::engine::{Engine, Memory};

/// A machine whose records are in memory: a request is done where it is made.
#[derive(Debug)]
pub(crate) struct InMemory {
    inner: Mutex<Inner>,
    clock: Clock,
    watchers: Arc<Mutex<Watchers>>,
    /// Tells the timer task when something is due next. It ends when this is dropped.
    next_due: watch::Sender<Option<Time>>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    records: Memory,
    /// What the timer task was told last, to be compared without asking its channel.
    told: Option<Time>,
}

impl InMemory {
    /// Starts an empty machine and the task that makes its timers fire.
    pub(crate) fn start(
        runtime: &tokio::runtime::Handle,
        clock: Clock,
        watchers: Arc<Mutex<Watchers>>,
    ) -> Arc<Self> {
        let (next_due, due) = watch::channel(None);
        let machine = Arc::new(Self { inner: Mutex::default(), clock, watchers, next_due });
        runtime.spawn(run_timers(Arc::downgrade(&machine), clock, due));
        machine
    }

    pub(crate) fn ask<R: Request>(&self, request: R) -> Result<R::Answer, Fault> {
        self.turn(|turn| request.apply(turn))
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&State, &dyn Engine) -> Result<T>) -> Result<T> {
        let inner = self.lock();
        let due = inner.state.next_due().is_some_and(|time| time <= self.clock.now());
        if !due && !inner.state.owes() {
            return read(&inner.state, &inner.records);
        }
        drop(inner);
        self.turn(|turn| read(turn.state, turn.engine))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the state as it is now: what is due has happened before.
    fn turn<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut Turn<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut inner = self.lock();
        let Inner { state, records, told } = &mut *inner;
        let mut turn = Turn { now: Now::new(self.clock), state, engine: records };
        turn.catch_up()?;
        let done = work(&mut turn);
        let woken = deliver(state, &self.watchers);
        let next = state.next_due();
        if std::mem::replace(told, next) != next {
            self.next_due.send_replace(next);
        }
        drop(inner);
        woken.into_iter().for_each(Waker::wake);
        done
    }
}

/// Makes what is due happen on time, also when nobody calls. The machine's end is its own.
async fn run_timers(machine: Weak<InMemory>, clock: Clock, mut due: watch::Receiver<Option<Time>>) {
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
        if let Err(error) = machine.turn(|_| Ok::<_, Error>(())) {
            tracing::warn!(%error, "what was due could not be done");
        }
    }
}
