use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use libkv_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::deliver;
use super::history::History;
use super::locks::Loss;
use super::request::{Fault, Request};
use super::state::{State, Told};
use super::time::{Clock, Due};
use super::turn::Turn;
use super::watchers::Watchers;
use crate::engine::{File, FileView, Loaded};
use crate::error::FILE;

/// The most requests that are stored together.
const MAX_BATCH: usize = 1024;
/// How long to wait for requests where nothing is due.
const IDLE: Duration = Duration::from_secs(3600);
/// How soon to try again what could not be stored.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// A machine whose records are in a file. Its thread does the requests that wait, stores them in
/// one durable commit, and answers; reads do not wait for it.
#[derive(Debug)]
pub(crate) struct OnDisk {
    jobs: mpsc::Sender<Box<dyn Job>>,
    file: Arc<File>,
    shared: Arc<Shared>,
}

/// What the thread and the readers of the history share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The revision of what is stored; the state may be ahead of it.
    stored: AtomicU64,
}

/// A request on its way.
trait Job: Send {
    /// Does it, and keeps the answer until it is known whether it is stored.
    ///
    /// # Errors
    ///
    /// Where the engine failed: nothing of the batch is stored then.
    fn apply(&mut self, turn: &mut Turn<'_>) -> Result<()>;

    fn answer(self: Box<Self>, stored: Result<()>);
}

struct Asked<R: Request> {
    request: Option<R>,
    answer: Option<Result<R::Answer, Fault>>,
    tell: oneshot::Sender<Result<R::Answer, Fault>>,
}

impl<R: Request> Job for Asked<R> {
    fn apply(&mut self, turn: &mut Turn<'_>) -> Result<()> {
        let Some(request) = self.request.take() else {
            return Ok(());
        };
        match request.apply(turn) {
            Err(Fault::Engine(error)) => return Err(error),
            answer => self.answer = Some(answer),
        }
        Ok(())
    }

    fn answer(self: Box<Self>, stored: Result<()>) {
        let answer = match stored {
            Ok(()) => self.answer.unwrap_or(Err(Fault::Closed)),
            Err(error) => Err(Fault::Engine(error)),
        };
        // Nobody may be waiting any more.
        drop(self.tell.send(answer));
    }
}

impl OnDisk {
    /// Reads what the state is made from, and starts the thread.
    pub(crate) fn start(
        file: Arc<File>,
        clock: Clock,
        watchers: Arc<Mutex<Watchers>>,
    ) -> Result<Self> {
        let mut state = State::default();
        let loaded = file.load()?;
        let given_out = loaded.given_out();
        // Nobody of the process before is here any more.
        state.ended.extend(loaded.owned.keys());
        loaded.into_state(&mut state);
        state.revision = given_out;
        let shared = Arc::new(Shared { state: Mutex::new(state), stored: given_out.into() });
        let (jobs, waiting) = mpsc::channel();
        let writer = Writer {
            file: Arc::clone(&file),
            shared: Arc::clone(&shared),
            watchers,
            clock,
            waiting,
            had_sessions: false,
            unsettled: false,
        };
        std::thread::Builder::new()
            .name("libkv-file".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| {
                Error::new(ErrorKind::Other, FILE, "open")
                    .with_detail("the writer's thread cannot be started")
                    .with_source(error)
            })?;
        Ok(Self { jobs, file, shared })
    }

    pub(crate) async fn ask<R: Request>(&self, request: R) -> Result<R::Answer, Fault> {
        let (tell, told) = oneshot::channel();
        let job = Box::new(Asked { request: Some(request), answer: None, tell });
        self.jobs.send(job).map_err(|_| Fault::Closed)?;
        told.await.unwrap_or(Err(Fault::Closed))
    }

    pub(crate) fn view(&self) -> Result<FileView> {
        self.file.view()
    }

