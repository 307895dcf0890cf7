use std::sync::Arc;

use async_trait::async_trait;
use libkv_core::{Error, FencingToken, Held, Key, LockSession, Result, Store, StoreExt, Wait};
use tokio::sync::{Notify, oneshot};

use super::store::Fault;

/// A right session with a fault in front of it.
#[derive(Debug)]
pub(crate) struct WrongLock {
    session: Box<dyn LockSession>,
    store: Arc<dyn Store>,
    key: Key,
    fault: Option<Fault>,
    /// Tells a waiter that nobody tidies away to give back what it got.
    give_back: Arc<Notify>,
    obtained: bool,
}

impl WrongLock {
    pub(crate) fn new(
        session: Box<dyn LockSession>,
        store: Arc<dyn Store>,
        key: Key,
        fault: Option<Fault>,
    ) -> Self {
        Self { session, store, key, fault, give_back: Arc::default(), obtained: false }
    }

    /// Waits in a task that goes on waiting when nobody waits for it any more.
    async fn acquire_for_ever(&mut self, wait: Wait) -> Result<Held> {
        let fresh = self.session.again();
        let mut session = std::mem::replace(&mut self.session, fresh);
        let (tell, told) = oneshot::channel();
        let give_back = self.give_back.clone();
        tokio::spawn(async move {
            let attempt = session.acquire(wait).await;
            let obtained = attempt.is_ok();
            drop(tell.send(attempt));
            if obtained {
                tokio::select! {
                    _ = session.keep() => {}
                    () = give_back.notified() => {}
                }
            }
            drop(session.release().await);
        });
        told.await.expect("the task answers")
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// A key where a server would have its lock node.
    fn node(&self) -> Key {
        self.key.join(".lock").expect("the case's keys are short")
    }
}

#[async_trait]
impl LockSession for WrongLock {
    async fn acquire(&mut self, wait: Wait) -> Result<Held> {
        let mut held = match self.fault {
            Some(Fault::DropsTheWaitersTidying) => self.acquire_for_ever(wait).await?,
            _ => self.session.acquire(wait).await?,
        };
        self.obtained = true;
        if self.is(Fault::ShowsTheLockNode) {
            self.store.put(self.node(), "").await?;
        }
        if self.is(Fault::RepeatsTheToken) {
            held.token = FencingToken::new(1);
        }
        Ok(held)
    }

    async fn keep(&mut self) -> Error {
        if self.is(Fault::DropsTheWaitersTidying) {
            // The task keeps it.
            return std::future::pending().await;
        }
        let reason = self.session.keep().await;
        if self.is(Fault::NeverTellsTheLoss) {
            return std::future::pending().await;
        }
        reason
    }

    async fn release(&mut self) -> Result<()> {
        match self.fault {
            Some(Fault::DropsTheWaitersTidying) => {
                if self.obtained {
                    self.give_back.notify_one();
                }
                Ok(())
            }
            Some(Fault::FreesASuccessorsLock) => {
                // As one who deletes the lock by its name: whoever holds it.
                let released = self.session.release().await;
                self.store.delete_tree(&self.key).await?;
                released
            }
            Some(Fault::ReleasesWithoutWaiting) => {
                let fresh = self.session.again();
                let mut session = std::mem::replace(&mut self.session, fresh);
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    drop(session.release().await);
                });
                Ok(())
            }
            Some(Fault::ShowsTheLockNode) => {
                drop(self.store.delete(self.node()).await);
                self.session.release().await
            }
            _ => self.session.release().await,
        }
    }

    fn again(&self) -> Box<dyn LockSession> {
        let (store, key) = (self.store.clone(), self.key.clone());
        Box::new(Self::new(self.session.again(), store, key, self.fault))
    }
}
