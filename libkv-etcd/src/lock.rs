mod node;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use libkv_core::{
    Deadline, Error, ErrorKind, Fence, FencingToken, Held, Key, LockSession, Result, SessionState,
    Wait,
};
use tokio::time::{Instant, timeout, timeout_at};

use self::node::{Watching, changed, watch_over};
use crate::error::ETCD;
use crate::handle::Handle;
use crate::hub::{Subscription, closed};
use crate::lease::{Lease, Purpose, revoke, seconds};
use crate::mailbox::Note;
use crate::names::Span;
use crate::queue::{Joined, Place, Queue};

const LOCK: &str = "lock";
/// A node is made and deleted, and changes no more often than that.
const NODE_CHANGES: usize = 8;
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One attempt at a lock.
pub(crate) struct EtcdLock {
    handle: Arc<Handle>,
    key: Key,
    queue: Queue,
    value: Option<Bytes>,
    ttl: Duration,
    /// The lease's number, from before it was asked for: what a dropped attempt may have left.
    lease_id: Option<i64>,
    held: Option<Possession>,
}

/// What holding a lock needs.
struct Possession {
    place: Place,
    /// The revision of the value that was written with the lock.
    value: Option<i64>,
    lease: Lease,
    node: Subscription,
    valid_until: Deadline,
}

impl EtcdLock {
    pub(crate) fn new(handle: Arc<Handle>, key: Key, value: Option<Bytes>, ttl: Duration) -> Self {
        let queue = Queue::new(handle.cluster.clone(), handle.names.name(&key));
        Self { handle, key, queue, value, ttl, lease_id: None, held: None }
    }

    fn error(&self, kind: ErrorKind, detail: &str) -> Error {
        Error::new(kind, ETCD, LOCK).with_key(&self.key).with_detail(detail)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.handle.cluster.operation_timeout
    }

    /// Takes the lock with a spare lease of the handle, or with a new one. A spare may be gone: the
    /// server then did nothing, and says so.
    async fn take(&mut self, wait: Wait) -> Result<Possession> {
        let begun = Instant::now();
        while let Some(spare) = self.handle.spares.take(self.whole_ttl()) {
            if let Err(closed) = self.begin(spare.id) {
                self.handle.retire(spare.id);
                return Err(closed);
            }
            let node = self.watch_node(spare.id);
            if let Some(held) = self.take_with(spare, node, wait, begun).await? {
                return Ok(held);
            }
            self.abandon();
        }
        let (lease, node) = self.granted().await?;
        let gone = self.error(ErrorKind::Timeout, "its lease was ended by others");
        self.take_with(lease, node, wait, begun).await?.ok_or(gone)
    }

    /// Gets a lease of this lock's own, and watches the node that goes with it.
    async fn granted(&mut self) -> Result<(Lease, Subscription)> {
        let (seconds, deadline) = (seconds(self.ttl), self.deadline());
        let (lease, node) = loop {
            let id = Purpose::Lock.new_id();
            self.begin(id)?;
            // The server watches the node before it is made. Both are on their way together.
            let node = self.watch_node(id);
            let cluster = &self.handle.cluster;
            if let Some(lease) = Lease::grant(cluster, id, seconds, LOCK, deadline).await? {
                break (lease, node);
            }
            // The number is somebody's, whose lease is not ours to end.
            self.abandon();
        };
        self.handle.check_granted(self.ttl, lease.ttl(), LOCK)?;
        Ok((lease, node))
    }

    /// The time to live that a lease of this lock has.
    fn whole_ttl(&self) -> Duration {
        Duration::from_secs(u64::try_from(seconds(self.ttl)).unwrap_or_default())
    }

    /// Notes the lease before anything depends on it.
    fn begin(&mut self, lease: i64) -> Result<()> {
        self.handle.note_lock(lease, LOCK)?;
        self.lease_id = Some(lease);
        Ok(())
    }

    /// Forgets a lease that is not ours.
    fn abandon(&mut self) {
        if let Some(lease) = self.lease_id.take() {
            self.handle.forget_lock(lease);
        }
    }

    /// Joins the queue with a lease, and waits; none where the server does not know the lease.
    async fn take_with(
        &self,
        mut lease: Lease,
        mut node: Subscription,
        wait: Wait,
        begun: Instant,
    ) -> Result<Option<Possession>> {
        let id = lease.id;
        // Kept alive while it waits, which may be long.
        let mut unsure = false;
        let outcome = tokio::select! {
            taken = self.wait_in_queue(id, wait, begun, &mut node) => taken,
            reason = lease.keep(Some(&self.key), |life| {
                unsure = life.state(Instant::now().into_std()) != SessionState::Connected;
            }) => {
                let silent = self.error(ErrorKind::Timeout, "the place in the queue was lost");
                Err(silent.with_source(reason))
            }
            () = self.handle.closing() => Err(closed(LOCK)),
        };
        let (place, value) = match outcome {
            Ok(None) => return Ok(None),
            Ok(Some(taken)) => taken,
            // Nobody knows whether somebody else holds it.
            Err(error) if unsure && error.kind() == ErrorKind::CannotLock => {
                return Err(self.error(ErrorKind::Timeout, "the server does not answer"));
            }
            Err(error) => return Err(error),
        };
        self.handle.hub.saw(place.revision);
        let valid_until = Deadline::at(lease.life.deadline());
        self.handle.note_held(id, &valid_until);
        Ok(Some(Possession { place, value, lease, node, valid_until }))
    }

    fn watch_node(&self, lease: i64) -> Subscription {
        self.handle.hub.open(Span::one(self.queue.node(lease)), NODE_CHANGES)
    }