    pub(crate) fn look_back<T>(&self, look: impl FnOnce(&History, u64) -> Result<T>) -> Result<T> {
        let state = self.shared.state();
        look(&state.history, self.shared.stored.load(Ordering::Acquire))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread.
struct Writer {
    file: Arc<File>,
    shared: Arc<Shared>,
    watchers: Arc<Mutex<Watchers>>,
    clock: Clock,
    waiting: mpsc::Receiver<Box<dyn Job>>,
    had_sessions: bool,
    /// The file failed and could not be opened again.
    unsettled: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            let first = match self.waiting.recv_timeout(self.patience()) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.file.close(),
            };
            let rest = self.waiting.try_iter().take(MAX_BATCH - 1);
            let mut batch: Vec<Box<dyn Job>> = first.into_iter().chain(rest).collect();
            let stored = self.store(&mut batch);
            // A closed file was left by everybody: there is nothing to store.
            if let Err(error) = &stored
                && error.kind() != ErrorKind::Closed
            {
                tracing::warn!(backend = %FILE, %error, "not stored");
            }
            let sessions = self.shared.state().sessions.len();
            if self.had_sessions && sessions == 0 {
                // Nobody can come back: the file is free for others as soon as the last has left.
                self.file.close();
            }
            self.had_sessions |= sessions > 0;
            for job in batch {
                job.answer(stored.clone());
            }
        }
    }

    /// How long to wait for the next request.
    fn patience(&self) -> Duration {
        let state = self.shared.state();
        if state.owes() {
            return TRY_AGAIN;
        }
        state
            .next_due()
            .map_or(IDLE, |time| self.clock.instant(time).saturating_duration_since(Instant::now()))
    }

    /// Does a batch and stores it; where that fails, the state is as it was before.
    fn store(&mut self, batch: &mut [Box<dyn Job>]) -> Result<()> {
        if self.unsettled {
            self.recover(None)?;
        }
        let mut writing = self.file.begin()?;
        let (worked, revision) = {
            let mut state = self.shared.state();
            let worked = writing.work(|tables| {
                let mut turn = Turn { now: self.clock.now(), state: &mut state, engine: tables };
                turn.catch_up()?;
                batch.iter_mut().try_for_each(|job| job.apply(&mut turn))
            });
            (worked, state.revision)
        };
        let stored = match worked {
            Ok(()) => {
                writing.commit(revision).or_else(|error| self.recover(Some((revision, error))))
            }
            Err(error) => {
                drop(writing);
                self.recover(None).and(Err(error))
            }
        };
        let mut state = self.shared.state();
        if stored.is_ok() {
            self.shared.stored.store(state.revision, Ordering::Release);
            let woken = deliver(&mut state, &self.watchers);
            drop(state);
            woken.into_iter().for_each(Waker::wake);
        }
        stored
    }

    /// Opens the file again after a failure and makes the state what the file says. A commit of
    /// which nobody knows is settled by looking for its revision.
    fn recover(&mut self, commit: Option<(u64, Error)>) -> Result<()> {
        self.unsettled = true;
        let loaded = match self.file.reopen().and_then(|()| self.file.load()) {
            Ok(loaded) => loaded,
            Err(error) => {
                return Err(match commit {
                    Some((_, cause)) => Error::new(ErrorKind::OutcomeUnknown, FILE, "write")
                        .with_detail("storing failed, and the file cannot be opened again to look")
                        .with_source(cause),
                    None => error,
                });
            }
        };
        self.unsettled = false;
        let mut state = self.shared.state();
        match commit {
            Some((revision, _)) if loaded.revision == revision => Ok(()),
            Some((_, error)) => {
                self.roll_back(&mut state, loaded);
                Err(error)
            }
            None => {
                self.roll_back(&mut state, loaded);
                Ok(())
            }
        }
    }

    fn roll_back(&self, state: &mut State, loaded: Loaded) {
        let mut ended = Vec::new();
        for told in std::mem::take(&mut state.outbox) {
            match told {
                Told::Change(_) => {}
                Told::Ended(session) => ended.push(Told::Ended(session)),
                // What was won was not stored: the attempt failed, and the next has its turn.
                Told::Grant(attempt, _) => {
                    let left = state.locks.lose(attempt, Loss::NotStored);
                    state.free_locks.extend(left.map(|left| left.path));
                }
            }
        }
        state.outbox = ended;
        // Tokens that were given out without a write count too.
        let stored = self.shared.stored.load(Ordering::Acquire);
        loaded.into_state(state);
        state.revision = state.revision.max(stored);
        for (until, attempt) in state.locks.ends() {
            state.timers.set(until, Due::Lock(attempt));
        }
    }
}
