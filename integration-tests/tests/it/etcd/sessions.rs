//! A handle's session while the connection stands still for a short and for a long time.

use crate::faults::sessions;
use crate::harness::etcd::Etcd;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_unsure_says_so_and_recovers() {
    sessions::unsure::<Etcd>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_session_is_told_and_nothing_of_it_comes_back() {
    sessions::lost::<Etcd>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_given_up_is_ended_before_there_is_another() {
    sessions::given_up::<Etcd>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnections_and_failed_renewals_are_logged() {
    sessions::logged::<Etcd>().await;
}
