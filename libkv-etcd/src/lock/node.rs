use libkv_core::{Backoff, Result};
use tokio::time::{Instant, sleep};

use super::{LOCK, LONGEST_PAUSE, NODE_CHANGES, PAUSE};
use crate::error::ETCD;
use crate::handle::Handle;
use crate::hub::{Subscription, closed};
use crate::mailbox::Note;
use crate::names::Span;
use crate::queue::{Place, Queue};

/// The server's kind of a deletion (`Event.EventType` in its `kv.proto`).
const DELETE: i32 = 1;

/// Whether a watch goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Watching {
    On,
    /// It was cut off, and what follows comes only to another.
    Over,
}

/// Waits until the watched node may have changed.
pub(super) async fn changed(watch: &mut Subscription) -> Result<Watching> {
    match watch.next().await {
        Note::Failed(error) => Err(error),
        Note::Closed => Err(closed(LOCK)),
        Note::Lagged | Note::Compacted | Note::Rewound => Ok(Watching::Over),
        Note::Change(_) | Note::Opened { .. } | Note::Level => Ok(Watching::On),
    }
}

/// Watches the node of a lock that is held, and returns why it is not any more.
pub(super) async fn watch_over(
    handle: &Handle,
    queue: &Queue,
    place: &Place,
    node: &mut Subscription,
) -> &'static str {
    loop {
        match node.next().await {
            Note::Change(event) => {
                let kv = event.kv.as_ref();
                let newer = kv.is_some_and(|kv| kv.mod_revision > place.revision);
                match (newer, event.r#type == DELETE) {
                    (true, true) => return "its node was deleted by others",
                    (true, false) => return "its node was overwritten by others",
                    // The word that the node was made is late, and nothing is missing.
                    (false, _) => continue,
                }
            }
            Note::Rewound => return "the server's history went back",
            Note::Closed => return "its handle was closed",
            // The lease says when it ends; without the right to watch nobody else does.
            Note::Failed(_) => return std::future::pending().await,
            Note::Lagged => node.listen_again(),
            Note::Compacted => {
                *node = handle.hub.open(Span::one(place.node.clone()), NODE_CHANGES);
            }
            Note::Opened { .. } => {}
            Note::Level => continue,
        }
        // Something may have been missed, so the node is looked at, until there is an answer.
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            let deadline = Instant::now() + handle.cluster.operation_timeout;
            match queue.look(place, deadline).await {
                Ok(None) => return "its node was deleted by others",
                Ok(Some(_)) => break,
                Err(error) => {
                    let key = String::from_utf8_lossy(&place.node);
                    tracing::warn!(backend = %ETCD, %key, %error, "the lock's node cannot be read");
                    sleep(backoff.next_jittered()).await;
                }
            }
        }
    }
}
