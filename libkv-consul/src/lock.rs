mod node;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use libkv_core::{
    Backoff, Deadline, Error, ErrorKind, Fence, FencingToken, Held, Key, LockSession, Result,
    SessionState, Wait,
};
use tokio::time::{Instant, timeout};

use self::node::{Turn, watch_over};
use crate::client::{Call, Mode};
use crate::commit::{commit, exchange};
use crate::error::CONSUL;
use crate::handle::Handle;
use crate::hub::{Known, Subscription, closed};
use crate::kept::{Kept, Purpose, destroy};
use crate::names::LOCK_FLAG;
use crate::request::{Bound, Plan, Refused, Write, holder};

const LOCK: &str = "lock";
/// A lock's key is made and deleted, and those who wait hear of it.
const NODE_CHANGES: usize = 16;
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One attempt at a lock.
pub(crate) struct ConsulLock {
    handle: Arc<Handle>,
    key: Key,
    /// The name of the lock's own key.
    name: String,
    value: Option<Bytes>,
    ttl: Duration,
    /// What a dropped attempt may have left.
    session: Option<String>,
    held: Option<Possession>,
}

/// What holding a lock needs.
struct Possession {
    kept: Kept,
    /// The index at which the lock was taken.
    token: u64,
    /// The index of the value that was written with it.
    value: Option<u64>,
    node: Subscription,
    valid_until: Deadline,
}

/// What came of trying.
enum Tried {
    Taken {
        token: u64,
        value: Option<u64>,
    },
    /// Somebody else holds it.
    Held(Known),
    /// It was taken by somebody else just now.
    Missed,
    /// Nobody holds it, and nobody may take it yet.
    Delayed,
    SessionGone,
}

impl ConsulLock {
    pub(crate) fn new(handle: Arc<Handle>, key: Key, value: Option<Bytes>, ttl: Duration) -> Self {
        let name = handle.names.lock(&key);
        Self { handle, key, name, value, ttl, session: None, held: None }
    }

    fn error(&self, kind: ErrorKind, detail: &str) -> Error {
        Error::new(kind, CONSUL, LOCK).with_key(&self.key).with_detail(detail)
    }

    fn call(&self) -> Call {
        let deadline = Instant::now() + self.handle.client.operation_timeout();
        Call { operation: LOCK, deadline }
    }

    /// Takes the lock with a spare session of the handle, or with a new one. A spare may be gone:
    /// the server then did nothing, and says so.
    async fn take(&mut self, wait: Wait) -> Result<Possession> {
        let begun = Instant::now();
        while let Some(spare) = self.handle.spares.take(self.ttl) {
            self.begin(&spare.id)?;
            if let Some(held) = self.take_with(spare, wait, begun).await? {
                return Ok(held);
            }
            self.abandon();
        }
        self.handle.demand_open(LOCK, None)?;
        let client = &self.handle.client;
        let kept = Kept::make(client, Purpose::Lock, self.ttl, &self.call()).await?;
        self.handle.kinds.note(&kept.id, Purpose::Lock);
        self.begin(&kept.id)?;
        let gone = self.error(ErrorKind::Timeout, "its session was ended by others");
        self.take_with(kept, wait, begun).await?.ok_or(gone)
    }

    /// Notes the session before anything depends on it.
    fn begin(&mut self, session: &str) -> Result<()> {
        if let Err(error) = self.handle.note_lock(session, LOCK) {
            self.handle.retire(session.to_owned());
            return Err(error);
        }
        self.session = Some(session.to_owned());
        Ok(())
    }

    /// Forgets a session that is gone.
    fn abandon(&mut self) {
        if let Some(session) = self.session.take() {
            self.handle.forget_lock(&session);
        }
    }

