//! A watch goes on, whatever happens to its server and its connection.

mod backoff;
mod members;
mod tokens;

use std::time::{Duration, Instant};

use libkv_core::{ResyncReason, Store, StoreExt, WatchOptions, WatchTarget};
use libkv_etcd::EtcdStore;

use super::disturbed::{Truth, open_plain, server_and_proxy};
use super::history::{DIR, Follower, Writer, mark};
use crate::harness::etcd::Server;
use crate::harness::proxy::{Direction, Flow, Proxy};
use crate::soak::Soak;

/// How often each fault comes in a test run.
const ROUNDS: usize = 5;

/// A server that is written to, and what watches it by way of a proxy.
struct Scene {
    server: Server,
    proxy: Proxy,
    truth: Truth,
    /// Writes and marks, past the proxy.
    direct: EtcdStore,
    /// Watches, through the proxy.
    store: EtcdStore,
    writer: Writer,
    /// Watches from the beginning on.
    follower: Follower,
}

impl Scene {
    async fn set(soak: &mut Soak) -> Self {
        let (server, proxy) = server_and_proxy().await;
        let truth = Truth::at(&server.endpoint()).await;
        let direct = open_plain(&[server.endpoint()]).await;
        let store = open_plain(&[proxy.addr()]).await;
        let follower = Follower::watch(&store);
        let writer = Writer::start(direct.clone(), soak.random.u64(..));
        follower.until("the watch begins", |told| told.begun.is_some()).await;
        Self { server, proxy, truth, direct, store, writer, follower }
    }

    /// Looks at what both were told, one of which began to watch during the disturbance.
    async fn check(&self, late: &Follower) {
        let marker = mark(&self.direct).await;
        for follower in [&self.follower, late] {
            follower.until_marked(&marker).await;
        }
    }

