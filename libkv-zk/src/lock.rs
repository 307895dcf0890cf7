//! Locks as Curator's `InterProcessMutex` lays them out: a queue of ephemeral nodes below the key,
//! in the order of the numbers that the server gives them.

mod change;
mod leave;
mod names;
mod spot;
mod wait;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use libkv_core::{
    Deadline, Error, ErrorKind, Fence, FencingToken, Held, Key, LockSession, Result, SessionState,
    Wait,
};
use tokio::time::Instant;

use self::names::Site;
use self::spot::{Place, Spot};
use self::wait::Limit;
use crate::error::{Call, ZK};
use crate::handle::Handle;
use crate::link::{Conn, closed, state};
use crate::locks::Note;

const LOCK: &str = "lock";

/// One attempt at a lock.
pub(crate) struct ZkLock {
    key: Key,
    spot: Spot,
    value: Option<Bytes>,
    /// From before anything is sent: what a dropped attempt may have left.
    begun: Option<Begun>,
    held: Option<Possession>,
}

/// An attempt that may have left something.
struct Begun {
    conn: Arc<Conn>,
    note: Note,
}

/// What holding a lock needs.
struct Possession {
    place: Place,
    valid_until: Deadline,
}

impl ZkLock {
    pub(crate) fn new(handle: Arc<Handle>, key: Key, value: Option<Bytes>) -> Self {
        let site = Site::new(handle.paths.path(&key));
        let spot = Spot { handle, site };
        Self { key, spot, value, begun: None, held: None }
    }

    /// Refuses a value that ZooKeeper cannot have above the lock's nodes.
    pub(crate) fn check_value(value: Option<&Bytes>) -> Result<()> {
        match value {
            Some(value) if value.is_empty() => {
                Err(Error::new(ErrorKind::NotImplemented, ZK, LOCK).with_detail(
                    "an empty value of a lock, which ZooKeeper cannot tell from none above its nodes",
                ))
            }
            _ => Ok(()),
        }
    }

    fn error(&self, kind: ErrorKind, detail: &str) -> Error {
        Error::new(kind, ZK, LOCK).with_key(&self.key).with_detail(detail)
    }

    fn lost(&self, detail: &str) -> Error {
        self.error(ErrorKind::LockLost, detail)
    }

    /// Takes the lock with the handle's session, and waits as long as that lives.
    async fn take(&mut self, wait: Wait) -> Result<Possession> {
        let (begun, handle) = (Instant::now(), self.spot.handle.clone());
        let note = handle.note_lock(LOCK)?;
        let call = call_for(&handle);
        let conn = tokio::select! {
            ready = handle.link.ready(&call) => ready?.0,
            () = handle.closing() => return Err(closed(LOCK)),
        };
        self.begun = Some(Begun { conn: conn.clone(), note });
        let (mut life, silent) = (conn.life(), "the session was lost while waiting");
        let taken = tokio::select! {
            biased;
            () = handle.closing() => Err(closed(LOCK)),
            _ = life.wait_for(|life| state(life) == SessionState::Lost) => {
                Err(self.error(ErrorKind::Timeout, silent))
            }
            taken = self.wait_in_queue(&conn, wait, begun) => taken,
        };
        match taken {
            Ok(place) => Ok(self.possess(&conn, place)),
            // Nobody knows whether somebody else holds it.
            Err(error)
                if error.kind() == ErrorKind::CannotLock
                    && state(&conn.life().borrow()) != SessionState::Connected =>
            {
                Err(self.error(ErrorKind::Timeout, "the server does not answer"))
            }
            Err(error) => Err(error),
        }
    }

    /// Joins the queue, waits until nobody is in front, and sees to the value.
    async fn wait_in_queue(&self, conn: &Conn, wait: Wait, begun: Instant) -> Result<Place> {
        let (spot, limit) = (&self.spot, Limit::of(wait, begun));
        loop {
            let (place, names) = spot.join(conn.id, wait, &call_for(&spot.handle)).await?;
            // Where its node is gone, the queue is joined anew.
            let Some(names) = spot.turn(conn, &place, names, limit).await? else { continue };
            let call = call_for(&spot.handle);
            if spot.settle(&place, &names, self.value.as_ref(), &call).await? {
                return Ok(place);
            }
        }
    }

    fn possess(&self, conn: &Conn, place: Place) -> Possession {
        let valid_until = Deadline::at(conn.life().borrow().deadline());
        if let Some(begun) = &self.begun {
            begun.note.held(&valid_until);
        }
        Possession { place, valid_until }
    }
}

/// The fence of a lock node, which is there as long as the lock is held: a multi checks its path.
fn fence(key: &Key, place: &Place) -> Fence {
    Fence::new(ZK, key.clone(), token(place), place.path.clone())
}

fn token(place: &Place) -> FencingToken {
    FencingToken::new(u64::try_from(place.czxid).unwrap_or_default())
}

/// An exchange that begins now.
fn call_for(handle: &Handle) -> Call {
    Call { operation: LOCK, deadline: Instant::now() + handle.operation_timeout }
}

fn busy() -> Error {
    Error::new(ErrorKind::CannotLock, ZK, LOCK).with_detail("somebody else holds it")
}

/// Moves the end of a possession with the session's life, and returns when that is over. A session
/// that is not sure moves nothing.
async fn follow(conn: &Conn, valid_until: &Deadline) {
    let mut life = conn.life();
    loop {
        let now = life.borrow_and_update().clone();
        match state(&now) {
            SessionState::Lost => return valid_until.expire(),
            SessionState::Connected => valid_until.extend_to(now.deadline()),
            _ => {}
        }
        if life.changed().await.is_err() {
            return valid_until.expire();
        }
    }
}

/// Shows the length of the value and never the value.
impl fmt::Debug for ZkLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZkLock")
            .field("key", &self.key)
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("held", &self.held.is_some())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl LockSession for ZkLock {
    async fn acquire(&mut self, wait: Wait) -> Result<Held> {
        let held = self.take(wait).await.map_err(|error| error.or_key(&self.key))?;
        let (fence, token) = (fence(&self.key, &held.place), token(&held.place));
        let valid_until = held.valid_until.clone();
        self.held = Some(held);
        Ok(Held::new(token, fence, valid_until))
    }

    async fn keep(&mut self) -> Error {
        let (Some(Begun { conn, .. }), Some(held)) = (&self.begun, &self.held) else {
            return self.lost("it was never obtained");
        };
        tokio::select! {
            biased;
            () = self.spot.handle.closing() => self.lost("its handle was closed"),
            () = follow(conn, &held.valid_until) => self.lost("its session is over"),
            reason = self.spot.watch_over(conn, &held.place) => self.lost(reason),
        }
    }

    async fn release(&mut self) -> Result<()> {
        let Some(Begun { conn, note }) = self.begun.take() else {
            return Ok(());
        };
        let held = self.held.take();
        let left = self.spot.leave(held.is_some(), &call_for(&self.spot.handle)).await;
        let over = state(&conn.life().borrow()) == SessionState::Lost;
        if left.is_err() && !over {
            self.spot.leave_later(conn);
        }
        // Not before: a handle that is closed meanwhile waits for it.
        drop(note);
        match left {
            _ if held.is_some() && over => Err(self.lost("its session is over")),
            Ok(false) if held.is_some() => Err(self.lost("its node was gone")),
            left => left.map(drop).map_err(|error| error.or_key(&self.key)),
        }
    }

    fn again(&self) -> Box<dyn LockSession> {
        Box::new(Self::new(self.spot.handle.clone(), self.key.clone(), self.value.clone()))
    }
}
