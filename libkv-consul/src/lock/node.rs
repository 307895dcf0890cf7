use std::time::Duration;

use libkv_core::{Backoff, Result};
use tokio::time::{Instant, sleep, timeout};

use super::{LOCK, LONGEST_PAUSE, PAUSE};
use crate::client::{Call, Mode};
use crate::error::CONSUL;
use crate::handle::Handle;
use crate::hub::{Subscription, closed};
use crate::mailbox::Note;

/// How often it is tried where nothing is heard: of the end of a lock-delay nobody is told.
const RETRY: Duration = Duration::from_secs(2);

/// Waits until it may be one's turn to take a lock.
pub(super) struct Turn {
    node: Subscription,
    /// The index up to which has been heard.
    heard: u64,
}

impl Turn {
    pub(super) fn new(node: Subscription, heard: u64) -> Self {
        Self { node, heard }
    }

    /// Resolves when the lock may be free; with the index at which its key was found free, where
    /// that is there.
    pub(super) async fn comes(&mut self) -> Result<Option<u64>> {
        let mut held = false;
        loop {
            let Ok(note) = timeout(RETRY, self.node.next()).await else {
                return Ok(None);
            };
            match note {
                Note::Change(change) => {
                    self.heard = change.index;
                    match &change.entry {
                        Some(entry) if entry.session.is_some() => held = true,
                        entry => return Ok(entry.as_ref().map(|entry| entry.modify_index)),
                    }
                }
                // It was taken and given back before anybody looked.
                Note::Level { index } if index > self.heard && !held => {
                    self.heard = index;
                    return Ok(None);
                }
                Note::Level { .. } | Note::Rewound => {}
                Note::Begun => return Ok(None),
                Note::Lagged => {
                    self.node.listen_again();
                    return Ok(None);
                }
                Note::Failed(error) => return Err(error),
                Note::Closed => return Err(closed(LOCK)),
            }
        }
    }

    pub(super) fn into_node(self) -> Subscription {
        self.node
    }
}

/// Watches the key of a lock that is held, and returns why it is not any more.
pub(super) async fn watch_over(
    handle: &Handle,
    name: &str,
    token: u64,
    node: &mut Subscription,
) -> &'static str {
    loop {
        match node.next().await {
            Note::Change(change) => match &change.entry {
                Some(entry) if entry.modify_index > token => return "its key was written by others",
                None if change.index > token => return "its key was deleted by others",
                // It is older than the lock.
                _ => continue,
            },
            Note::Rewound => return "the server's history went back",
            Note::Closed => return "its handle was closed",
            // The session says when it ends; without the right to read nobody else does.
            Note::Failed(_) => return std::future::pending().await,
            Note::Lagged => node.listen_again(),
            Note::Begun => {}
            Note::Level { .. } => continue,
        }
        // Something may have been missed, so the key is looked at, until there is an answer.
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            let deadline = Instant::now() + handle.client.operation_timeout();
            let call = Call { operation: LOCK, deadline };
            match handle.client.get(name, Mode::Consistent, &call).await {
                Ok(answer) => match answer.body {
                    Some(entry) if entry.modify_index == token => break,
                    Some(_) => return "its key was written by others",
                    None => return "its key was deleted by others",
                },
                Err(failure) => {
                    let error = failure.into_error(&call, false);
                    tracing::warn!(backend = %CONSUL, key = name, %error, "the lock cannot be read");
                    sleep(backoff.next_jittered()).await;
                }
            }
        }
    }
}
