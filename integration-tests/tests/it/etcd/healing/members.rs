//! Several members: their leader changes, and each of them goes and comes back.

use crate::faults::healing::Crowd;
use crate::faults::{MEMBERS, until};
use crate::harness::etcd::{Cluster, Etcd};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_leaders_change_and_members_go() {
    let crowd = Crowd::<Etcd>::gather().await;
    for _ in 0..2 {
        crowd.goes_on().await;
        let (from, to) = move_leader(&crowd.cluster).await;
        assert_ne!(from, to);
        crowd.goes_on().await;
    }
    crowd.lose_members().await;
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
