//! Consul, on real servers.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::future_not_send,
    reason = "these are tests, each of one task"
)]

mod bounds;
mod child;
mod cli;
mod data;
mod delays;
mod disturbed;
mod failover;
mod healing;
mod holding;
mod load;
mod locks;
mod losing;
mod names;
mod opening;
mod outcomes;
mod peers;
mod program;
mod requests;
mod rewind;
mod rights;
mod secrets;
mod sessions;
mod tls;
mod trips;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use integration_tests::Target;
use libkv_consul::{ConsulConfig, ConsulStore};
use libkv_core::{Config, Host, Key, Result, Store, StoreUrl};
use tokio::sync::OnceCell;

use crate::harness::certificates::Tls;
use crate::harness::consul;
use crate::servers::{self, Backend};

/// A plain server that everybody shares; each case has a root of its own.
#[derive(Debug, Default)]
pub(crate) struct Plain;

#[async_trait]
impl Target for Plain {
    async fn open(&self, root: &Key) -> Result<Arc<dyn Store>> {
        let config = config(&[consul::shared().await.endpoint()]);
        let common = config.common.clone().with_root(root.clone());
        Ok(Arc::new(ConsulStore::open(config.with_common(common)).await?))
    }

    /// A session lives for ten seconds at least, and ends after twice its time.
    fn patience(&self) -> Duration {
        Duration::from_secs(45)
    }
}

impl Backend for Plain {
    const SCHEME: &'static str = "consul";
    type Server = consul::Server;

    async fn start_with_tls(tls: Tls) -> consul::Server {
        consul::Server::start(consul::Options::default().with_tls(tls)).await
    }

    fn endpoint(server: &consul::Server) -> String {
        server.endpoint()
    }

    async fn shared() -> String {
        consul::shared().await.endpoint()
    }

    async fn open(endpoint: &str, common: Config) -> Result<Arc<dyn Store>> {
        let config = config(&[endpoint.to_owned()]).with_common(common);
        Ok(Arc::new(ConsulStore::open(config).await?))
    }

    async fn open_url(url: &str) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(open_url(url).await?))
    }

    fn tls_servers() -> &'static OnceCell<servers::tls::Servers<Self>> {
        static SERVERS: OnceCell<servers::tls::Servers<Plain>> = OnceCell::const_new();
        &SERVERS
    }
}

/// How to open a store at these endpoints, each as host and port.
pub(crate) fn config(endpoints: &[String]) -> ConsulConfig {
    let host = |endpoint: &String| {
        let (name, port) = endpoint.rsplit_once(':').expect("a host and a port");
        Host::new(name, Some(port.parse().expect("a port")))
    };
    ConsulConfig::new(endpoints.iter().map(host)).with_common(Config::default())
}

/// Opens a store by its URL.
pub(crate) async fn open_url(url: &str) -> Result<ConsulStore> {
    ConsulStore::open(url.parse::<StoreUrl>()?.try_into()?).await
}

mod plain {
    integration_tests::conformance!(tests for crate::consul::Plain);
}
