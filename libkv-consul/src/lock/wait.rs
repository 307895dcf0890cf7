//! Taking a lock, at once or in time.

use std::sync::atomic::Ordering;

use libkv_core::{Backoff, Error, ErrorKind, Result, Wait};
use tokio::time::{Instant, sleep, timeout};

use super::node::{Heard, Turn};
use super::{ConsulLock, LONGEST_PAUSE, NODE_CHANGES, PAUSE, Taken};
use crate::client::{Call, Mode};
use crate::commit::exchange;
use crate::error::CONSUL;
use crate::hub::{Known, Subscription};
use crate::names::LOCK_FLAG;
use crate::request::{Bound, Plan, Refused, Write};

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

/// How the lock's key was found.
enum Node {
    /// Somebody else has it.
    Held(Known),
    /// It is absent, or there at this index, and then nobody's or our own.
    Free(Option<u64>),
}

impl ConsulLock {
    /// Tries again whenever the lock may be free, and waits for the server too, as long as the
    /// session lives; none where the server does not know the session.
    pub(super) async fn wait_for_it(
        &self,
        session: &str,
        wait: Wait,
        begun: Instant,
    ) -> Result<Option<Taken>> {
        let mut turn: Option<Turn> = None;
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let mut found = None;
        loop {
            let known = match self.attempt(session, found, turn.is_some()).await {
                Ok(Tried::SessionGone) => return Ok(None),
                Ok(Tried::Taken { token, value }) => {
                    let node =
                        turn.map_or_else(|| self.listen(Some(token), token), Turn::into_node);
                    return Ok(Some(Taken { token, value, node }));
                }
                Ok(_) if wait == Wait::Never => return Err(self.busy()),
                Ok(Tried::Held(known)) => Some(known),
                Ok(Tried::Missed | Tried::Delayed) => None,
                Err(error) => {
                    self.endure(error, wait)?;
                    None
                }
            };
            let waiting = async {
                if let (None, Some(Known { modified, index })) = (&turn, known) {
                    turn = Some(Turn::new(self.listen(modified, index), index));
                }
                if let Some(heard) = &mut turn {
                    match self.comes(heard, session).await {
                        Ok(found) => return Ok(found),
                        Err(error) => self.endure(error, wait)?,
                    }
                    // What was heard of it last may be long ago by the time it is heard of again.
                    turn = None;
                }
                // Of the end of a delay nobody is told, nor when a server is well again.
                sleep(backoff.next_jittered()).await;
                Ok(None)
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

    /// Takes a failure that may pass, or gives it back where waiting does not help.
    fn endure(&self, error: Error, wait: Wait) -> Result<()> {
        let unknown = error.kind() == ErrorKind::OutcomeUnknown;
        if unknown {
            self.doubtful.store(true, Ordering::Relaxed);
        }
        if wait == Wait::Never || !(unknown || error.is_transient()) {
            return Err(error);
        }
        tracing::warn!(backend = %CONSUL, key = %self.key, %error, "the lock waits for the server");
        Ok(())
    }

    /// Waits until the lock may be free; with the index of its key where that is there.
    async fn comes(&self, turn: &mut Turn, session: &str) -> Result<Option<u64>> {
        loop {
            match turn.comes().await? {
                Heard::Free(found) => return Ok(found),
                // A look costs the servers less than an attempt, which goes through their log.
                Heard::Nothing => {
                    if let Node::Free(found) = self.look(session, &self.call()).await? {
                        return Ok(found);
                    }
                }
            }
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
                Refused::SessionGone(_) => return Ok(Tried::SessionGone),
                Refused::Delayed => return Ok(Tried::Delayed),
                Refused::Failed(error) => return Err(error),
                Refused::Taken if listening => return Ok(Tried::Missed),
                Refused::Taken | Refused::Stale => match self.look(session, &call).await? {
                    Node::Held(known) => return Ok(Tried::Held(known)),
                    Node::Free(_) if Instant::now() >= call.deadline => return Ok(Tried::Missed),
                    Node::Free(free) => found = free,
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

    /// Looks at the lock's key. It is an error where that is no lock's.
    async fn look(&self, session: &str, call: &Call) -> Result<Node> {
        let answer = self.handle.client.get(&self.name, Mode::Consistent, call).await;
        let answer = answer.map_err(|failure| failure.into_error(call, false))?;
        let Some(entry) = answer.body else {
            return Ok(Node::Free(None));
        };
        match &entry.session {
            Some(holder) if holder != session => {
                let index = answer.index.unwrap_or(entry.modify_index);
                Ok(Node::Held(Known { modified: Some(entry.modify_index), index }))
            }
            None if entry.flags != LOCK_FLAG => {
                let detail = format!("{} is data of others; Consul keeps locks there", self.name);
                Err(self.error(ErrorKind::Other, &detail))
            }
            _ => Ok(Node::Free(Some(entry.modify_index))),
        }
    }
}
