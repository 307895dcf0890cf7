//! Turns compares and writes into one guarded multi, by what the nodes are. Nothing here waits.

mod planner;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use libkv_core::{Condition, Error, ErrorKind, Fence, Key, Lifetime, Result, TxnWrite};
use zookeeper_client::Stat;

use self::planner::Planner;
use crate::error::ZK;
use crate::paths::{Paths, ancestors};

/// What a request takes besides its operations, and an operation besides its path and value.
const HEADER_BYTES: usize = 64;
const OP_BYTES: usize = 96;

/// One operation of a multi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// The node must be there; with this counter, if there is one.
    Check {
        path: String,
        version: Option<i32>,
    },
    Create {
        path: String,
        value: Bytes,
        ephemeral: bool,
    },
    Set {
        path: String,
        value: Bytes,
        version: Option<i32>,
    },
    Delete {
        path: String,
        version: Option<i32>,
    },
}

/// What an operation is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// The lock of the fence must be held.
    Fence(Key),
    /// What was read must still be so.
    Guard,
    /// It tells the index, and whether the node is the one that was meant.
    Mark {
        czxid: i64,
    },
    /// It tells the version of this put, and whether the node is the one that was meant.
    Put {
        at: usize,
        czxid: Option<i64>,
    },
    Step,
}

/// A multi, and what each of its operations is for.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) ops: Vec<(Op, Role)>,
    /// Nodes that are compared with a version and not written: who has one is looked at afterwards,
    /// since the server compares only the counter.
    pub(crate) compared: Vec<(String, i64)>,
}

/// What is to be done together.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) operation: &'static str,
    pub(crate) compares: Vec<(Key, Condition)>,
    pub(crate) fences: Vec<Fence>,
    pub(crate) writes: Vec<TxnWrite>,
    /// The session that ephemeral keys are bound to.
    pub(crate) session: i64,
}

/// The nodes that a request is about, as they were read; none for one that is absent.
pub(crate) type Nodes = BTreeMap<String, Option<Stat>>;

impl Request {
    /// The paths to be read before a plan can be made: of the keys, and all above them.
    pub(crate) fn paths(&self, paths: &Paths) -> BTreeSet<String> {
        let compared = self.compares.iter().map(|(key, _)| key);
        let written = self.writes.iter().map(TxnWrite::key);
        let mut all = BTreeSet::new();
        for key in compared.chain(written) {
            let path = paths.path(key);
            all.extend(ancestors(&path).map(str::to_owned));
            all.insert(path);
        }
        all
    }

    /// Makes the plan.
    ///
    /// # Errors
    ///
    /// What a compare says that does not hold, and `NotImplemented` where ZooKeeper cannot have it.
    pub(crate) fn plan(&self, paths: &Paths, nodes: &Nodes) -> Result<Plan> {
        Planner::new(self, paths, nodes).finish()
    }
}

impl Plan {
    /// About how many bytes the request has.
    pub(crate) fn bytes(&self) -> usize {
        let of = |op: &Op| match op {
            Op::Check { path, .. } | Op::Delete { path, .. } => path.len(),
            Op::Create { path, value, .. } | Op::Set { path, value, .. } => {
                path.len() + value.len()
            }
        };
        HEADER_BYTES + self.ops.iter().map(|(op, _)| OP_BYTES + of(op)).sum::<usize>()
    }
}

pub(crate) const BELOW_EPHEMERAL: &str =
    "a key below an ephemeral key, which ZooKeeper cannot have";
pub(crate) const BELOW_EMPTY: &str =
    "a key below an empty value, which ZooKeeper could not tell from no value any more";

/// The refusal of a lifetime.
pub(crate) fn unsupported(lifetime: Lifetime, operation: &'static str) -> Error {
    let detail = match lifetime {
        Lifetime::Ttl(_) => {
            "a time to live: ZooKeeper's own cannot be taken back by a later put; put the key as \
             ephemeral, which lives as long as this handle's session"
                .to_owned()
        }
        other => format!("a lifetime of {other:?}"),
    };
    Error::new(ErrorKind::NotImplemented, ZK, operation).with_detail(detail)
}

#[cfg(test)]
mod tests;
