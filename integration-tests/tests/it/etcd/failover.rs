//! Of several members some are down, paused, cut off or behind a dead connection.

use crate::faults::failover;
use crate::harness::etcd::Etcd;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_fails_while_one_member_is_down() {
    failover::down::<Etcd>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_member_is_left_for_another() {
    failover::paused::<Etcd>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_cut_off_from_the_others_is_left_for_one_that_is_not() {
    failover::cut_off::<Etcd>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_silent_is_noticed() {
    failover::silent::<Etcd>().await;
}