    /// Waits for the lock with a session; none where the server does not know the session.
    async fn take_with(
        &self,
        mut kept: Kept,
        wait: Wait,
        begun: Instant,
    ) -> Result<Option<Possession>> {
        let id = kept.id.clone();
        // Kept alive while it waits, which may be long.
        let mut unsure = false;
        let outcome = tokio::select! {
            taken = self.wait_for_it(&id, wait, begun) => taken,
            reason = kept.keep(Some(&self.key), |life| {
                unsure = life.state(Instant::now().into_std()) != SessionState::Connected;
            }) => {
                let silent = self.error(ErrorKind::Timeout, "the session was lost while waiting");
                Err(silent.with_source(reason))
            }
            () = self.handle.closing() => Err(closed(LOCK)),
        };
        let (token, value, node) = match outcome {
            Ok(None) => return Ok(None),
            Ok(Some(taken)) => taken,
            // Nobody knows whether somebody else holds it.
            Err(error) if unsure && error.kind() == ErrorKind::CannotLock => {
                return Err(self.error(ErrorKind::Timeout, "the server does not answer"));
            }
            Err(error) => return Err(error),
        };
        let valid_until = Deadline::at(kept.life.deadline());
        self.handle.note_held(&id, &valid_until);
        Ok(Some(Possession { kept, token, value, node, valid_until }))
    }

    /// Tries again whenever the lock may be free. Returns the token, the index of the value and who
    /// hears of the lock's key; none where the server does not know the session.
    async fn wait_for_it(
        &self,
        session: &str,
        wait: Wait,
        begun: Instant,
    ) -> Result<Option<(u64, Option<u64>, Subscription)>> {
        let mut turn: Option<Turn> = None;
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let mut found = None;
        loop {
            let known = match self.attempt(session, found, turn.is_some()).await? {
                Tried::SessionGone => return Ok(None),
                Tried::Taken { token, value } => {
                    let node =
                        turn.map_or_else(|| self.listen(Some(token), token), Turn::into_node);
                    return Ok(Some((token, value, node)));
                }
                _ if wait == Wait::Never => return Err(self.busy()),
                Tried::Held(known) => Some(known),
                Tried::Missed | Tried::Delayed => None,
            };
            let waiting = async {
                match (&mut turn, known) {
                    (Some(turn), _) => turn.comes().await,
                    (None, Some(Known { modified, index })) => {
                        let begun = turn.insert(Turn::new(self.listen(modified, index), index));
                        begun.comes().await
                    }
                    (None, None) => {
                        // Of the end of a delay nobody is told.
                        tokio::time::sleep(backoff.next_jittered()).await;
                        Ok(None)
                    }
                }
            };
            found = match wait {
                Wait::AtMost(longest) => {
                    let left = longest.saturating_sub(begun.elapsed());
                    timeout(left, waiting).await.map_err(|_| self.busy())??
                }
                _ => waiting.await?,
            };
        }
    }

    fn listen(&self, modified: Option<u64>, index: u64) -> Subscription {
        let known = Known { modified, index };
        self.handle.hub.listen_from(self.name.clone(), NODE_CHANGES, known)
    }

    /// Tries once to take the lock, which is absent or was `found` free at an index. Whoever is
    /// `listening` hears who holds it, and need not look.
    async fn attempt(
        &self,
        session: &str,
        mut found: Option<u64>,
        listening: bool,
    ) -> Result<Tried> {
        let call = self.call();
        let name = self.handle.names.name(&self.key);
        let mut value = self.value.as_ref().map(|value| Write {
            name: name.clone(),
            value: Some(value.clone()),
            flags: 0,
            owner: Some(session.to_owned()),
            absent: false,
            bound: None,
        });
        loop {
            let mut plan = Plan::default();
            plan.take_lock(&self.name, session, found);
            value.iter().for_each(|value| plan.write(0, value));
            let (client, max_ops) = (&self.handle.client, self.handle.max_ops());
            let refused = match exchange(client, max_ops, &plan, &call).await? {
                Ok(entries) => {
                    let last = |name: &str| entries.iter().rev().find(|entry| entry.name == name);
                    let token = last(&self.name).map(|entry| entry.modify_index);
                    let untold = || self.error(ErrorKind::OutcomeUnknown, "no index was told");
                    let token = token.ok_or_else(untold)?;
                    let value = value.and_then(|write| Some(last(&write.name)?.modify_index));
                    return Ok(Tried::Taken { token, value });
                }
                Err(refused) => refused,
            };
            match refused {
                Refused::SessionGone => return Ok(Tried::SessionGone),
                Refused::Delayed => return Ok(Tried::Delayed),
                Refused::Failed(error) => return Err(error),
                Refused::Taken if listening => return Ok(Tried::Missed),
                Refused::Taken => match self.look(&call).await? {
                    Some(known) => return Ok(Tried::Held(known)),
                    None if Instant::now() >= call.deadline => return Ok(Tried::Missed),
                    None => found = self.free_at(&call).await?,
                },
                Refused::Bound(_) => {
                    let entry = client.get(&name, Mode::Consistent, &call).await;
                    let entry = entry.map_err(|failure| failure.into_error(&call, false))?.body;
                    if let Some(value) = &mut value {
                        value.bound = entry.and_then(|entry| Bound::of(entry, Some(session)));
                    }
                }
            }
        }
    }

