use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libkv_core::{LifetimeKind, Result};

use crate::client::{Call, Client, Entry, Mode, SessionInfo};
use crate::kept::Purpose;

/// More sessions than these are asked for with all others of the datacenter.
const FEW: usize = 3;
/// More are not remembered; whoever has that many asks again.
const MOST: usize = 10_000;

/// What the sessions are for that keys are bound to. Only their names tell, and these never change.
#[derive(Debug, Default)]
pub(crate) struct Kinds(Mutex<HashMap<String, LifetimeKind>>);

impl Kinds {
    /// Remembers a session of our own.
    pub(crate) fn note(&self, session: &str, purpose: Purpose) {
        self.remember(session, kind_of(purpose.name()));
    }

    /// What ends the lives of some entries, in their order.
    pub(crate) async fn of(
        &self,
        client: &Client,
        entries: &[Entry],
        mode: Mode,
        call: &Call,
    ) -> Result<Vec<LifetimeKind>> {
        let mut kinds = HashMap::new();
        let mut unknown: Vec<&str> = Vec::new();
        {
            let known = self.inner();
            for session in entries.iter().filter_map(|entry| entry.session.as_deref()) {
                match known.get(session) {
                    Some(kind) => drop(kinds.insert(session.to_owned(), *kind)),
                    None => unknown.push(session),
                }
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.len() > FEW {
            kinds.extend(self.learn(client.sessions(mode, call).await, call)?);
        } else {
            for session in unknown {
                let found = client.session(session, mode, call).await;
                let found = found.map(|found| found.into_iter().collect());
                kinds.extend(self.learn(found, call)?);
            }
        }
        let kind = |entry: &Entry| match &entry.session {
            None => LifetimeKind::Permanent,
            // It is gone, or may not be read: the key ends with a session all the same.
            Some(session) => kinds.get(session).copied().unwrap_or(LifetimeKind::Ephemeral),
        };
        Ok(entries.iter().map(kind).collect())
    }

    /// Remembers what was found out, and returns it.
    fn learn(
        &self,
        found: Result<Vec<SessionInfo>, crate::error::Failure>,
        call: &Call,
    ) -> Result<Vec<(String, LifetimeKind)>> {
        match found {
            Ok(sessions) => {
                let named = |session: SessionInfo| {
                    let kind = kind_of(&session.name);
                    self.remember(&session.id, kind);
                    (session.id, kind)
                };
                Ok(sessions.into_iter().map(named).collect())
            }
            Err(failure) if failure.is_denied() => Ok(Vec::new()),
            Err(failure) => Err(failure.into_error(call, false)),
        }
    }

    fn remember(&self, session: &str, kind: LifetimeKind) {
        let mut known = self.inner();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(session.to_owned(), kind);
    }

    fn inner(&self) -> MutexGuard<'_, HashMap<String, LifetimeKind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kind_of(name: &str) -> LifetimeKind {
    if name == Purpose::Key.name() { LifetimeKind::Ttl } else { LifetimeKind::Ephemeral }
}
