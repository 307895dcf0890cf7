//! Locks that are cut off while they are taken or given back leave nothing behind.

use super::super::Plain;
use super::super::disturbed::{Truth, server_and_proxy};
use crate::servers::outcomes::locks;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_cut_while_it_is_taken_is_held_or_leaves_nothing() {
    let (server, proxy) = server_and_proxy().await;
    let truth = Truth::at(&server.endpoint()).await;
    locks::a_lock_that_is_cut_while_it_is_taken_is_held_or_leaves_nothing::<Plain>(&proxy, &truth)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_cut_while_it_is_given_back_is_given_back() {
    let (server, proxy) = server_and_proxy().await;
    let truth = Truth::at(&server.endpoint()).await;
    locks::a_lock_that_is_cut_while_it_is_given_back_is_given_back::<Plain>(&proxy, &truth).await;
}
