//! Noticing that the right to read was lost.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use futures_util::future::join_all;
use libkv_core::{Key, Result};
use tokio::time::Instant;
use zookeeper_client as zk;

use super::Watch;
use crate::error::Failure;

/// How often it is looked, and at how many of the keys each time, one after the other.
const EVERY: Duration = Duration::from_secs(10);
const KEYS_EACH_TIME: usize = 8;

/// When it is looked next, and where it was looked last.
#[derive(Debug)]
pub(super) struct Rights {
    pub(super) due: Instant,
    last: Option<Key>,
}

impl Rights {
    pub(super) fn new() -> Self {
        Self { due: Instant::now() + EVERY, last: None }
    }
}

impl Watch {
    /// Asks for the ACLs of the target and of some keys. The servers do not tell what happens to a
    /// node to those who may not read it, and these may not read its ACL either, which is smaller
    /// than its value.
    pub(super) async fn check_rights(&mut self) -> Result<()> {
        self.rights.due = Instant::now() + EVERY;
        let begin = self.rights.last.take().map_or(Unbounded, Excluded);
        let keys = self.picture.range::<Key, _>((begin, Unbounded)).map(|(key, _)| key.clone());
        let keys: Vec<Key> = keys.take(KEYS_EACH_TIME).collect();
        let mut paths: BTreeSet<_> = keys.iter().map(|key| self.handle.paths.path(key)).collect();
        paths.insert(self.scope.top().to_owned());
        let (call, asked) = (self.call(), &paths);
        let asking = self.handle.link.read(&call, |client| async move {
            Ok(join_all(asked.iter().map(|path| client.get_acl(path))).await)
        });
        let answers = asking.await.map_err(|failure| failure.into_error(&call, false))?;
        for (path, answer) in paths.iter().zip(answers) {
            if let Err(zk::Error::NoAuth) = answer {
                let error = Failure::Refused(zk::Error::NoAuth).into_error(&call, false);
                return Err(match self.handle.paths.key(path) {
                    Some(key) => error.with_key(&key),
                    None => error,
                });
            }
        }
        // From the beginning again where there are no more.
        self.rights.last = keys.last().filter(|_| keys.len() == KEYS_EACH_TIME).cloned();
        Ok(())
    }
}
