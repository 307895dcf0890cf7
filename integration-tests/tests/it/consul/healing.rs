//! A watch goes on, whatever happens to its servers and its connection.

use crate::faults::healing::{self, Crowd};
use crate::harness::consul::Consul;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_its_server_is_killed_and_comes_back() {
    healing::restarts::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_its_connection_is_cut_or_stands_still() {
    healing::cuts::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_come_back_with_pauses_that_differ() {
    healing::pauses_differ::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_leaders_change_and_members_go() {
    Crowd::<Consul>::gather().await.lose_members().await;
}
