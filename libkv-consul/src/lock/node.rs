use std::time::Duration;

use libkv_core::{Backoff, Result};
use tokio::time::{Instant, sleep, timeout};

use super::{LOCK, NODE_CHANGES, PAUSE};
use crate::client::{Call, Mode};
use crate::error::CONSUL;
use crate::handle::Handle;
use crate::hub::{Known, Subscription, closed};
use crate::mailbox::Note;
use crate::names::LOCK_FLAG;

/// How often the key is looked at where nothing is heard: of the end of a lock-delay nobody is told.
const RETRY: Duration = Duration::from_secs(2);

/// The longest pause where the key of a lock that is held cannot be read, as without the right to.
const LONGEST_WATCH_PAUSE: Duration = Duration::from_secs(5);
const WRITTEN: &str = "its key was written by others";
const DELETED: &str = "its key was deleted by others";

/// What is known of a lock that others hold.
pub(super) enum Heard {
    /// It may be free; with the index at which its key was found so, where that is there.
    Free(Option<u64>),
    /// Nothing for some time, or less than all.
    Nothing,
}

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

    /// Resolves when the lock may be free, and from time to time.
    pub(super) async fn comes(&mut self) -> Result<Heard> {
        let mut held = false;
        loop {
            let Ok(note) = timeout(RETRY, self.node.next()).await else {
                return Ok(Heard::Nothing);
            };
            match note {
                Note::Change(change) => {
                    self.heard = change.index;
                    match &change.entry {
                        None => return Ok(Heard::Free(None)),
                        Some(entry) if entry.session.is_some() => held = true,
                        Some(entry) if entry.flags == LOCK_FLAG => {
                            return Ok(Heard::Free(Some(entry.modify_index)));
                        }
                        // Somebody's data has no place here.
                        Some(_) => return Ok(Heard::Nothing),
                    }
                }
                // It was taken and given back before anybody looked.
                Note::Level { index } if index > self.heard && !held => {
                    self.heard = index;
                    return Ok(Heard::Free(None));
                }
                Note::Level { .. } | Note::Rewound => {}
                Note::Begun => return Ok(Heard::Nothing),
                Note::Lagged => {
                    self.node.listen_again();
                    return Ok(Heard::Nothing);
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
    let mut backoff = Backoff::new(PAUSE, LONGEST_WATCH_PAUSE);
    loop {
        match node.next().await {
            Note::Change(change) => match &change.entry {
                Some(entry) if entry.modify_index > token => return WRITTEN,
                None if change.index > token => return DELETED,
                // It is older than the lock.
                _ => continue,
            },
            Note::Rewound => return "the server's history went back",
            Note::Closed => return "its handle was closed",
            // The session says meanwhile when it ends.
            Note::Failed(error) => {
                tracing::warn!(backend = %CONSUL, key = name, %error, "the lock is not watched");
                sleep(backoff.next_jittered()).await;
                let known = Known { modified: Some(token), index: token };
                *node = handle.hub.listen_from(name.to_owned(), NODE_CHANGES, known);
            }
            Note::Lagged => node.listen_again(),
            Note::Begun => {}
            Note::Level { .. } => {
                backoff.reset();
                continue;
            }
        }
        // Something may have been missed, so the key is looked at, until there is an answer.
        loop {
            let deadline = Instant::now() + handle.client.operation_timeout();
            let call = Call { operation: LOCK, deadline };
            match handle.client.get(name, Mode::Consistent, &call).await {
                Ok(answer) => match answer.body {
                    Some(entry) if entry.modify_index == token => break,
                    Some(_) => return WRITTEN,
                    None => return DELETED,
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
