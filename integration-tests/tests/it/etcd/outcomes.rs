//! What a write claims is what happened, wherever its bytes are cut off.

mod locks;

use libkv_core::LockGuard;

use super::Plain;
use super::disturbed::{Truth, open_plain, server_and_proxy};
use crate::servers::outcomes::{self, Found};

impl outcomes::Truth for Truth {
    async fn put(&self, name: &str, value: &str) -> u64 {
        Self::put(self, name, value).await.unsigned_abs()
    }

    async fn delete(&self, name: &str) {
        Self::delete(self, name).await;
    }

    async fn found(&self, name: &str) -> Option<Found> {
        let kv = self.get(name).await?;
        // The server counts the puts of a key.
        let (puts, index) = (kv.version.unsigned_abs(), kv.mod_revision.unsigned_abs());
        Some(Found { puts, index })
    }

    async fn is_empty(&self, prefix: &str) -> bool {
        self.below(prefix).await.is_empty()
    }

    async fn assert_held(&self, name: &str, guard: &LockGuard) {
        let nodes = self.below(&format!("{name}/")).await;
        let [node] = nodes.as_slice() else { panic!("{name}: {nodes:?}") };
        assert_eq!(node.create_revision.unsigned_abs(), guard.token().get(), "{name}");
        assert_eq!(self.get(name).await.unwrap().value, b"holder", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_write_claims_is_true_wherever_it_is_cut() {
    let (server, proxy) = server_and_proxy().await;
    let (store, truth) = (open_plain(&[proxy.addr()]).await, Truth::at(&server.endpoint()).await);
    outcomes::what_a_write_claims_is_true_wherever_it_is_cut(&store, &proxy, &truth, |_| ()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_write_claims_is_true_where_its_connection_is_cut_while_it_is_made() {
    let (server, proxy) = server_and_proxy().await;
    let (store, truth) = (open_plain(&[proxy.addr()]).await, Truth::at(&server.endpoint()).await);
    outcomes::what_a_write_claims_is_true_where_its_connection_is_cut_while_it_is_made(
        &store, &proxy, &truth,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_means_that_nothing_was_sent() {
    let (server, proxy) = server_and_proxy().await;
    let (store, truth) = (open_plain(&[proxy.addr()]).await, Truth::at(&server.endpoint()).await);
    outcomes::a_refused_connection_means_that_nothing_was_sent(&store, &proxy, &truth).await;
}

/// With TLS a server that takes the connection and says nothing is noticed before anything is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_before_there_is_a_connection_means_that_nothing_was_sent() {
    outcomes::a_timeout_before_there_is_a_connection_means_that_nothing_was_sent::<Plain>().await;
}
