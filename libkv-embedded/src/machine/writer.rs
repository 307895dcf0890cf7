use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use libkv_core::{Error, Result};
use tokio::time::Instant;

use super::deliver;
use super::disk::{Job, Shared};
use super::request::Fault;
use super::state::{State, Told};
use super::time::{Clock, Due, Now};
use super::turn::Turn;
use super::watchers::Watchers;
use crate::engine::{File, Loaded};
use crate::error::{self, FILE};

/// The most requests that are stored together.
const MAX_BATCH: usize = 1024;
/// The longest wait for those who may be about to ask again.
const GATHERING: Duration = Duration::from_millis(1);
/// How long to wait for requests where nothing is due.
const IDLE: Duration = Duration::from_secs(3600);
/// How soon to try again what could not be stored.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// The thread that does what is asked of a file, stores it and answers.
pub(super) struct Writer {
    file: Arc<File>,
    shared: Arc<Shared>,
    watchers: Arc<Mutex<Watchers>>,
    clock: Clock,
    waiting: mpsc::Receiver<Box<dyn Job>>,
    had_sessions: bool,
    standing: Standing,
    /// How many requests the last batch had, and how long it took to store them.
    last: (usize, Duration),
}

/// How it stands with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Sound,
    /// The last batch was not stored, and the state is as it was before.
    Refusing,
    /// It failed and could not be opened again yet; with the revision of a commit of which nobody
    /// knows.
    Unsettled(Option<u64>),
    /// The last session has ended.
    Closed,
}

impl Writer {
    pub(super) fn new(
        file: Arc<File>,
        shared: Arc<Shared>,
        watchers: Arc<Mutex<Watchers>>,
        clock: Clock,
        waiting: mpsc::Receiver<Box<dyn Job>>,
    ) -> Self {
        let (standing, last) = (Standing::Sound, (0, Duration::ZERO));
        Self { file, shared, watchers, clock, waiting, had_sessions: false, standing, last }
    }

    pub(super) fn run(mut self) {
        loop {
            let first = match self.waiting.recv_timeout(self.patience()) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.file.close(),
            };
            let mut batch = self.gather(first);
            let begun = Instant::now();
            let stored = match self.standing {
                Standing::Closed => Err(Fault::Closed),
                _ => self.store(&mut batch).map_err(Fault::Engine),
            };
            if let Err(Fault::Engine(error)) = &stored {
                tracing::warn!(backend = %FILE, %error, "not stored");
            }
            self.last = (batch.len(), begun.elapsed());
            let sessions = self.shared.state().sessions.len();
            if self.had_sessions && sessions == 0 {
                // Nobody can come back: the file is free for others as soon as the last has left.
                self.file.close();
                self.standing = Standing::Closed;
            }
            self.had_sessions |= sessions > 0;
            for job in batch {
                job.answer(stored.clone());
            }
        }
    }

    /// Takes what waits. Those who were answered together mostly ask again together, one after the
    /// other: were the first of them stored at once, the others would wait for a commit of one. For
    /// as many as there were last time it waits a fraction of what a commit takes.
    fn gather(&self, first: Option<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
        let (expected, took) = self.last;
        let mut batch = Vec::with_capacity(expected.max(1));
        batch.extend(first);
        let until = std::time::Instant::now() + GATHERING.min(took / 4);
        while (1..expected).contains(&batch.len()) {
            let left = until.saturating_duration_since(std::time::Instant::now());
            match self.waiting.recv_timeout(left) {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        batch.extend(self.waiting.try_iter().take(MAX_BATCH - batch.len()));
        batch
    }

    /// How long to wait for the next request.
    fn patience(&self) -> Duration {
        let state = self.shared.state();
        let next_due = || {
            let due = self.clock.instant(state.next_due()?);
            Some(due.saturating_duration_since(Instant::now()))
        };
        match self.standing {
            Standing::Closed => IDLE,
            Standing::Unsettled(_) => TRY_AGAIN,
            Standing::Refusing if state.owes() => TRY_AGAIN,
            Standing::Refusing => next_due().map_or(IDLE, |wait| wait.max(TRY_AGAIN)),
            Standing::Sound => next_due().unwrap_or(IDLE),
        }
    }

    /// Does a batch and stores it; where that fails, the state is as it was before.
    fn store(&mut self, batch: &mut [Box<dyn Job>]) -> Result<()> {
        if let Standing::Unsettled(_) = self.standing {
            self.settle()?;
        }
        let mut writing = match self.file.begin() {
            Ok(writing) => writing,
            // A reader was the first to find that it failed.
            Err(_) => {
                self.standing = Standing::Unsettled(None);
                self.settle()?;
                self.file.begin()?
            }
        };
        let (worked, revision) = {
            let mut state = self.shared.state();
            let worked = writing.work(|tables| {
                let mut turn =
                    Turn { now: Now::new(self.clock), state: &mut state, engine: tables };
                turn.catch_up()?;
                batch.iter_mut().try_for_each(|job| job.apply(&mut turn))
            });
            (worked, state.revision)
        };
        if let Err(error) = worked {
            drop(writing);
            self.standing = Standing::Unsettled(None);
            // Where it cannot be opened, this is the first error and the later ones say so.
            let _ = self.settle();
            return Err(error);
        }
        match writing.commit(revision) {
            Ok(()) => {
                self.file.move_on();
                self.standing = Standing::Sound;
                self.publish();
                Ok(())
            }
            Err(error) => self.look_for(revision, error),
        }
    }

    /// Looks what became of a commit that failed. That it is in the file does not say that it would
    /// outlive a power failure.
    fn look_for(&mut self, revision: u64, error: Error) -> Result<()> {
        self.standing = Standing::Unsettled(Some(revision));
        let why = match self.settle() {
            Ok(false) => return Err(error),
            Ok(true) => "storing failed half way: it is in the file, and may be lost with power",
            Err(_) => "storing failed, and the file cannot be opened again to look",
        };
        Err(error::unknown(why).with_source(error))
    }

    /// Opens the file again after a failure and makes the state what the file says. Whether a
    /// commit of which nobody knew is there, its revision tells.
    fn settle(&mut self) -> Result<bool> {
        let loaded = self.file.reopen().and_then(|()| self.file.load())?;
        let before = std::mem::replace(&mut self.standing, Standing::Refusing);
        if before == Standing::Unsettled(Some(loaded.revision)) {
            self.publish();
            return Ok(true);
        }
        self.roll_back(&mut self.shared.state(), loaded);
        Ok(false)
    }

    /// Tells the world what is stored.
    fn publish(&self) {
        let mut state = self.shared.state();
        self.shared.stored.store(state.revision, Ordering::Release);
        let woken = deliver(&mut state, &self.watchers);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    fn roll_back(&self, state: &mut State, loaded: Loaded) {
        let mut ended = Vec::new();
        for told in std::mem::take(&mut state.outbox).into_iter().rev() {
            match told {
                Told::Change(_) => {}
                Told::Ended(session) => ended.push(Told::Ended(session)),
                // What was won was not stored: it is won again when it can be.
                Told::Grant(attempt, _) => state.locks.take_back(attempt),
            }
        }
        state.outbox = ended;
        state.free_locks = state.locks.unheld();
        // Tokens that were given out without a write count too.
        let stored = self.shared.stored.load(Ordering::Acquire);
        loaded.into_state(state);
        state.revision = state.revision.max(stored);
        for (until, attempt) in state.locks.ends() {
            state.timers.set(until, Due::Lock(attempt));
        }
    }
}
