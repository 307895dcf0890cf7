use std::sync::Arc;

use bytes::Bytes;
use etcd_client::proto::{PbKeyValue, PbTxnOpResponse};
use etcd_client::{
    Compare, CompareOp, GetOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnResponse,
};
use libkv_core::Result;
use tokio::time::Instant;

use crate::cluster::{Call, Cluster, Failure, Way};
use crate::endpoint::{Connection, Lane};
use crate::names::{Span, is_lock_node};

/// How many of the youngest names below a lock are looked at in one exchange: most often the one
/// sought is the first.
const LOOK: i64 = 16;
const GROWTH: i64 = 8;
const LOCK: &str = "lock";

/// The queue of a lock: its nodes, ordered by the revisions at which they were made.
///
/// It is the recipe of `etcdctl lock` and of Go's `concurrency.Mutex`, so that theirs and ours
/// exclude each other. Unlike these it takes data below the key for what it is, and waits for nodes
/// only.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    cluster: Arc<Cluster>,
    /// The name of the locked key.
    name: Vec<u8>,
}

/// A node in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) node: Vec<u8>,
    pub(crate) lease: i64,
    /// The revision at which the node was made.
    pub(crate) revision: i64,
}

/// What came of an attempt to join.
#[derive(Debug)]
pub(crate) enum Joined {
    /// Nobody was there: the lock is held, and its value, if it has one, was written with it.
    First(Place),
    /// There is a node. Whoever is in front has this name, if anybody is.
    Behind(Place, Option<Vec<u8>>),
    /// Somebody is in front, and nothing was done.
    Busy,
    /// The server does not know the lease, and nothing was done.
    Unknown,
}

impl Queue {
    pub(crate) fn new(cluster: Arc<Cluster>, name: Vec<u8>) -> Self {
        Self { cluster, name }
    }

    /// The name of the node with this lease.
    pub(crate) fn node(&self, lease: i64) -> Vec<u8> {
        [&self.name, format!("/{lease:x}").as_bytes()].concat()
    }

    fn below(&self) -> Vec<u8> {
        [&self.name[..], b"/"].concat()
    }

    /// Makes a node, and sees in the same transaction who is in front of it. Where nothing at all is
    /// below the key, which is the usual case, the lock's value is written too.
    pub(crate) async fn join(
        &self,
        lease: i64,
        value: Option<&Bytes>,
        deadline: Instant,
    ) -> Result<Joined> {
        let (make, look) = (self.make(lease), self.youngest(None, LOOK));
        let Some(response) = self.attempt(lease, value, vec![make, look], deadline).await? else {
            return Ok(Joined::Unknown);
        };
        let place = self.place(lease, &response);
        if response.succeeded() {
            return Ok(Joined::First(place));
        }
        let older = self.in_front(&place, response, deadline).await?;
        Ok(Joined::Behind(place, older))
    }

    /// As [`join`](Self::join), and makes no node where somebody is in front.
    pub(crate) async fn join_if_free(
        &self,
        lease: i64,
        value: Option<&Bytes>,
        deadline: Instant,
    ) -> Result<Joined> {
        let look = self.youngest(None, LOOK);
        let Some(response) = self.attempt(lease, value, vec![look], deadline).await? else {
            return Ok(Joined::Unknown);
        };
        let place = self.place(lease, &response);
        if response.succeeded() {
            return Ok(Joined::First(place));
        }
        // One behind the present: whoever is there is in front.
        let next = Place { revision: place.revision + 1, ..place };
        match self.in_front(&next, response, deadline).await? {
            Some(_) => Ok(Joined::Busy),
            // There is data below the key, and nobody in the queue.
            None => self.join(lease, value, deadline).await,
        }
    }

    /// Takes the lock where nothing is below the key, and else does something other; none where the
    /// server does not know the lease.
    async fn attempt(
        &self,
        lease: i64,
        value: Option<&Bytes>,
        other: Vec<TxnOp>,
        deadline: Instant,
    ) -> Result<Option<TxnResponse>> {
        let bound = Some(PutOptions::new().with_lease(lease));
        let write = |value: &Bytes| TxnOp::put(self.name.clone(), value.to_vec(), bound);
        let first: Vec<_> = [self.make(lease)].into_iter().chain(value.map(write)).collect();
        let txn = Txn::new().when([self.is_alone()]).and_then(first).or_else(other);
        let call = Self::call(Way::Write, deadline);
        match self.send(&txn, &call).await {
            Err(failure) if failure.fault.is_lease_gone() => Ok(None),
            sent => sent.map(Some).map_err(|failure| failure.into_error(&call)),
        }
    }

    fn make(&self, lease: i64) -> TxnOp {
        TxnOp::put(self.node(lease), "", Some(PutOptions::new().with_lease(lease)))
    }

    fn place(&self, lease: i64, response: &TxnResponse) -> Place {
        Place { node: self.node(lease), lease, revision: revision(response) }
    }

