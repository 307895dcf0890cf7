//! What the tests have in common that disturb a server, or the way to it.

use std::time::{Duration, Instant};

use etcd_client::proto::PbKeyValue;
use etcd_client::{Client, GetOptions};
use libkv_core::Config;
use libkv_etcd::EtcdStore;

use crate::harness::etcd::{Options, Server};
use crate::harness::proxy::Proxy;

/// How long to wait for what must happen. Only a broken store ever waits this long.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at what cannot be waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits for what must happen.
#[track_caller]
pub(super) fn soon<T>(what: &str, happens: impl Future<Output = T>) -> impl Future<Output = T> {
    let (what, place) = (what.to_owned(), std::panic::Location::caller());
    async move {
        match tokio::time::timeout(PATIENCE, happens).await {
            Ok(value) => value,
            Err(_) => panic!("{what}: nothing within {PATIENCE:?}, waited for at {place}"),
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub(super) fn until(what: &str, is_so: impl AsyncFn() -> bool) -> impl Future<Output = ()> {
    soon(what, async move {
        while !is_so().await {
            tokio::time::sleep(PAUSE).await;
        }
    })
}

/// Opens a store at these endpoints, with a changed configuration.
pub(super) async fn open(endpoints: &[String], with: impl FnOnce(&mut Config)) -> EtcdStore {
    let mut config = super::config(endpoints);
    with(&mut config.common);
    EtcdStore::open(config).await.unwrap()
}

/// Opens a store as it is by default.
pub(super) async fn open_plain(endpoints: &[String]) -> EtcdStore {
    open(endpoints, |_| ()).await
}

/// A server with a proxy before it.
pub(super) async fn server_and_proxy() -> (Server, Proxy) {
    let server = Server::start(Options::default()).await;
    let proxy = Proxy::start(server.endpoint()).await;
    (server, proxy)
}

/// The truth: a client of etcd's protocol that knows nothing of libkv, on a connection of its own.
pub(super) struct Truth {
    client: Client,
}

impl Truth {
    pub(super) async fn at(endpoint: &str) -> Self {
        Self::of(Client::connect([endpoint], None).await.unwrap())
    }

    pub(super) fn of(client: Client) -> Self {
        Self { client }
    }

    /// The client itself.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(super) async fn put(&self, name: &str, value: impl Into<Vec<u8>>) -> i64 {
        let put = self.client().put(name, value, None).await.unwrap();
        put.header().unwrap().revision()
    }

    pub(super) async fn delete(&self, name: &str) {
        self.client().delete(name, None).await.unwrap();
    }

    /// A key with all that the server says of it.
    pub(super) async fn get(&self, name: &str) -> Option<PbKeyValue> {
        self.client().get(name, None).await.unwrap().0.kvs.into_iter().next()
    }

    /// All keys whose names begin so.
    pub(super) async fn below(&self, prefix: &str) -> Vec<PbKeyValue> {
        let options = GetOptions::new().with_prefix();
        self.client().get(prefix, Some(options)).await.unwrap().0.kvs
    }

    /// The present revision.
    pub(super) async fn revision(&self) -> i64 {
        self.client().get("x", None).await.unwrap().header().unwrap().revision()
    }

    /// Forgets the history up to now.
    pub(super) async fn compact(&self) {
        let revision = self.revision().await;
        match self.client().compact(revision, None).await {
            Ok(_) => {}
            // Nothing was written since the last time.
            Err(error) if error.to_string().contains("has been compacted") => {}
            Err(error) => panic!("the history cannot be compacted: {error}"),
        }
    }
}

/// Runs `work`, and says what came of it and how long it took.
pub(super) async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    (work.await, begun.elapsed())
}
