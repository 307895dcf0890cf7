//! Of several members some are down, paused, cut off or behind a dead connection.

use std::time::{Duration, Instant};

use integration_tests::key;
use libkv_core::{Config, Lifetime, SessionState, Store};

use crate::faults::holding::take;
use crate::faults::sessions::{owner_of, put_ephemeral, states};
use crate::faults::{Backend, MEMBERS, failover, stored};
use crate::harness::consul::Consul;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_fails_while_one_member_is_down() {
    failover::down::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_member_is_left_for_another() {
    failover::paused::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_cut_off_from_the_others_is_left_for_one_that_is_not() {
    failover::cut_off::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_silent_is_noticed() {
    failover::silent::<Consul>().await;
}

/// Longer than the changes of the leader take.
const LIFE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_the_leader_lose_nothing_that_is_renewed() {
    let cluster = Consul::start_cluster().await;
    let lasting = |config: &mut Config| config.ephemeral_ttl = Some(Consul::LONG);
    let store = Consul::open(&cluster.endpoints(), lasting).await;
    put_ephemeral(&store, "e").await.unwrap();
    let begun = Instant::now();
    store.put_opts(&key("t"), "v".into(), Lifetime::Ttl(LIFE).into()).await.unwrap();
    let guard = take(&store, "l", Consul::LONG).await;
    let owners = async |leader: usize| {
        let member = cluster.member(leader);
        (owner_of(member, "e").await, owner_of(member, "l/.lock").await)
    };
    let (before, mut states) = (owners(0).await, states(&store));
    // Renewals come every third of the time to live; the leader goes at each third of that.
    for round in 0..MEMBERS {
        let part = u32::try_from(round).unwrap();
        tokio::time::sleep(Consul::LONG * part / 9).await;
        let leader = cluster.leader().await;
        cluster.member(leader).kill().await;
        let next = cluster.leader().await;
        assert!(guard.is_held(), "round {round}");
        assert_eq!(owners(next).await, before);
        cluster.member(leader).start_again().await;
    }
    // The last one to lead would have ended by now what it was not told to keep.
    tokio::time::sleep(Consul::LONG * 5 / 2).await;
    let leader = cluster.leader().await;
    assert!(guard.is_held());
    assert_eq!(owners(leader).await, before);
    while let Ok(state) = states.try_recv() {
        assert_ne!(state, SessionState::Lost);
    }
    let there = stored(cluster.member(leader), "t").await.is_some();
    assert!(there || begun.elapsed() > LIFE, "it ended after {:?}", begun.elapsed());
    guard.unlock().await.unwrap();
}
