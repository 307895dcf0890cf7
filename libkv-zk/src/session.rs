use std::sync::Arc;

use async_trait::async_trait;
use libkv_core::{BackendName, Error, ErrorKind, Grantor, Result, Session, SessionState, Tenure};
use std::time::Duration;
use tokio::time::Instant;

use crate::error::{Call, ZK};
use crate::link::{Conn, Link, state};

/// Gives the session that ephemeral keys are bound to: that of the link.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) link: Arc<Link>,
    pub(crate) operation_timeout: Duration,
}

#[async_trait]
impl Grantor for Sessions {
    type Id = i64;
    type Tenure = Owner;

    fn backend(&self) -> BackendName {
        ZK
    }

    async fn grant(&self) -> Result<Owner> {
        let deadline = Instant::now() + self.operation_timeout;
        let (conn, _) = self.link.ready(&Call { operation: "open", deadline }).await?;
        Ok(Owner(conn))
    }

    /// The link ends what it opened.
    async fn end(&self, _: &i64) -> Result<()> {
        Ok(())
    }
}

/// The session, as what owns ephemeral keys.
#[derive(Debug)]
pub(crate) struct Owner(Arc<Conn>);

#[async_trait]
impl Tenure for Owner {
    type Id = i64;

    fn id(&self) -> i64 {
        self.0.id
    }

    async fn keep(&mut self, told: &mut (dyn for<'a> FnMut(&'a Session) + Send)) -> Error {
        let mut life = self.0.life();
        loop {
            let now = life.borrow_and_update().clone();
            told(&now);
            if state(&now) == SessionState::Lost || life.changed().await.is_err() {
                return Error::new(ErrorKind::LockLost, ZK, "session")
                    .with_detail("no ping was confirmed within the session's time, or it expired");
            }
        }
    }
}