    /// Joins the queue, and waits until nobody is in front. Returns the place and the revision of
    /// the value; none where the server does not know the lease.
    async fn wait_in_queue(
        &self,
        lease: i64,
        wait: Wait,
        begun: Instant,
        node: &mut Subscription,
    ) -> Result<Option<(Place, Option<i64>)>> {
        let value = self.value.as_ref();
        self.opened(node).await?;
        loop {
            let joined = match wait {
                Wait::Never => self.queue.join_if_free(lease, value, self.deadline()).await?,
                _ => self.queue.join(lease, value, self.deadline()).await?,
            };
            let place = match joined {
                Joined::Unknown => return Ok(None),
                Joined::Busy => return Err(self.busy()),
                Joined::First(place) => {
                    let written = value.map(|_| place.revision);
                    return Ok(Some((place, written)));
                }
                Joined::Behind(place, None) => place,
                Joined::Behind(_, Some(_)) if wait == Wait::Never => return Err(self.busy()),
                Joined::Behind(place, Some(older)) => {
                    let waiting = self.wait_for(&place, older);
                    let first = match wait {
                        Wait::AtMost(longest) => {
                            let left = longest.saturating_sub(begun.elapsed());
                            timeout(left, waiting).await.map_err(|_| self.busy())??
                        }
                        _ => waiting.await?,
                    };
                    if !first {
                        // Somebody deleted the node: the queue must be joined anew.
                        continue;
                    }
                    place
                }
            };
            let Some(value) = value else {
                return Ok(Some((place, None)));
            };
            if let Some(revision) = self.queue.write_value(&place, value, self.deadline()).await? {
                return Ok(Some((place, Some(revision))));
            }
        }
    }

    /// Waits until nobody is in front; false if the own node is gone.
    ///
    /// The server watches from now on before the older node is looked at once more: a watch from a
    /// past revision would be served only every 100 ms.
    async fn wait_for(&self, place: &Place, mut older: Vec<u8>) -> Result<bool> {
        loop {
            let mut watch = self.handle.hub.open(Span::one(older.clone()), NODE_CHANGES);
            self.opened(&mut watch).await?;
            loop {
                match self.queue.look(place, self.deadline()).await? {
                    None => return Ok(false),
                    Some(None) => return Ok(true),
                    Some(Some(same)) if same == older => {
                        if changed(&mut watch).await? == Watching::Over {
                            break;
                        }
                    }
                    Some(Some(other)) => {
                        older = other;
                        break;
                    }
                }
            }
        }
    }

    /// Waits until the server watches.
    async fn opened(&self, watch: &mut Subscription) -> Result<()> {
        let opening = async {
            loop {
                match watch.next().await {
                    Note::Opened { .. } => return Ok(()),
                    Note::Failed(error) => return Err(error),
                    Note::Closed => return Err(closed(LOCK)),
                    _ => {}
                }
            }
        };
        let late = |_| self.error(ErrorKind::Timeout, "the server does not watch in time");
        timeout_at(self.deadline(), opening).await.map_err(late)?
    }

    fn busy(&self) -> Error {
        self.error(ErrorKind::CannotLock, "somebody else holds it")
    }
}

/// Shows the length of the value and never the value.
impl fmt::Debug for EtcdLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdLock")
            .field("key", &self.key)
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("ttl", &self.ttl)
            .field("held", &self.held.is_some())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl LockSession for EtcdLock {
    async fn acquire(&mut self, wait: Wait) -> Result<Held> {
        let held = self.take(wait).await.map_err(|error| error.or_key(&self.key))?;
        let token = u64::try_from(held.place.revision).unwrap_or_default();
        let token = FencingToken::new(token);
        let node = String::from_utf8_lossy(&held.place.node).into_owned();
        let fence = Fence::new(ETCD, self.key.clone(), token, node);
        let valid_until = held.valid_until.clone();
        self.held = Some(held);
        Ok(Held::new(token, fence, valid_until))
    }

    async fn keep(&mut self) -> Error {
        let lost = |detail: &str| {
            Error::new(ErrorKind::LockLost, ETCD, LOCK).with_key(&self.key).with_detail(detail)
        };
        let Some(held) = &mut self.held else {
            return lost("it was never obtained");
        };
        let Possession { place, lease, node, valid_until, .. } = held;
        let watching = watch_over(&self.handle, &self.queue, place, node);
        tokio::select! {
            reason = watching => lost(reason),
            reason = lease.keep(Some(&self.key), |life| match life.state(Instant::now().into_std()) {
                SessionState::Lost => valid_until.expire(),
                _ => valid_until.extend_to(life.deadline()),
            }) => lost("its lease is over").with_source(reason),
            () = self.handle.closing() => lost("its handle was closed"),
        }
    }

    async fn release(&mut self) -> Result<()> {
        let Some(id) = self.lease_id.take() else {
            return Ok(());
        };
        self.handle.forget_lock(id);
        let Some(held) = self.held.take() else {
            return revoke(&self.handle.cluster, id, self.deadline()).await;
        };
        let left = self.queue.leave(&held.place, held.value, self.deadline()).await;
        if matches!(left, Ok(true)) {
            self.handle.spare(held.lease);
        } else {
            // Whatever is left goes with the lease.
            self.handle.retire(id);
        }
        match left {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.error(ErrorKind::LockLost, "its node was gone")),
            Err(error) => Err(error.or_key(&self.key)),
        }
    }

    fn again(&self) -> Box<dyn LockSession> {
        let (handle, key) = (self.handle.clone(), self.key.clone());
        Box::new(Self::new(handle, key, self.value.clone(), self.ttl))
    }
}
