//! What a write claims is what happened, wherever its bytes are cut off.

mod locks;

use std::sync::Arc;

use libkv_core::{Config, LockGuard, Store};

use super::Plain;
use super::cli::{Cli, LOCK_FLAG};
use super::requests::requests;
use crate::harness::consul::{Options, Server};
use crate::harness::proxy::Proxy;
use crate::servers::Backend;
use crate::servers::outcomes::{self, Found, Truth};

impl Truth for Cli<'_> {
    async fn put(&self, name: &str, value: &str) -> u64 {
        self.set(name, value.as_bytes()).await;
        self.stored(name).await.expect("it was put").changed
    }

    async fn delete(&self, name: &str) {
        self.unset(name).await;
    }

    /// The server counts no puts. It tells those that changed a key from the one that made it.
    async fn found(&self, name: &str) -> Option<Found> {
        let stored = self.stored(name).await?;
        let puts = 1 + u64::from(stored.changed > stored.created);
        Some(Found { puts, index: stored.changed })
    }

    async fn is_empty(&self, prefix: &str) -> bool {
        self.below(prefix).await.is_empty()
    }

    async fn assert_held(&self, name: &str, guard: &LockGuard) {
        let node = self.stored(&format!("{name}/.lock")).await.expect("the lock is held");
        assert_eq!((node.changed, node.flags), (guard.token().get(), LOCK_FLAG), "{name}");
        let value = self.stored(name).await.expect("it has a value");
        assert_eq!((&value.value[..], value.session), (&b"holder"[..], node.session), "{name}");
    }
}

/// A server, a proxy before it, and a store behind that.
async fn disturbed() -> (Server, Proxy, Arc<dyn Store>) {
    let server = Server::start(Options::default()).await;
    let proxy = Proxy::start(server.endpoint()).await;
    let store = Plain::open(&proxy.addr(), Config::default()).await.unwrap();
    (server, proxy, store)
}

/// The requests that write keys; with another target the same is a read.
fn writes(proxy: &Proxy) -> usize {
    requests(&proxy.recorded()).iter().filter(|request| *request == "PUT /v1/txn").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_write_claims_is_true_wherever_it_is_cut() {
    let (server, proxy, store) = disturbed().await;
    let truth = Cli::of(&server);
    let once = |over: bool| match over {
        false => proxy.record(),
        true => assert!(writes(&proxy) <= 1, "a write was sent again"),
    };
    outcomes::what_a_write_claims_is_true_wherever_it_is_cut(&*store, &proxy, &truth, once).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_write_claims_is_true_where_its_connection_is_cut_while_it_is_made() {
    let (server, proxy, store) = disturbed().await;
    outcomes::what_a_write_claims_is_true_where_its_connection_is_cut_while_it_is_made(
        &*store,
        &proxy,
        &Cli::of(&server),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_means_that_nothing_was_sent() {
    let (server, proxy, store) = disturbed().await;
    let truth = Cli::of(&server);
    outcomes::a_refused_connection_means_that_nothing_was_sent(&*store, &proxy, &truth).await;
}

/// With TLS an agent that takes the connection and says nothing is noticed before anything is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_before_there_is_a_connection_means_that_nothing_was_sent() {
    outcomes::a_timeout_before_there_is_a_connection_means_that_nothing_was_sent::<Plain>().await;
}
