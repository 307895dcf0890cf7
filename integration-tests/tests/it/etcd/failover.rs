//! Of several members some are down, paused, cut off or behind a dead connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use libkv_core::{Result, StoreExt, Version};
use libkv_etcd::EtcdStore;
use tokio::task::JoinHandle;

use super::disturbed::{Truth, open_plain, timed, until};
use super::history::{DIR, Follower, mark};
use crate::harness::etcd::Cluster;
use crate::harness::proxy::{Flow, Proxy};

const MEMBERS: usize = 3;
/// A connection without an answer is noticed within this time.
const NOTICED: Duration = Duration::from_secs(30);

/// Reads and writes that go on while members come and go.
struct Traffic {
    reads: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
    reader: JoinHandle<Duration>,
    writer: JoinHandle<Vec<Result<Version>>>,
}

impl Traffic {
    async fn start(endpoints: &[String]) -> Self {
        let (reads, writes, ending) =
            <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let store = open_plain(endpoints).await;
        store.put("read", "v").await.unwrap();
        let (count, ends) = (reads.clone(), ending.clone());
        let reader = tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            while !ends.load(Ordering::Relaxed) {
                let (pair, took) = timed(store.get("read")).await;
                assert_eq!(pair.expect("no read fails").value, "v");
                longest = longest.max(took);
                count.fetch_add(1, Ordering::Relaxed);
            }
            longest
        });
        let store = open_plain(endpoints).await;
        let (count, ends) = (writes.clone(), ending.clone());
        let writer = tokio::spawn(async move {
            let mut claims = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                let claim = store.put(format!("w/{}", claims.len()), "").await;
                count.fetch_add(u64::from(claim.is_ok()), Ordering::Relaxed);
                claims.push(claim);
            }
            claims
        });
        Self { reads, writes, ending, reader, writer }
    }

    /// Waits until reads and writes go on.
    async fn flows(&self) {
        let now = || (self.reads.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed));
        let before = now();
        until("reads and writes go on", async || {
            assert!(!self.reader.is_finished(), "a read failed");
            let now = now();
            now.0 > before.0 + 200 && now.1 > before.1 + 50
        })
        .await;
    }

    /// Ends it, and compares what writes claimed with what is there.
    async fn end(self, truth: &Truth) {
        self.ending.store(true, Ordering::Relaxed);
        let longest = self.reader.await.expect("no read fails");
        let claims = self.writer.await.unwrap();
        let mut unknown = 0;
        for (number, claim) in claims.iter().enumerate() {
            let found = truth.get(&format!("w/{number}")).await;
            let put = found.as_ref().map(|kv| (kv.version, kv.mod_revision.unsigned_abs()));
            match claim {
                Ok(version) => assert_eq!(put, Some((1, version.last_index())), "{number}"),
                Err(error) if error.changed_nothing() => {
                    assert_eq!(put, None, "{number}: {error}");
                }
                Err(_) => {
                    assert!(put.is_none_or(|(version, _)| version == 1), "{number}: {put:?}");
                    unknown += 1;
                }
            }
        }
        let reads = self.reads.load(Ordering::Relaxed);
        println!(
            "{reads} reads, the longest {longest:?}; {} writes, {unknown} of them unknown",
            claims.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_fails_while_one_member_is_down() {
    let cluster = Cluster::start(MEMBERS).await;
    let traffic = Traffic::start(&cluster.endpoints()).await;
    traffic.flows().await;
    for member in 0..MEMBERS {
        cluster.member(member).kill().await;
        traffic.flows().await;
        // Who opens a store now finds one that is there.
        open_plain(&cluster.endpoints()).await.get("read").await.unwrap();
        cluster.member(member).start_again().await;
    }
    // In particular the one that leads.
    let leader = cluster.leader().await;
    cluster.member(leader).kill().await;
    traffic.flows().await;
    cluster.member(leader).start_again().await;
    traffic.end(&Truth::at(&cluster.endpoints()[0]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_member_is_left_for_another() {
    let cluster = Cluster::start(MEMBERS).await;
    let traffic = Traffic::start(&cluster.endpoints()).await;
    traffic.flows().await;
    // All calls go to the first at first, which may lead or not; then to the others.
    for member in [0, cluster.leader().await] {
        cluster.member(member).pause().await;
        traffic.flows().await;
        cluster.member(member).unpause().await;
        cluster.member(member).wait_ready().await;
    }
    traffic.end(&Truth::at(&cluster.endpoints()[0]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_cut_off_from_the_others_is_left_for_one_that_is_not() {
    let cluster = Cluster::start(MEMBERS).await;
    let endpoints = cluster.endpoints();
    let traffic = Traffic::start(&endpoints).await;
    // The watch is at the first member, and so are all calls.
    let store = open_plain(&endpoints).await;
    let follower = Follower::watch(&store);
    follower.until("the watch begins", |told| told.begun.is_some()).await;
    traffic.flows().await;
    cluster.isolate(0).await;
    traffic.flows().await;
    // It is not the cluster any more, and a watch there would be silent.
    let direct = open_plain(&endpoints[1..]).await;
    follower.until_marked(&mark(&direct).await).await;
    // A read of this handle sees what the others have agreed upon.
    direct.put("agreed", "v").await.unwrap();
    assert_eq!(store.get("agreed").await.unwrap().value, "v");
    cluster.rejoin(0).await;
    cluster.member(0).wait_ready().await;
    traffic.flows().await;
    let truth = Truth::at(&endpoints[1]).await;
    follower.assert_converged(&truth).await;
    follower.assert_all_told(&truth).await;
    traffic.end(&truth).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_silent_is_noticed() {
    let cluster = Cluster::start(MEMBERS).await;
    let proxy = Proxy::start(&*cluster.endpoints()[0]).await;
    let endpoints = [&[proxy.addr()], &cluster.endpoints()[1..]].concat();
    let store = open_plain(&endpoints).await;
    let direct: EtcdStore = open_plain(&endpoints[1..]).await;
    let follower = Follower::watch(&store);
    follower.until("the watch begins", |told| told.begun.is_some()).await;
    follower.until_marked(&mark(&direct).await).await;
    // Nothing passes, and nobody says so.
    proxy.set_both(Flow::Stall);
    let marker = mark(&direct).await;
    let ((), took) = timed(follower.until_marked(&marker)).await;
    println!("events flow again after {took:?}");
    assert!(took < NOTICED, "{took:?}");
    follower.assert_all_told(&Truth::at(&endpoints[1]).await).await;
    // A call has no time to wait for that.
    store.get(format!("{DIR}/marker")).await.unwrap();
}
