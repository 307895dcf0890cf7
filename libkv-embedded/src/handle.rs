use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use libkv_core::{
    BackendName, Error, ErrorKind, Key, KvPair, LifetimeKind, Result, SessionState, StateSender,
    Version,
};
use tokio::runtime;
use tokio::sync::oneshot;

use crate::engine::{Id, Owner, Path, Record};
use crate::error::{closed, refused};
use crate::machine::{Answering, EndSession, Fault, Machine, OpenSession, Request};

/// One session on a store. The store's clones, its guards and its streams share it; when the last
/// of them is gone, the janitor ends the session.
pub(crate) struct Handle {
    pub(crate) machine: Arc<Machine>,
    pub(crate) backend: BackendName,
    /// Where the data is, as in a URL without parameters.
    pub(crate) address: Arc<str>,
    pub(crate) root: Key,
    pub(crate) id: Id,
    pub(crate) session: StateSender,
    closed: AtomicBool,
    /// Never sent on: the janitor waits for it to be dropped.
    _alive: oneshot::Sender<()>,
}

impl Handle {
    /// Opens a session, and starts the task that will end it.
    pub(crate) async fn open(
        machine: Arc<Machine>,
        backend: BackendName,
        address: Arc<str>,
        root: Key,
        runtime: &runtime::Handle,
    ) -> Result<Arc<Self>> {
        let id = machine.new_id();
        let (alive, gone) = oneshot::channel();
        let store = Arc::clone(&machine);
        runtime.spawn(async move {
            // It ends by being dropped, which is the only thing that happens to it.
            let _ = gone.await;
            match store.ask(EndSession(id)).await {
                Ok(()) | Err(Fault::Closed) => {}
                Err(fault) => tracing::warn!(%backend, ?fault, "session not ended"),
            }
        });
        // After the janitor is there: it ends the session of an opening that is dropped, too.
        let opening = machine.ask(OpenSession(id)).await;
        opening.map_err(|fault| refused(fault, backend, "open", |_| None))?;
        let (session, closed) = (StateSender::default(), AtomicBool::new(false));
        Ok(Arc::new(Self { machine, backend, address, root, id, session, closed, _alive: alive }))
    }

    /// Makes a request, unless the handle is closed or the caller's time is over. It is made now,
    /// and only its answer is waited for.
    pub(crate) fn ask<'a, R: Request>(
        &'a self,
        operation: &'static str,
        deadline: Option<Instant>,
        request: R,
        key_of: impl FnOnce(usize) -> Option<&'a Key> + Send + 'a,
    ) -> impl Future<Output = Result<R::Answer>> + Send + 'a {
        let asked = self.demand_time(operation, deadline).map(|()| self.machine.ask(request));
        async move {
            let asking = asked?;
            let answer = match deadline {
                None => asking.await,
                Some(at) => match Box::pin(in_time(asking, at)).await {
                    Some(answer) => answer,
                    None => return Err(self.too_late(operation)),
                },
            };
            answer.map_err(|fault| refused(fault, self.backend, operation, key_of))
        }
    }

    /// Says that the handle is closed, or that the caller's time was over before the call began.
    pub(crate) fn demand_time(
        &self,
        operation: &'static str,
        deadline: Option<Instant>,
    ) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed(self.backend, operation));
        }
        if deadline.is_some_and(|at| tokio::time::Instant::now().into_std() >= at) {
            return Err(Error::new(ErrorKind::Timeout, self.backend, operation)
                .with_detail("the deadline was over before the call began"));
        }
        Ok(())
    }

    /// The request is in the queue and will be done.
    fn too_late(&self, operation: &'static str) -> Error {
        Error::new(ErrorKind::OutcomeUnknown, self.backend, operation)
            .with_detail("the deadline was over before it was known to be stored")
    }

    /// The first ephemeral key opens the session. It may be told after a close that came later.
    pub(crate) fn note_session(&self) {
        self.session.set(SessionState::Connected);
        if self.closed.load(Ordering::Acquire) {
            self.session.set(SessionState::Lost);
        }
    }

    /// Ends the session; again is fine.
    pub(crate) async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        let ending = self.machine.ask(EndSession(self.id)).await;
        if self.session.watch().get() != SessionState::Idle {
            self.session.set(SessionState::Lost);
        }
        match ending {
            Ok(()) | Err(Fault::Closed) => Ok(()),
            Err(fault) => Err(refused(fault, self.backend, "close", |_| None)),
        }
    }

    /// The path of a key: the root in front.
    pub(crate) fn path(&self, key: &Key) -> Path {
        match (self.root.is_root(), key.is_root()) {
            (true, _) => key.into(),
            (false, true) => (&self.root).into(),
            (false, false) => format!("{}/{key}", self.root).into(),
        }
    }

    /// The same to look a key up with: where there is no root in front, no memory is needed.
    pub(crate) fn path_text<'k>(&self, key: &'k Key) -> Cow<'k, str> {
        if self.root.is_root() {
            key.as_str().into()
        } else {
            format!("{}/{key}", self.root).into()
        }
    }

    /// The key of a path in this handle's root; none for a name that is a key only below another
    /// root, such as one that is too long here.
    pub(crate) fn key(&self, path: Path) -> Option<Key> {
        if self.root.is_root() {
            return Key::try_from(path).ok();
        }
        let logical = path.strip_prefix(self.root.as_str())?.strip_prefix('/')?;
        Key::new(logical).ok()
    }

    /// The pair of a record; `with_value` says whether its value goes along.
    pub(crate) fn pair(&self, key: Key, record: Record, with_value: bool) -> KvPair {
        let value = if with_value { record.value } else { Bytes::new() };
        KvPair::new(key, value, Version::new(self.backend, record.revision), kind(record.owner))
    }
}

/// Shows where the data is and never the data.
impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("address", &self.address)
            .field("root", &self.root)
            .field("id", &self.id)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// Waits for an answer; none where it comes after `at`.
async fn in_time<A: Unpin>(asking: Answering<A>, at: Instant) -> Option<Result<A, Fault>> {
    // A timer needs a runtime; it is made only where there is something to wait for.
    let late = async { tokio::time::sleep_until(at.into()).await };
    tokio::select! {
        biased;
        answer = asking => Some(answer),
        () = late => None,
    }
}

fn kind(owner: Owner) -> LifetimeKind {
    match owner {
        Owner::Nobody => LifetimeKind::Permanent,
        Owner::Until(_) => LifetimeKind::Ttl,
        Owner::Session(_) | Owner::Guard(_) => LifetimeKind::Ephemeral,
    }
}
