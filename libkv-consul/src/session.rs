use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use libkv_core::{BackendName, Error, Grantor, Result, Session, Tenure};
use tokio::time::Instant;

use crate::client::{Call, Client};
use crate::error::CONSUL;
use crate::kept::{Kept, Purpose, destroy};
use crate::kinds::Kinds;

/// Makes the sessions that ephemeral keys are bound to.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) client: Arc<Client>,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) ttl: Duration,
}

#[async_trait]
impl Grantor for Sessions {
    type Id = Arc<str>;
    type Tenure = Kept;

    fn backend(&self) -> BackendName {
        CONSUL
    }

    async fn grant(&self) -> Result<Kept> {
        let deadline = Instant::now() + self.client.operation_timeout();
        let call = Call { operation: "open", deadline };
        let kept = Kept::make(&self.client, Purpose::Handle, self.ttl, &call).await?;
        self.kinds.note(&kept.id, Purpose::Handle);
        Ok(kept)
    }

    async fn end(&self, id: &Arc<str>) -> Result<()> {
        destroy(&self.client, id, Instant::now() + self.client.operation_timeout()).await
    }
}

#[async_trait]
impl Tenure for Kept {
    type Id = Arc<str>;

    fn id(&self) -> Arc<str> {
        self.id.as_str().into()
    }

    async fn keep(&mut self, told: &mut (dyn for<'a> FnMut(&'a Session) + Send)) -> Error {
        Self::keep(self, None, told).await
    }
}
