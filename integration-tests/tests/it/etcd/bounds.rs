//! A server that takes everything and answers nothing keeps nobody longer than was agreed.

use libkv_core::{ErrorKind, LockOptions, Store, StoreExt};

use crate::faults::bounds::{self, MARGIN, TIMEOUT, open_hurried};
use crate::faults::{server_and_proxy, timed};
use crate::harness::etcd::Etcd;
use crate::harness::proxy::Flow;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_exchange_ends_in_time_when_nobody_answers() {
    bounds::exchanges::<Etcd>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_of_a_listing_ends_in_time_when_nobody_answers() {
    bounds::pages::<Etcd>(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_and_giving_back_a_lock_ends_in_time_when_nobody_answers() {
    bounds::locks::<Etcd>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_ends_in_time_when_nobody_answers() {
    bounds::closing::<Etcd>().await;
}

/// The server answers at first, and stops to do so at some byte or other of the exchanges.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_a_lock_ends_in_time_wherever_the_server_stops_to_answer() {
    let (_server, proxy) = server_and_proxy::<Etcd>().await;
    for connection in 0..3 {
        let store = open_hurried::<Etcd>(&proxy).await;
        let lock = store.new_lock("k", LockOptions::default()).unwrap();
        // Of the connections that it needs, those after the first few get no answer.
        let accepted = proxy.accepted();
        let locking = tokio::spawn(async move { timed(lock.lock()).await });
        while proxy.accepted() < accepted + connection {
            assert!(!locking.is_finished(), "it needs fewer connections than {connection}");
            tokio::task::yield_now().await;
        }
        proxy.set_both(Flow::Stall);
        let (taken, took) = locking.await.unwrap();
        proxy.set_both(Flow::Pass);
        if let Err(error) = &taken {
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        }
        // Asking for the lease, the watch and the place in the queue.
        assert!(took < 3 * TIMEOUT + MARGIN, "{connection}: {took:?}");
        drop(taken);
        store.close().await.unwrap();
    }
}
