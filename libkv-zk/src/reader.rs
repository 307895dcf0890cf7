//! Reading many nodes in one exchange.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::future::{try_join, try_join_all};
use libkv_core::{Consistency, Result};
use zookeeper_client as zk;
use zookeeper_client::{MultiReadResult, Stat};

use crate::error::{Call, Failure};
use crate::handle::Handle;

/// No session has this id.
const NONE: i64 = 0;

/// Reads what was acknowledged before its first exchange, unless it may be older, and never goes
/// back behind what it has read.
///
/// A session never goes back, whichever server it is on. Another session may, so that its first
/// exchange syncs as well.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) handle: Arc<Handle>,
    consistency: Consistency,
    /// The session that has synced.
    synced: Arc<AtomicI64>,
}

/// What is to be read of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Values,
    /// The values stay at the server.
    Stats,
}

/// What came of one node. One that is gone is refused.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The value is empty where only the stat was asked for.
    Node(Vec<u8>, Stat),
    /// The names of its children, in no order.
    Children(Vec<String>),
    Refused(zk::Error),
}

/// Paths of nodes that are read together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) nodes: Vec<String>,
    /// Those of which the children's names are read.
    pub(crate) parents: Vec<String>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.parents.is_empty()
    }

    async fn send(&self, client: &zk::Client, content: Content) -> Result<Vec<Answer>, zk::Error> {
        let mut reader = client.new_multi_reader();
        if content == Content::Values {
            self.nodes.iter().try_for_each(|path| reader.add_get_data(path))?;
        }
        self.parents.iter().try_for_each(|path| reader.add_get_children(path))?;
        let rest = reader.commit();
        if content == Content::Values {
            return Ok(rest.await?.into_iter().map(Answer::of).collect());
        }
        let stats = try_join_all(self.nodes.iter().map(|path| client.check_stat(path)));
        let (stats, rest) = try_join(stats, rest).await?;
        let node = |stat: Option<Stat>| match stat {
            Some(stat) => Answer::Node(Vec::new(), stat),
            None => Answer::Refused(zk::Error::NoNode),
        };
        Ok(stats.into_iter().map(node).chain(rest.into_iter().map(Answer::of)).collect())
    }
}

impl Answer {
    fn of(result: MultiReadResult) -> Self {
        match result {
            MultiReadResult::Data { data, stat } => Self::Node(data, stat),
            MultiReadResult::Children { children } => Self::Children(children),
            MultiReadResult::Error { err } => Self::Refused(err),
            _ => Self::Refused(zk::Error::Unimplemented),
        }
    }
}

impl Reader {
    pub(crate) fn new(handle: Arc<Handle>, consistency: Consistency) -> Self {
        Self { handle, consistency, synced: Arc::new(AtomicI64::new(NONE)) }
    }

    /// The session that was read in; none before the first exchange.
    pub(crate) fn session(&self) -> Option<i64> {
        Some(self.synced.load(Ordering::Relaxed)).filter(|session| *session != NONE)
    }

    /// Reads nodes, then the names of children, each in the order of the batch.
    pub(crate) async fn read(
        &self,
        batch: &Batch,
        content: Content,
        call: &Call,
    ) -> Result<Vec<Answer>, Failure> {
        let reading = self.handle.link.read(call, |client| async move {
            let session = client.session_id().0;
            let fresh = self.consistency == Consistency::Local
                || self.synced.load(Ordering::Relaxed) == session;
            if fresh {
                return batch.send(&client, content).await;
            }
            // Both are on their way together, and the server takes them in this order.
            let (_, answers) = try_join(client.sync("/"), batch.send(&client, content)).await?;
            self.synced.store(session, Ordering::Relaxed);
            Ok(answers)
        });
        reading.await
    }
}
