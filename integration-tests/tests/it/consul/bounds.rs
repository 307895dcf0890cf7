//! A server that takes everything and answers nothing keeps nobody longer than was agreed.

use crate::faults::bounds;
use crate::harness::consul::Consul;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_exchange_ends_in_time_when_nobody_answers() {
    bounds::exchanges::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_and_giving_back_a_lock_ends_in_time_when_nobody_answers() {
    bounds::locks::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_ends_in_time_when_nobody_answers() {
    bounds::closing::<Consul>().await;
}

/// A listing is one answer, of which much is on its way already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_stands_still_part_way_ends_in_time() {
    bounds::pages::<Consul>(64 << 10).await;
}
