use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use etcd_client::{Error as ClientError, WatchRequestSender, WatchResponse, WatchStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Request;
use crate::endpoint::Connection;
use crate::error::{Fault, judge};

/// What is known of the server's history.
#[derive(Debug)]
pub(super) struct History {
    pub(super) cluster: Option<u64>,
    newest: Arc<AtomicI64>,
}

/// An open stream.
pub(super) struct Stream {
    pub(super) connection: Connection,
    /// Since when it is there: a login from before gave it its token.
    pub(super) opened: Instant,
    pub(super) messages: WatchStream,
    /// The watches that the server has been asked for and has not answered, in that order: it
    /// names none where it refuses.
    pub(super) asked: VecDeque<i64>,
}

/// Why a stream is given up.
pub(super) enum Broken {
    /// Its connection or its member failed.
    Lost(Fault),
    /// Its token was refused, and there is another.
    Renewed,
    /// Nobody watches, or all that is left must be asked for anew.
    Over,
    /// The handle is closed, or nobody is there to watch any more.
    End,
}

impl History {
    pub(super) fn new(newest: Arc<AtomicI64>) -> Self {
        Self { cluster: None, newest }
    }

    /// The newest revision that was seen.
    pub(super) fn newest(&self) -> i64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// Another history has begun.
    pub(super) fn begin(&mut self, cluster: u64, revision: i64) {
        self.cluster = Some(cluster);
        self.newest.store(revision, Ordering::Relaxed);
    }

    pub(super) fn note(&mut self, message: &WatchResponse) {
        if let Some(header) = message.header() {
            self.cluster = Some(header.cluster_id());
            self.newest.fetch_max(header.revision(), Ordering::Relaxed);
        }
    }
}

/// Which watch a creation is about. A refusal names none, and comes in the order of the requests.
pub(super) fn answered(message: &WatchResponse, asked: &mut VecDeque<i64>) -> i64 {
    let named = asked.iter().position(|id| *id == message.watch_id());
    asked.remove(named.unwrap_or_default()).unwrap_or_else(|| message.watch_id())
}

/// Sends requests as fast as the server takes them; returns when it takes none any more.
pub(super) async fn write(
    mut sender: WatchRequestSender,
    mut outbox: mpsc::UnboundedReceiver<Request>,
) -> ClientError {
    loop {
        let Some(request) = outbox.recv().await else {
            return std::future::pending().await;
        };
        let sent = match request {
            Request::Watch(_, key, options) => sender.watch(key, Some(options)).await,
            Request::Cancel(id) => sender.cancel(id).await,
            Request::Progress => sender.request_progress().await,
        };
        if let Err(error) = sent {
            return error;
        }
    }
}

pub(super) fn ended() -> Fault {
    judge(ClientError::WatchError("the server ended the stream".to_owned()))
}
