//! Several members: their leader changes, and each of them goes and comes back.

use futures_util::future::join_all;
use libkv_core::StoreExt;

use super::super::disturbed::{Truth, open_plain, until};
use super::super::history::{Follower, Writer, mark};
use crate::harness::etcd::Cluster;

const MEMBERS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_leaders_change_and_members_go() {
    let cluster = Cluster::start(MEMBERS).await;
    let endpoints = cluster.endpoints();
    let store = open_plain(&endpoints).await;
    let direct = open_plain(&endpoints).await;
    let follower = Follower::watch(&store);
    let mut writer = Writer::start(direct.clone(), fastrand::u64(..));
    follower.until("the watch begins", |told| told.begun.is_some()).await;

    for _ in 0..2 {
        writer.more(50).await;
        let (from, to) = move_leader(&cluster).await;
        assert_ne!(from, to);
        writer.more(50).await;
        follower.until_marked(&mark(&direct).await).await;
    }

    // Each in turn, among them the leader and the one that the watch is at.
    for member in 0..MEMBERS {
        let leads = cluster.leader().await == member;
        println!("member {member} goes{}", if leads { ", which leads" } else { "" });
        cluster.member(member).kill().await;
        writer.more(50).await;
        follower.until_marked(&mark(&direct).await).await;
        cluster.member(member).start_again().await;
    }
    let leader = cluster.leader().await;
    cluster.member(leader).kill().await;
    writer.more(50).await;
    follower.until_marked(&mark(&direct).await).await;
    cluster.member(leader).start_again().await;

    // All at once.
    join_all((0..MEMBERS).map(|member| cluster.member(member).kill())).await;
    store.get("x").await.unwrap_err();
    join_all((0..MEMBERS).map(|member| cluster.member(member).start_again())).await;
    writer.more(50).await;
    writer.end().await;
    follower.until_marked(&mark(&direct).await).await;
    let truth = Truth::at(&endpoints[leader]).await;
    follower.assert_converged(&truth).await;
    follower.assert_all_told(&truth).await;
}

/// Has another member lead; returns who did and who does.
async fn move_leader(cluster: &Cluster) -> (usize, usize) {
    let from = cluster.leader().await;
    let to = (from + 1) % MEMBERS;
    let id = cluster.member(to).exec(&["etcdctl", "endpoint", "status"]).await.text();
    let id = id.split(", ").nth(1).expect("the number of the member").to_owned();
    cluster.member(from).exec(&["etcdctl", "move-leader", &id]).await.text();
    until("the other leads", async || cluster.leader().await == to).await;
    (from, to)
}
