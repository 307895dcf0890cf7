//! Of several members some are down, paused, cut off or behind a dead connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use libkv_core::{Config, Result, Store, StoreExt, Version};
use tokio::task::JoinHandle;

use super::follower::Follower;
use super::writer::{Account, DIR, mark};
use super::{Backend, MEMBERS, open_plain, timed, until};
use crate::harness::proxy::{Flow, Proxy};
use crate::harness::server::Server;

/// A read waits no longer than this for the members to choose who leads, on a machine that is busy.
const ELECTION: Duration = Duration::from_secs(30);

/// Reads and writes that go on while members come and go.
struct Traffic {
    reads: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
    reader: JoinHandle<Duration>,
    writer: JoinHandle<Vec<Result<Version>>>,
}

impl Traffic {
    async fn start<B: Backend>(endpoints: &[String]) -> Self {
        let (reads, writes, ending) =
            <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let patient = |config: &mut Config| config.operation_timeout = ELECTION;
        let store = B::open(endpoints, patient).await;
        store.put("read", "v").await.unwrap();
        let reader = tokio::spawn(read(store, reads.clone(), ending.clone()));
        let store = open_plain::<B>(endpoints).await;
        let writer = tokio::spawn(write(store, writes.clone(), ending.clone()));
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
    async fn end<B: Backend>(self, server: &Server<B>) {
        self.ending.store(true, Ordering::Relaxed);
        let longest = self.reader.await.expect("no read fails");
        let claims = self.writer.await.unwrap();
        let there = B::below(server, "w/").await;
        let mut unknown = 0;
        for (number, claim) in claims.iter().enumerate() {
            let name = format!("w/{number}");
            let found = there.iter().find(|stored| stored.name == name);
            let put = found.map(|stored| (stored.created, stored.changed));
            match claim {
                Ok(version) => {
                    let index = version.last_index();
                    assert_eq!(put, Some((index, index)), "{number}");
                }
                Err(error) if error.changed_nothing() => {
                    assert_eq!(put, None, "{number}: {error}");
                }
                Err(_) => {
                    let once = put.is_none_or(|(created, changed)| created == changed);
                    assert!(once, "{number}: {put:?}");
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

async fn read(store: impl Store, count: Arc<AtomicU64>, ending: Arc<AtomicBool>) -> Duration {
    let mut longest = Duration::ZERO;
    while !ending.load(Ordering::Relaxed) {
        let (pair, took) = timed(store.get("read")).await;
        let pair = pair.unwrap_or_else(|error| panic!("a read failed after {took:?}: {error:?}"));
        assert_eq!(pair.value, "v");
        longest = longest.max(took);
        count.fetch_add(1, Ordering::Relaxed);
    }
    longest
}

async fn write(
    store: impl Store,
    count: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
) -> Vec<Result<Version>> {
    let mut claims = Vec::new();
    while !ending.load(Ordering::Relaxed) {
        let claim = store.put(format!("w/{}", claims.len()), "").await;
        count.fetch_add(u64::from(claim.is_ok()), Ordering::Relaxed);
        claims.push(claim);
    }
    claims
}

/// No read fails while one member is down.
pub(crate) async fn down<B: Backend>() {
    let cluster = B::start_cluster().await;
    let traffic = Traffic::start::<B>(&cluster.endpoints()).await;
    traffic.flows().await;
    for member in 0..MEMBERS {
        cluster.member(member).kill().await;
        traffic.flows().await;
        // Who opens a store now finds one that is there.
        open_plain::<B>(&cluster.endpoints()).await.get("read").await.unwrap();
        cluster.member(member).start_again().await;
    }
    // In particular the one that leads.
    let leader = cluster.leader().await;
    cluster.member(leader).kill().await;
    traffic.flows().await;
    cluster.member(leader).start_again().await;
    traffic.end(cluster.member(0)).await;
}

/// A paused member is left for another.
pub(crate) async fn paused<B: Backend>() {
    let cluster = B::start_cluster().await;
    let traffic = Traffic::start::<B>(&cluster.endpoints()).await;
    traffic.flows().await;
    // All calls go to the first at first, which may lead or not; then to the others.
    for member in [0, cluster.leader().await] {
        cluster.member(member).pause().await;
        traffic.flows().await;
        cluster.member(member).unpause().await;
        cluster.member(member).wait_ready().await;
    }
    traffic.end(cluster.member(0)).await;
}

/// A member that is cut off from the others is left for one that is not.
pub(crate) async fn cut_off<B: Backend>() {
    let cluster = B::start_cluster().await;
    let endpoints = cluster.endpoints();
    let traffic = Traffic::start::<B>(&endpoints).await;
    // The watch is at the first member, and so are all calls.
    let store = open_plain::<B>(&endpoints).await;
    let follower = Follower::watch(&store);
    follower.until_begun().await;
    traffic.flows().await;
    cluster.isolate(0).await;
    traffic.flows().await;
    // It is not the cluster any more, and a watch there would be silent.
    let direct = open_plain::<B>(&endpoints[1..]).await;
    follower.until_marked(&mark(&direct).await).await;
    // A read of this handle sees what the others have agreed upon.
    direct.put("agreed", "v").await.unwrap();
    assert_eq!(store.get("agreed").await.unwrap().value, "v");
    cluster.rejoin(0).await;
    cluster.member(0).wait_ready().await;
    traffic.flows().await;
    let account = Account::of_nobody(&direct, &follower).await;
    assert_well(cluster.member(1), &follower, &account).await;
    traffic.end(cluster.member(1)).await;
}

/// A connection that is silent is noticed.
pub(crate) async fn silent<B: Backend>() {
    let cluster = B::start_cluster().await;
    let proxy = Proxy::start(&*cluster.endpoints()[0]).await;
    let endpoints = [&[proxy.addr()], &cluster.endpoints()[1..]].concat();
    let (store, reader) = (open_plain::<B>(&endpoints).await, open_plain::<B>(&endpoints).await);
    let direct = open_plain::<B>(&endpoints[1..]).await;
    let follower = Follower::watch(&store);
    follower.until_begun().await;
    follower.until_marked(&mark(&direct).await).await;
    reader.get(format!("{DIR}/marker")).await.unwrap();
    // Nothing passes, and nobody says so.
    proxy.set_both(Flow::Stall);
    let marker = mark(&direct).await;
    // A call has no time to wait for that.
    reader.get(format!("{DIR}/marker")).await.unwrap();
    let ((), took) = timed(follower.until_marked(&marker)).await;
    println!("events flow again after {took:?}");
    assert!(took < B::NOTICED, "{took:?}");
    let account = Account::of_nobody(&direct, &follower).await;
    assert_well(cluster.member(1), &follower, &account).await;
    store.get(format!("{DIR}/marker")).await.unwrap();
}

/// The watch told all that happened, and nothing else.
async fn assert_well<B: Backend>(server: &Server<B>, follower: &Follower, account: &Account) {
    follower.assert_state(&B::below(server, &format!("{DIR}/")).await);
    B::assert_told(server, follower, account).await;
}
