//! Locks that are held while the connection stands still, the server restarts or the process does.

use crate::faults::holding;
use crate::harness::consul::Consul;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_behind_a_silent_connection_is_lost_before_it_is_given_away() {
    holding::silent::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_whose_renewals_are_not_confirmed_is_lost_before_it_is_given_away() {
    holding::unconfirmed::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lost_future_is_ready_when_somebody_else_has_the_lock() {
    holding::told::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_fails_is_tried_again_until_the_deadline() {
    holding::renewed::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_outlives_a_restart_of_the_server_and_tokens_grow_over_it() {
    holding::restarted::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_paused_knows_at_once_that_its_lock_is_lost() {
    holding::paused::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_a_lock_behind_a_silent_connection_is_a_timeout() {
    holding::not_taken::<Consul>().await;
}
