use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use libkv_core::{
    Error, ErrorKind, Key, KvPair, LifetimeKind, Result, SessionState, StateSender, Version,
};
use tokio::runtime;
use tokio::sync::oneshot;

use crate::engine::{Id, Memory, Owner, Path, Record};
use crate::error::{MEM, closed};
use crate::machine::{Machine, State};

/// One session on a store. The store's clones, its guards and its streams share it; when the last
/// of them is gone, the janitor ends the session.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) machine: Arc<Machine>,
    pub(crate) root: Key,
    pub(crate) id: Id,
    pub(crate) session: StateSender,
    closed: AtomicBool,
    /// Never sent on: the janitor waits for it to be dropped.
    _alive: oneshot::Sender<()>,
}

impl Handle {
    /// Opens a session, and starts the task that will end it.
    pub(crate) fn open(
        machine: Arc<Machine>,
        root: Key,
        runtime: &runtime::Handle,
    ) -> Result<Arc<Self>> {
        let id = machine.with(|state| Ok::<_, Error>(state.new_id()))?;
        let (alive, gone) = oneshot::channel();
        let store = Arc::downgrade(&machine);
        runtime.spawn(async move {
            // It ends by being dropped, which is the only thing that happens to it.
            let _ = gone.await;
            if let Some(machine) = store.upgrade() {
                let end = |state: &mut State<_>| state.end_handle(id, machine.clock().now());
                if let Err(error) = machine.with(end) {
                    tracing::warn!(backend = %MEM, %error, "session not ended");
                }
            }
        });
        let session = StateSender::default();
        let closed = AtomicBool::new(false);
        Ok(Arc::new(Self { machine, root, id, session, closed, _alive: alive }))
    }

    /// Works on the state, unless the handle is closed or the caller's time is over.
    pub(crate) fn with<T, E: From<Error>>(
        &self,
        operation: &'static str,
        deadline: Option<Instant>,
        work: impl FnOnce(&mut State<Memory>) -> Result<T, E>,
    ) -> Result<T, E> {
        if deadline.is_some_and(|at| tokio::time::Instant::now().into_std() >= at) {
            return Err(Error::new(ErrorKind::Timeout, MEM, operation)
                .with_detail("the deadline was over before the call began")
                .into());
        }
        self.machine.with(|state| {
            // Read inside, so that nothing is done for a handle whose session has ended.
            if self.closed.load(Ordering::Acquire) {
                return Err(closed(operation).into());
            }
            work(state)
        })
    }

    /// Ends the session; again is fine.
    pub(crate) fn close(&self) -> Result<()> {
        self.machine.with(|state| {
            if self.closed.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            state.end_handle(self.id, self.machine.clock().now())
        })?;
        if self.session.watch().get() != SessionState::Idle {
            self.session.set(SessionState::Lost);
        }
        Ok(())
    }

    /// The path of a key: the root in front.
    pub(crate) fn path(&self, key: &Key) -> Path {
        match (self.root.is_root(), key.is_root()) {
            (true, _) => key.into(),
            (false, true) => (&self.root).into(),
            (false, false) => format!("{}/{key}", self.root).into(),
        }
    }

    /// The key of a path in this handle's root. Paths are made from keys, so there always is one.
    pub(crate) fn key(&self, path: &Path) -> Option<Key> {
        if self.root.is_root() {
            return Key::try_from(path.clone()).ok();
        }
        let logical = path.strip_prefix(self.root.as_str())?.strip_prefix('/')?;
        Key::new(logical).ok()
    }

    /// The pair of a record; `with_value` says whether its value goes along.
    pub(crate) fn pair(&self, key: Key, record: &Record, with_value: bool) -> KvPair {
        let value = if with_value { record.value.clone() } else { bytes::Bytes::new() };
        KvPair::new(key, value, Version::new(MEM, record.revision), kind(record.owner))
    }
}

fn kind(owner: Owner) -> LifetimeKind {
    match owner {
        Owner::Nobody => LifetimeKind::Permanent,
        Owner::Until(_) => LifetimeKind::Ttl,
        Owner::Session(_) | Owner::Guard(_) => LifetimeKind::Ephemeral,
    }
}
