//! Consul, on real servers.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests and what they start")]

mod bounds;
mod child;
mod cli;
mod disturbed;
mod failover;
mod healing;
mod holding;
mod load;
mod program;
mod rewind;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use integration_tests::Target;
use libkv_consul::{ConsulConfig, ConsulStore};
use libkv_core::{Config, Host, Key, Result, Store};

use crate::harness::consul;

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

/// How to open a store at these endpoints, each as host and port.
pub(crate) fn config(endpoints: &[String]) -> ConsulConfig {
    let host = |endpoint: &String| {
        let (name, port) = endpoint.rsplit_once(':').expect("a host and a port");
        Host::new(name, Some(port.parse().expect("a port")))
    };
    ConsulConfig::new(endpoints.iter().map(host)).with_common(Config::default())
}

mod plain {
    integration_tests::conformance!(tests for crate::consul::Plain);
}
