//! Giving a lock back.

use libkv_core::{ErrorKind, Result};

use super::{ConsulLock, Possession};
use crate::client::{Call, Mode};
use crate::commit::{Unwritten, commit, exchange};
use crate::request::{Bound, Plan, Refused, Write};

impl ConsulLock {
    /// Gives a lock back, with its value if that is still the one that was written with it. Nothing
    /// depends on the session then.
    pub(super) async fn leave(&self, held: &Possession) -> Result<()> {
        let call = self.call();
        let value = held.value.map(|index| (self.handle.names.name(&self.key), index));
        let refused = match self.delete(held, value.clone(), &call).await? {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let (Some((name, _)), ErrorKind::KeyModified | ErrorKind::KeyNotFound) =
            (value, refused.kind())
        else {
            return Err(refused);
        };
        // Others have put another value, which is theirs.
        self.delete(held, None, &call).await??;
        self.let_go(&name, &held.kept.id, &call).await
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
                Err(Unwritten::SessionGone(_)) => return Ok(()),
                Err(Unwritten::Failed(error))
                    if matches!(error.kind(), ErrorKind::KeyModified | ErrorKind::KeyNotFound) => {}
                Err(Unwritten::Failed(error)) => return Err(error),
            }
        }
    }
}