    /// Looks again who is in front; none where nobody is. The outer none says that the own node is
    /// gone.
    pub(crate) async fn look(
        &self,
        place: &Place,
        deadline: Instant,
    ) -> Result<Option<Option<Vec<u8>>>> {
        let txn =
            Txn::new().when(there(place)).and_then([self.youngest(Some(place.revision), LOOK)]);
        let response = self.exchange(txn, Way::Read, deadline).await?;
        if !response.succeeded() {
            return Ok(None);
        }
        self.in_front(place, response, deadline).await.map(Some)
    }

    /// Writes the value of a lock that is held, and returns its revision; none where the own node is
    /// gone.
    pub(crate) async fn write_value(
        &self,
        place: &Place,
        value: &Bytes,
        deadline: Instant,
    ) -> Result<Option<i64>> {
        let bound = Some(PutOptions::new().with_lease(place.lease));
        let put = TxnOp::put(self.name.clone(), value.to_vec(), bound);
        let txn = Txn::new().when(there(place)).and_then([put]);
        let response = self.exchange(txn, Way::Write, deadline).await?;
        Ok(response.succeeded().then(|| revision(&response)))
    }

    /// Gives the lock back, with its value if that is still the one of this revision; false where
    /// the own node was gone.
    pub(crate) async fn leave(
        &self,
        place: &Place,
        value: Option<i64>,
        deadline: Instant,
    ) -> Result<bool> {
        let mut leaving = vec![TxnOp::delete(place.node.clone(), None)];
        leaving.extend(value.map(|revision| {
            let same = Compare::mod_revision(self.name.clone(), CompareOp::Equal, revision);
            let delete = TxnOp::delete(self.name.clone(), None);
            TxnOp::txn(Txn::new().when([same]).and_then([delete]))
        }));
        let txn = Txn::new().when(there(place)).and_then(leaving);
        Ok(self.exchange(txn, Way::Write, deadline).await?.succeeded())
    }

    /// True where nothing at all is below the key.
    fn is_alone(&self) -> Compare {
        Compare::create_revision(self.below(), CompareOp::Equal, 0).with_prefix()
    }

    /// Reads the youngest names below the key, among those that were made before a revision.
    fn youngest(&self, before: Option<i64>, limit: i64) -> TxnOp {
        let mut options = GetOptions::new()
            .with_prefix()
            .with_keys_only()
            .with_limit(limit)
            .with_sort(SortTarget::Create, SortOrder::Descend);
        if let Some(before) = before {
            options = options.with_max_create_revision(before - 1);
        }
        TxnOp::get(self.below(), Some(options))
    }

    /// The next node in front of a place, beginning with what a transaction has read and reading on
    /// where that was data only.
    async fn in_front(
        &self,
        place: &Place,
        mut response: TxnResponse,
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>> {
        let (span, mut limit) = (Span::of_prefix(self.below()), LOOK);
        loop {
            limit *= GROWTH;
            let (kvs, more) = read(response);
            let is_node = |kv: &&PbKeyValue| {
                let own_level = !kv.key[span.from.len()..].contains(&b'/');
                own_level && kv.create_revision < place.revision && is_lock_node(&kv.key, kv.lease)
            };
            if let Some(node) = kvs.iter().find(is_node) {
                return Ok(Some(node.key.clone()));
            }
            let Some(oldest) = kvs.last().filter(|_| more) else {
                return Ok(None);
            };
            // Names that one transaction made are of one revision, which is looked at once more
            // where it may not have been read to its end.
            let whole = kvs.first().is_some_and(|kv| kv.create_revision == oldest.create_revision);
            let before = if whole { oldest.create_revision } else { oldest.create_revision + 1 };
            let look = Txn::new().and_then([self.youngest(Some(before), limit)]);
            response = self.exchange(look, Way::Read, deadline).await?;
        }
    }

    async fn exchange(&self, txn: Txn, way: Way, deadline: Instant) -> Result<TxnResponse> {
        let call = Self::call(way, deadline);
        self.send(&txn, &call).await.map_err(|failure| failure.into_error(&call))
    }

    fn call(way: Way, deadline: Instant) -> Call {
        Call { operation: LOCK, lane: Lane::Calls, way, deadline }
    }

    async fn send(&self, txn: &Txn, call: &Call) -> Result<TxnResponse, Failure> {
        let sending = self.cluster.call(call, |at: Connection| {
            let txn = txn.clone();
            async move { at.kv().txn(txn).await }
        });
        sending.await
    }
}

/// True where the node is there, and is the one that was made. Overwritten without its lease it is
/// somebody's data, though its creation is the same.
fn there(place: &Place) -> [Compare; 2] {
    [
        Compare::create_revision(place.node.clone(), CompareOp::Equal, place.revision),
        Compare::lease(place.node.clone(), CompareOp::Equal, place.lease),
    ]
}

fn revision(response: &TxnResponse) -> i64 {
    response.header().map_or(0, |header| header.revision())
}

/// What the range of a transaction found, and whether there is more.
fn read(response: TxnResponse) -> (Vec<PbKeyValue>, bool) {
    let mut ranges = response.0.responses.into_iter().filter_map(|op| match op.response? {
        PbTxnOpResponse::ResponseRange(range) => Some(range),
        _ => None,
    });
    ranges.next_back().map_or_else(Default::default, |range| (range.kvs, range.more))
}
