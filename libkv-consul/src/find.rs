use libkv_core::{Key, Result};

use crate::client::{Call, Entry, Mode, Op, TxnReply};
use crate::error::{Failure, is_denied_text};
use crate::handle::Handle;
use crate::names::{is_lock_node, may_be_lock_node};
use crate::rights::is_absent_text;

impl Handle {
    /// Reads one key that is no lock.
    pub(crate) async fn find(&self, key: &Key, mode: Mode, call: &Call) -> Result<Option<Entry>> {
        let found = self.client.get(&self.names.name(key), mode, call).await;
        let found = found.map_err(|failure| failure.into_error(call, false))?.body;
        Ok(found.filter(|entry| !is_lock_node(&entry.name, entry.flags)))
    }

    /// As [`find`](Self::find), and leaves the value at the server. Other programs' flags stay there
    /// too.
    ///
    /// No call of the server's reads a key without its value. But a check that fails says what it
    /// found, and these two always fail where the key is there.
    pub(crate) async fn find_without_value(
        &self,
        key: &Key,
        mode: Mode,
        call: &Call,
    ) -> Result<Option<Entry>> {
        let name = self.names.name(key);
        if may_be_lock_node(&name) {
            return self.find(key, mode, call).await;
        }
        let nobody = NOBODY.to_owned();
        let checks = [
            Op::CheckIndex { name: name.clone(), index: 0 },
            Op::CheckSession { name: name.clone(), session: nobody },
        ];
        let reply = self.client.txn(&checks, false, mode, call).await;
        if let TxnReply::Refused(refusals) =
            reply.map_err(|failure| failure.into_error(call, false))?
        {
            let what = |op: usize| refusals.iter().find(|refusal| refusal.op == op);
            if let Some(denied) = refusals.iter().find(|refusal| is_denied_text(&refusal.what)) {
                return Err(Failure::refusal(&denied.what).into_error(call, false));
            }
            if what(0).is_some_and(|refusal| is_absent_text(&refusal.what)) {
                return Ok(None);
            }
            let index = what(0).and_then(|refusal| said_index(&refusal.what));
            let session = what(1).and_then(|refusal| said_session(&refusal.what));
            if let (Some(modify_index), Some(session)) = (index, session) {
                let session = Some(session.to_owned()).filter(|session| !session.is_empty());
                return Ok(Some(Entry {
                    name,
                    value: Default::default(),
                    flags: 0,
                    create_index: 0,
                    modify_index,
                    lock_index: 0,
                    session,
                }));
            }
        }
        // A server that says it in other words gives the value too.
        let found = self.find(key, mode, call).await?;
        Ok(found.map(|entry| Entry { value: Default::default(), ..entry }))
    }
}

/// No session has this id.
const NOBODY: &str = "nobody";

/// The index in `failed index check for key "a", current modify index 7 != 0`.
fn said_index(what: &str) -> Option<u64> {
    what.rsplit_once(" != ")?.0.rsplit_once(' ')?.1.parse().ok()
}

/// The session in `failed session check for key "a", current session "…" != "nobody"`.
fn said_session(what: &str) -> Option<&str> {
    what.strip_suffix(&format!("\" != {NOBODY:?}"))?.rsplit_once('"').map(|(_, session)| session)
}
