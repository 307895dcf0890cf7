use std::sync::Arc;

use async_trait::async_trait;
use libkv_core::{BackendName, Error, Grantor, Result, Session, Tenure};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::error::ETCD;
use crate::lease::{Lease, Purpose, revoke};

/// Grants the leases that ephemeral keys are bound to.
#[derive(Debug)]
pub(crate) struct Leases {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) seconds: i64,
}

#[async_trait]
impl Grantor for Leases {
    type Id = i64;
    type Tenure = Lease;

    fn backend(&self) -> BackendName {
        ETCD
    }

    async fn grant(&self) -> Result<Lease> {
        let deadline = Instant::now() + self.cluster.operation_timeout;
        Lease::grant_new(&self.cluster, Purpose::Session, self.seconds, "open", deadline).await
    }

    async fn end(&self, id: &i64) -> Result<()> {
        revoke(&self.cluster, *id, Instant::now() + self.cluster.operation_timeout).await
    }
}

#[async_trait]
impl Tenure for Lease {
    type Id = i64;

    fn id(&self) -> i64 {
        self.id
    }

    async fn keep(&mut self, told: &mut (dyn for<'a> FnMut(&'a Session) + Send)) -> Error {
        Self::keep(self, None, told).await
    }
}