    /// How the lock is held by somebody else; none where it is free.
    async fn look(&self, call: &Call) -> Result<Option<Known>> {
        let answer = self.handle.client.get(&self.name, Mode::Consistent, call).await;
        let answer = answer.map_err(|failure| failure.into_error(call, false))?;
        let Some(entry) = answer.body.filter(|entry| entry.session.is_some()) else {
            return Ok(None);
        };
        let index = answer.index.unwrap_or(entry.modify_index);
        Ok(Some(Known { modified: Some(entry.modify_index), index }))
    }

    /// The index at which the lock was found free, where its key is there.
    async fn free_at(&self, call: &Call) -> Result<Option<u64>> {
        let answer = self.handle.client.get(&self.name, Mode::Consistent, call).await;
        match answer.map_err(|failure| failure.into_error(call, false))?.body {
            Some(entry) if entry.session.is_none() && entry.flags != LOCK_FLAG => {
                let detail = format!("{} is data of others; Consul keeps locks there", self.name);
                Err(self.error(ErrorKind::Other, &detail))
            }
            entry => Ok(entry.map(|entry| entry.modify_index)),
        }
    }

    fn busy(&self) -> Error {
        self.error(ErrorKind::CannotLock, "somebody else holds it")
    }

    /// Gives a lock back, with its value if that is still the one that was written with it. Returns
    /// whether nothing depends on the session any more.
    async fn leave(&self, held: &Possession) -> Result<bool> {
        let call = self.call();
        let value = held.value.map(|index| (self.handle.names.name(&self.key), index));
        let refused = match self.delete(held, value.clone(), &call).await? {
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        let (Some((name, _)), ErrorKind::KeyModified | ErrorKind::KeyNotFound) =
            (value, refused.kind())
        else {
            return Err(refused);
        };
        // Others have put another value, which is theirs.
        self.delete(held, None, &call).await??;
        self.let_go(&name, &held.kept.id, &call).await?;
        Ok(true)
    }

    /// Deletes the lock's key and the value. The inner error is a refusal.
    async fn delete(
        &self,
        held: &Possession,
        value: Option<(String, u64)>,
        call: &Call,
    ) -> Result<Result<()>> {
        let mut plan = Plan::default();
        plan.hold_lock(&self.key, &self.name, &held.kept.id, held.token);
        plan.write(0, &Write::removal(self.name.clone()));
        if let Some((name, index)) = value {
            plan.unchanged(&self.key, &name, index);
            plan.write(0, &Write::removal(name));
        }
        let (client, max_ops) = (&self.handle.client, self.handle.max_ops());
        Ok(match exchange(client, max_ops, &plan, call).await? {
            Ok(_) => Ok(()),
            Err(Refused::Failed(error)) => Err(error),
            Err(other) => Err(self.error(ErrorKind::Other, &format!("not released: {other:?}"))),
        })
    }

    /// Takes the key from the lock's session, with whatever others put there.
    async fn let_go(&self, name: &str, session: &str, call: &Call) -> Result<()> {
        let client = &self.handle.client;
        loop {
            let found = client.get(name, Mode::Consistent, call).await;
            let found = found.map_err(|failure| failure.into_error(call, false))?.body;
            let Some(entry) = found.filter(|entry| entry.session.as_deref() == Some(session))
            else {
                return Ok(());
            };
            let (value, flags, index) = (entry.value.clone(), entry.flags, entry.modify_index);
            let name = name.to_owned();
            let bound = Bound::of(entry, None);
            let (owner, absent) = (None, false);
            let mut write = [Write { name, value: Some(value), flags, owner, absent, bound }];
            let guards = || {
                let mut plan = Plan::default();
                plan.unchanged(&self.key, &write[0].name, index);
                Ok(plan)
            };
            let guarded = guards()?;
            let unchanged = || Ok(guarded.clone());
            match commit(client, self.handle.max_ops(), unchanged, &mut write, call).await {
                Ok(_) => return Ok(()),
                Err(crate::commit::Unwritten::SessionGone) => return Ok(()),
                Err(crate::commit::Unwritten::Failed(error))
                    if matches!(error.kind(), ErrorKind::KeyModified | ErrorKind::KeyNotFound) => {}
                Err(crate::commit::Unwritten::Failed(error)) => return Err(error),
            }
        }
    }
}

/// Shows the length of the value and never the value.
impl fmt::Debug for ConsulLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulLock")
            .field("key", &self.key)
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("ttl", &self.ttl)
            .field("held", &self.held.is_some())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl LockSession for ConsulLock {
    async fn acquire(&mut self, wait: Wait) -> Result<Held> {
        let taken = self.take(wait).await.map_err(|error| error.or_key(&self.key));
        let held = taken.map_err(not_taken)?;
        let token = FencingToken::new(held.token);
        let node = holder(&self.name, &held.kept.id);
        let fence = Fence::new(CONSUL, self.key.clone(), token, node);
        let valid_until = held.valid_until.clone();
        self.held = Some(held);
        Ok(Held::new(token, fence, valid_until))
    }

    async fn keep(&mut self) -> Error {
        let lost = |detail: &str| {
            Error::new(ErrorKind::LockLost, CONSUL, LOCK).with_key(&self.key).with_detail(detail)
        };
        let Some(held) = &mut self.held else {
            return lost("it was never obtained");
        };
        let Possession { kept, token, node, valid_until, .. } = held;
        let watching = watch_over(&self.handle, &self.name, *token, node);
        tokio::select! {
            reason = watching => lost(reason),
            reason = kept.keep(Some(&self.key), |life| match life.state(Instant::now().into_std()) {
                SessionState::Lost => valid_until.expire(),
                _ => valid_until.extend_to(life.deadline()),
            }) => lost("its session is over").with_source(reason),
            () = self.handle.closing() => lost("its handle was closed"),
        }
    }

    async fn release(&mut self) -> Result<()> {
        let Some(id) = self.session.take() else {
            return Ok(());
        };
        self.handle.forget_lock(&id);
        let Some(held) = self.held.take() else {
            return destroy(&self.handle.client, &id, self.call().deadline).await;
        };
        match self.leave(&held).await {
            Ok(_) => {
                self.handle.spare(held.kept);
                Ok(())
            }
            Err(error) => {
                // Whatever is left goes with the session.
                self.handle.retire(id);
                Err(match error.kind() {
                    ErrorKind::LockLost => self.error(ErrorKind::LockLost, "its key was gone"),
                    _ => error.or_key(&self.key),
                })
            }
        }
    }

    fn again(&self) -> Box<dyn LockSession> {
        let (handle, key) = (self.handle.clone(), self.key.clone());
        Box::new(Self::new(handle, key, self.value.clone(), self.ttl))
    }
}

/// A lock whose fate is unknown is not obtained: what it may have left is tidied up.
fn not_taken(error: Error) -> Error {
    if error.kind() != ErrorKind::OutcomeUnknown {
        return error;
    }
    let kept = Error::new(ErrorKind::Timeout, CONSUL, LOCK)
        .with_detail("the server did not say whether it was obtained");
    match error.key() {
        Some(key) => kept.with_key(key).with_source(error.clone()),
        None => kept.with_source(error),
    }
}