    /// Ends the writing, and compares all states. Returns how much was written.
    async fn compare(&mut self, late: &[Follower]) -> u64 {
        let count = self.writer.end().await;
        let marker = mark(&self.direct).await;
        for follower in late.iter().chain([&self.follower]) {
            follower.until_marked(&marker).await;
            follower.assert_converged(&self.truth).await;
        }
        count
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_its_server_is_killed_and_comes_back() {
    let (mut soak, begun) = (Soak::of("restarts", ROUNDS), Instant::now());
    let mut scene = Scene::set(&mut soak).await;
    let mut late = Vec::new();
    for _ in 0..soak.rounds {
        scene.writer.more(soak.random.u64(1..100)).await;
        scene.server.kill().await;
        let watch = Follower::watch(&scene.store);
        scene.server.start_again().await;
        scene.truth = Truth::at(&scene.server.endpoint()).await;
        scene.check(&watch).await;
        watch.assert_all_told(&scene.truth).await;
        late = vec![watch];
    }
    let count = scene.compare(&late).await;
    scene.follower.assert_all_told(&scene.truth).await;
    println!(
        "soak: restarts: {} kills during {count} writes, each told once and in order, in {:.0?}",
        soak.rounds,
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_its_connection_is_cut_or_stands_still() {
    let (mut soak, begun) = (Soak::of("cuts", ROUNDS), Instant::now());
    let mut scene = Scene::set(&mut soak).await;
    let (mut late, mut cuts) = (Vec::new(), 0);
    for round in 0..soak.rounds {
        // Cut at any byte, several times, sometimes after a while in which nothing passes.
        for _ in 0..soak.random.usize(1..6) {
            let bytes = soak.random.u64(1..3_000);
            scene.proxy.cut_after(Direction::BOTH[soak.random.usize(..2)], bytes);
            scene.writer.more(soak.random.u64(1..60)).await;
            if soak.random.bool() {
                scene.proxy.set_both(Flow::Stall);
                scene.writer.more(soak.random.u64(1..200)).await;
                scene.proxy.set_both(Flow::Pass);
            }
            scene.proxy.reset();
            cuts += 1;
        }
        let watch = Follower::watch(&scene.store);
        if round % 2 == 0 {
            scene.proxy.reset();
        }
        scene.check(&watch).await;
        watch.assert_all_told(&scene.truth).await;
        late = vec![watch];
    }
    let count = scene.compare(&late).await;
    scene.follower.assert_all_told(&scene.truth).await;
    println!(
        "soak: cuts: {cuts} cuts during {count} writes, each told once and in order, in {:.0?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_made_good_when_the_history_is_compacted_while_it_is_cut_off() {
    let (mut soak, begun) = (Soak::of("compactions", ROUNDS), Instant::now());
    let mut scene = Scene::set(&mut soak).await;
    let (mut late, mut compactions) = (Vec::new(), 0);
    for round in 0..soak.rounds {
        scene.writer.more(soak.random.u64(1..100)).await;
        // A key that goes while nobody can be told.
        let doomed = format!("{DIR}/doomed");
        let marker = scene.direct.put(&*doomed, "").await.unwrap().last_index();
        let key = integration_tests::key(&doomed);
        scene
            .follower
            .until("it is told", |told| {
                told.state.get(&key).is_some_and(|pair| pair.last_index() >= marker)
            })
            .await;
        let before = scene.follower.look(|told| told.resyncs.len());
        scene.proxy.refuse().await;
        scene.proxy.reset();
        scene.direct.delete(&*doomed).await.unwrap();
        let mut every = tokio::time::interval(Duration::from_millis(100));
        for _ in 0..soak.random.usize(2..5) {
            every.tick().await;
            scene.writer.more(1).await;
            scene.truth.compact().await;
            compactions += 1;
        }
        let watch = Follower::watch(&scene.store);
        scene.proxy.accept().await;
        // Also while it comes back.
        if round % 2 == 0 {
            for _ in 0..3 {
                every.tick().await;
                scene.truth.compact().await;
                compactions += 1;
            }
        }
        scene.check(&watch).await;
        scene.follower.look(|told| {
            let resyncs = &told.resyncs[before..];
            assert!(!resyncs.is_empty(), "it was cut off from the history");
            for resync in resyncs {
                assert_eq!(*resync, (ResyncReason::Compacted, false));
            }
            assert!(!told.state.contains_key(&key), "a key went while it was cut off");
        });
        late = vec![watch];
    }
    let count = scene.compare(&late).await;
    println!(
        "soak: compactions: {} cuts with {compactions} compactions during {count} writes, all made \
         good, in {:.0?}",
        soak.rounds,
        begun.elapsed()
    );
}

/// The stream of the handle's watches is there, and the state cannot be read: nobody may take that
/// for a state without keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_cannot_be_read_yet_is_not_taken_for_an_empty_one() {
    integration_tests::collect_lines();
    let (server, proxy) = server_and_proxy().await;
    let direct = open_plain(&[server.endpoint()]).await;
    let mut puts = Vec::new();
    for number in 0..10 {
        puts.push(direct.put(format!("{DIR}/{number}"), "v").await.unwrap().last_index());
    }
    let store = open_plain(&[proxy.addr()]).await;
    // This one needs no state.
    let tree = WatchTarget::Tree(integration_tests::key(DIR));
    let from = WatchOptions::default().with_from(puts[4]);
    let other = Follower::of(store.watch_opts(&tree, from));
    other.until("the past is told", |told| told.state.len() == 5).await;
    // The connections that are there go on, and there are no further ones.
    proxy.refuse().await;
    let follower = Follower::watch(&store);
    let failed = async || {
        let lines = integration_tests::lines_about(&proxy.addr());
        lines.iter().any(|line| line.contains("the watch waits for the server"))
    };
    super::disturbed::until("the state cannot be read", failed).await;
    follower.look(|told| assert!(told.begun.is_none() && told.state.is_empty(), "{told:?}"));
    proxy.accept().await;
    follower.until_marked(&mark(&direct).await).await;
    follower.assert_converged(&Truth::at(&server.endpoint()).await).await;
    follower.look(|told| assert_eq!(told.resyncs, []));
}
