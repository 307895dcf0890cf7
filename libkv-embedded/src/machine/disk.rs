use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libkv_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::answer::Answering;
use super::history::History;
use super::request::{Fault, Request};
use super::state::State;
use super::time::Clock;
use super::turn::Turn;
use super::watchers::Watchers;
use super::writer::Writer;
use crate::engine::{File, FileView, Record};
use crate::error::FILE;

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
pub(super) struct Shared {
    state: Mutex<State>,
    /// The revision of what is stored; the state may be ahead of it.
    pub(super) stored: AtomicU64,
}

/// A request on its way.
pub(super) trait Job: Send {
    /// Does it, and keeps the answer until it is known whether it is stored.
    ///
    /// # Errors
    ///
    /// Where the engine failed: nothing of the batch is stored then.
    fn apply(&mut self, turn: &mut Turn<'_>) -> Result<()>;

    fn answer(self: Box<Self>, stored: Result<(), Fault>);
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

    fn answer(self: Box<Self>, stored: Result<(), Fault>) {
        let Self { answer, tell, .. } = *self;
        let answer = stored.and_then(|()| answer.unwrap_or(Err(Fault::Closed)));
        // Nobody may be waiting any more.
        drop(tell.send(answer));
    }
}

/// Nothing to do, which shows how it stands with the file.
struct Nudge;

impl Job for Nudge {
    fn apply(&mut self, _: &mut Turn<'_>) -> Result<()> {
        Ok(())
    }

    fn answer(self: Box<Self>, _: Result<(), Fault>) {}
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
        let writer = Writer::new(Arc::clone(&file), Arc::clone(&shared), watchers, clock, waiting);
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

    pub(crate) fn ask<R: Request>(&self, request: R) -> Answering<R::Answer> {
        let (tell, told) = oneshot::channel();
        let job = Box::new(Asked { request: Some(request), answer: None, tell });
        match self.jobs.send(job) {
            Ok(()) => Answering::OnItsWay(told),
            Err(_) => Answering::Known(Some(Err(Fault::Closed))),
        }
    }

    /// Not behind the state's lock: the writer has it while it works.
    pub(crate) fn revision(&self) -> u64 {
        self.shared.stored.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self, path: &str) -> Result<Option<Record>> {
        self.noticed(self.file.get(path))
    }

    pub(crate) fn view(&self) -> Result<FileView> {
        self.noticed(self.file.view())
    }

    fn noticed<T>(&self, read: Result<T>) -> Result<T> {
        if read.as_ref().is_err_and(Error::is_transient) {
            // A read found that the file failed, and nobody writes: the thread is to look at it. It
            // may have ended, and then nobody can.
            let _ = self.jobs.send(Box::new(Nudge));
        }
        read
    }

    pub(crate) fn look_back<T>(&self, look: impl FnOnce(&History, u64) -> Result<T>) -> Result<T> {
        let state = self.shared.state();
        look(&state.history, self.shared.stored.load(Ordering::Acquire))
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
