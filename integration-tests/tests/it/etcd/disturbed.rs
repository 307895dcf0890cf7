//! What the tests have in common that disturb a server, or the way to it.

use std::time::Duration;

use etcd_client::proto::PbKeyValue;
use etcd_client::{Client, GetOptions};
use libkv_core::Config;
use libkv_etcd::EtcdStore;

use super::trips::calls;
use crate::child::Child;
use crate::faults::follower::Follower;
use crate::faults::writer::Account;
use crate::faults::{self, Backend, Stored, process};
pub(super) use crate::faults::{soon, until};
use crate::harness::etcd::{Cluster, Etcd, Options, Server};
use crate::harness::proxy::Proxy;

impl Backend for Etcd {
    type Store = EtcdStore;

    const SHORT: Duration = Duration::from_secs(2);
    const LONG: Duration = Duration::from_secs(12);
    const LIFE: Duration = Duration::from_secs(3);
    const NOTICED: Duration = Duration::from_secs(15);
    const TOLD: &'static str = "each told once and in order";
    const WATCH_BROKE: &'static str = "the stream of watches broke";
    const NOT_RENEWED: &'static str = "lease not renewed";

    async fn start() -> Server {
        Server::start(Options::default()).await
    }

    async fn start_cluster() -> Cluster {
        Cluster::start(faults::MEMBERS).await
    }

    async fn open(endpoints: &[String], with: impl FnOnce(&mut Config) + Send) -> EtcdStore {
        open(endpoints, with).await
    }

    async fn below(server: &Server, prefix: &str) -> Vec<Stored> {
        Truth::at(&server.endpoint()).await.stored(prefix).await
    }

    /// How many transactions it has answered.
    async fn before_waiting(server: &Server) -> u64 {
        calls(server).await.get("Txn").copied().unwrap_or_default()
    }

    /// Who waits has joined the queue and looked who is in front.
    async fn waits(server: &Server, before: u64) -> bool {
        Self::before_waiting(server).await >= before + 2
    }

    async fn renew(server: &Server, owner: &str) {
        let mut client = Truth::at(&server.endpoint()).await.client();
        let (mut keeper, mut kept) = client.lease_keep_alive(owner.parse().unwrap()).await.unwrap();
        keeper.keep_alive().await.unwrap();
        kept.message().await.unwrap();
    }

    /// The server's history tells it to the last change.
    async fn assert_told(server: &Server, follower: &Follower, account: &Account) {
        account.assert_told(follower);
        follower.assert_all_told(&Truth::at(&server.endpoint()).await).await;
    }

    fn child(role: &str, endpoint: &str) -> Child {
        process::start("etcd::child::process", role, endpoint)
    }
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
    faults::server_and_proxy::<Etcd>().await
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

    /// The same, as every kind of server tells it.
    pub(super) async fn stored(&self, prefix: &str) -> Vec<Stored> {
        let stored = |kv: PbKeyValue| Stored {
            name: String::from_utf8(kv.key).unwrap(),
            value: kv.value,
            created: kv.create_revision.unsigned_abs(),
            changed: kv.mod_revision.unsigned_abs(),
            owner: (kv.lease != 0).then(|| kv.lease.to_string()),
        };
        self.below(prefix).await.into_iter().map(stored).collect()
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
