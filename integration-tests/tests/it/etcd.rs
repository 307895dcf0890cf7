//! etcd, on real servers.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests and what they start")]

mod bounds;
mod child;
mod connecting;
mod disturbed;
mod etcdctl;
mod failover;
mod healing;
mod history;
mod holding;
mod locks;
mod names;
mod opening;
mod outcomes;
mod peers;
mod rewind;
mod secrets;
mod sessions;
mod streams;
mod tls;
mod tokens;
mod trips;
mod users;

use std::sync::Arc;

use async_trait::async_trait;
use integration_tests::Target;
use libkv_core::{Config, Host, Key, Result, Store, StoreUrl};
use libkv_etcd::{EtcdConfig, EtcdStore};
use tokio::sync::OnceCell;

use crate::harness::certificates::Tls;
use crate::harness::etcd;
use crate::servers::{self, Backend};

/// A plain server that everybody shares; each case has a root of its own.
#[derive(Debug, Default)]
pub(crate) struct Plain;

#[async_trait]
impl Target for Plain {
    async fn open(&self, root: &Key) -> Result<Arc<dyn Store>> {
        let config = config(&[etcd::shared().await.endpoint()]);
        let common = config.common.clone().with_root(root.clone());
        Ok(Arc::new(EtcdStore::open(config.with_common(common)).await?))
    }
}

impl Backend for Plain {
    const SCHEME: &'static str = "etcd";
    type Server = etcd::Server;

    async fn start_with_tls(tls: Tls) -> etcd::Server {
        etcd::Server::start(etcd::Options::default().with_tls(tls)).await
    }

    fn endpoint(server: &etcd::Server) -> String {
        server.endpoint()
    }

    async fn shared() -> String {
        etcd::shared().await.endpoint()
    }

    async fn open(endpoint: &str, common: Config) -> Result<Arc<dyn Store>> {
        let config = config(&[endpoint.to_owned()]).with_common(common);
        Ok(Arc::new(EtcdStore::open(config).await?))
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
pub(crate) fn config(endpoints: &[String]) -> EtcdConfig {
    let host = |endpoint: &String| {
        let (name, port) = endpoint.rsplit_once(':').expect("a host and a port");
        Host::new(name, Some(port.parse().expect("a port")))
    };
    EtcdConfig::new(endpoints.iter().map(host)).with_common(Config::default())
}

/// Opens a store by its URL.
pub(crate) async fn open_url(url: &str) -> Result<EtcdStore> {
    EtcdStore::open(url.parse::<StoreUrl>()?.try_into()?).await
}

mod plain {
    integration_tests::conformance!(tests for crate::etcd::Plain);
}
