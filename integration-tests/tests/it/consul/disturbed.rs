//! Consul, as what disturbs servers needs it.

use std::time::Duration;

use libkv_consul::ConsulStore;
use libkv_core::Config;

use super::cli::Cli;
use crate::child::Child;
use crate::faults::follower::Follower;
use crate::faults::writer::Account;
use crate::faults::{self, Backend, Stored, process};
use crate::harness::consul::{Cluster, Consul, Options, Server};

impl Backend for Consul {
    type Store = ConsulStore;

    const SHORT: Duration = Duration::from_secs(10);
    const LONG: Duration = Duration::from_secs(20);
    const LIFE: Duration = Duration::from_secs(10);
    const NOTICED: Duration = Duration::from_secs(40);
    const TOLD: &'static str = "each told or superseded, and in order";
    const WATCH_BROKE: &'static str = "the watch asks again";
    const NOT_RENEWED: &'static str = "session not renewed";

    async fn start() -> Server {
        Server::start(Options::default()).await
    }

    async fn start_cluster() -> Cluster {
        Cluster::start(faults::MEMBERS).await
    }

    async fn open(endpoints: &[String], with: impl FnOnce(&mut Config) + Send) -> ConsulStore {
        let mut config = super::config(endpoints);
        with(&mut config.common);
        ConsulStore::open(config).await.unwrap()
    }

    async fn below(server: &Server, prefix: &str) -> Vec<Stored> {
        let stored = Cli::of(server).below(prefix).await.into_iter().map(|stored| Stored {
            name: stored.name,
            value: stored.value,
            created: stored.created,
            changed: stored.changed,
            owner: stored.session,
        });
        stored.collect()
    }

    async fn before_waiting(_: &Server) -> u64 {
        0
    }

    /// The holder and who waits each wait for changes of the lock's key, and nobody else does.
    async fn waits(server: &Server, _: u64) -> bool {
        server.api().waiting().await == 2
    }

    async fn renew(server: &Server, owner: &str) {
        server.api().put(&format!("/v1/session/renew/{owner}"), "").await.json();
    }

    async fn assert_told(_: &Server, follower: &Follower, account: &Account) {
        follower.look(|told| assert_eq!(told.resyncs, [], "nothing was missed"));
        account.assert_told(follower);
    }

    fn child(role: &str, endpoint: &str) -> Child {
        process::start("consul::child::process", role, endpoint)
    }
}
