//! A watch goes on, whatever happens to its server and its connection.

mod backoff;
mod members;
mod tokens;

use std::time::{Duration, Instant};

use libkv_core::{ResyncReason, Store, StoreExt, WatchOptions, WatchTarget};

use super::disturbed::Truth;
use crate::faults::follower::Follower;
use crate::faults::healing::{self, ROUNDS, Scene};
use crate::faults::writer::{DIR, mark};
use crate::faults::{open_plain, server_and_proxy, until};
use crate::harness::etcd::Etcd;
use crate::soak::Soak;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_its_server_is_killed_and_comes_back() {
    healing::restarts::<Etcd>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_its_connection_is_cut_or_stands_still() {
    healing::cuts::<Etcd>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_made_good_when_the_history_is_compacted_while_it_is_cut_off() {
    let (mut soak, begun) = (Soak::of("compactions", ROUNDS), Instant::now());
    let mut scene = Scene::<Etcd>::set(&mut soak).await;
    let truth = Truth::at(&scene.server.endpoint()).await;
    let (mut late, mut compactions) = (None, 0);
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
            truth.compact().await;
            compactions += 1;
        }
        let watch = Follower::watch(&scene.store);
        scene.proxy.accept().await;
        // Also while it comes back.
        if round % 2 == 0 {
            for _ in 0..3 {
                every.tick().await;
                truth.compact().await;
                compactions += 1;
            }
        }
        scene.catch_up(&watch).await;
        scene.follower.look(|told| {
            let resyncs = &told.resyncs[before..];
            assert!(!resyncs.is_empty(), "it was cut off from the history");
            for resync in resyncs {
                assert_eq!(*resync, (ResyncReason::Compacted, false));
            }
            assert!(!told.state.contains_key(&key), "a key went while it was cut off");
        });
        late = Some(watch);
    }
    let count = scene.compare(&late.expect("there was a round")).await;
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
    let (server, proxy) = server_and_proxy::<Etcd>().await;
    let direct = open_plain::<Etcd>(&[server.endpoint()]).await;
    let mut puts = Vec::new();
    for number in 0..10 {
        puts.push(direct.put(format!("{DIR}/{number}"), "v").await.unwrap().last_index());
    }
    let store = open_plain::<Etcd>(&[proxy.addr()]).await;
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
    until("the state cannot be read", failed).await;
    follower.look(|told| assert!(told.begun.is_none() && told.state.is_empty(), "{told:?}"));
    proxy.accept().await;
    follower.until_marked(&mark(&direct).await).await;
    follower.assert_converged(&Truth::at(&server.endpoint()).await).await;
    follower.look(|told| assert_eq!(told.resyncs, []));
}
