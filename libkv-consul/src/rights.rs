use std::collections::HashSet;
use std::sync::Arc;

use libkv_core::{Error, ErrorKind, Result};
use tokio::sync::OnceCell;

use crate::client::{Call, Client, Mode, Op, TxnReply};
use crate::error::{CONSUL, Failure, is_denied_text};

/// How many names are asked about at once: what the oldest servers take.
const AT_ONCE: usize = 64;
/// A name that stands for all that are below a directory.
const ANY: &str = "x";

/// Tells what is gone from what may not be read any more: the server leaves both out of a listing.
#[derive(Debug)]
pub(crate) struct Rights {
    client: Arc<Client>,
    /// Whether the servers ask for rights at all.
    enforced: OnceCell<bool>,
}

impl Rights {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { client, enforced: OnceCell::new() }
    }

    /// Looks at names that were left out of a listing, and returns those that are there all the
    /// same, since somebody put them meanwhile.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` where one of them may not be read.
    pub(crate) async fn look_for(&self, names: &[String], call: &Call) -> Result<HashSet<String>> {
        let mut found = HashSet::new();
        if names.is_empty() || !self.may_be_enforced(call).await? {
            return Ok(found);
        }
        for names in names.chunks(AT_ONCE) {
            // No key has this index, so each check is refused and says why. No value is moved.
            let look = |name: &String| Op::CheckIndex { name: name.clone(), index: 0 };
            let ops: Vec<Op> = names.iter().map(look).collect();
            let looked = self.client.txn(&ops, false, Mode::Consistent, call).await;
            let refusals = match looked.map_err(|failure| failure.into_error(call, false))? {
                TxnReply::Done(_) => continue,
                TxnReply::Refused(refusals) => refusals,
            };
            for refusal in refusals {
                if is_denied_text(&refusal.what) {
                    return Err(self.denied(call));
                }
                let name = names.get(refusal.op);
                found.extend(name.filter(|_| !is_absent_text(&refusal.what)).cloned());
            }
        }
        Ok(found)
    }

    /// Looks whether an empty listing may have been read.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` where it may not.
    pub(crate) async fn demand(&self, prefix: &str, call: &Call) -> Result<()> {
        self.look_for(&[format!("{prefix}{ANY}")], call).await.map(drop)
    }

    /// The answer to a listing that the server says it has left something out of.
    pub(crate) fn denied(&self, call: &Call) -> Error {
        Error::new(ErrorKind::PermissionDenied, CONSUL, call.operation).with_detail(format!(
            "{}: the token may not read all of it; it needs the right to read the whole prefix",
            self.client.address()
        ))
    }

    /// Whoever shows a token expects to be asked for it, sooner or later.
    async fn may_be_enforced(&self, call: &Call) -> Result<bool> {
        if self.client.shows_token() {
            return Ok(true);
        }
        let asking = || async { self.client.acls_enabled(call).await };
        let asked: Result<&bool, Failure> = self.enforced.get_or_try_init(asking).await;
        asked.copied().map_err(|failure| failure.into_error(call, false))
    }
}

/// Whether the reason of a refusal is that the key is absent (`kvs.go` in Consul's `state`).
pub(crate) fn is_absent_text(what: &str) -> bool {
    what.ends_with("doesn't exist")
}
