use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::bare::{Bare, Op};
use crate::lab::Done;
use crate::remote::Locked;

const KEY: &str = "locked-bare/.lock";
/// What our own locks have by themselves, and after which part of it they are renewed.
const TTL: Duration = Duration::from_secs(15);
const RENEWAL: Duration = Duration::from_secs(5);

/// A lock as programs write it for themselves.
#[derive(Clone)]
pub(crate) struct Loop {
    bare: Bare,
    /// The session for all rounds, and when it was last told to live on.
    session: Arc<Mutex<Option<(String, Instant)>>>,
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

impl Loop {
    pub(super) fn new(bare: Bare) -> Self {
        Self { bare, session: Arc::default() }
    }

    async fn session(&self) -> Done<String> {
        let mut session = self.session.lock().await;
        match &mut *session {
            Some((id, renewed)) if renewed.elapsed() < RENEWAL => return Ok(id.clone()),
            // One that is not used for long ends by itself.
            Some((id, renewed)) if renewed.elapsed() < TTL => {
                self.bare.tell(&format!("/v1/session/renew/{id}"), Vec::new()).await?;
                *renewed = Instant::now();
                return Ok(id.clone());
            }
            _ => {}
        }
        let asked = format!(r#"{{"TTL":"{}s","LockDelay":"0s"}}"#, TTL.as_secs());
        let answer = self.bare.tell("/v1/session/create", asked.into()).await?;
        let Created { id } = serde_json::from_slice(&answer)?;
        *session = Some((id.clone(), Instant::now()));
        Ok(id)
    }

    async fn take(&self, session: &str) -> Done {
        let lock = Op { verb: "lock", key: KEY, session: Some(session), ..Op::default() };
        let mut index = 0;
        while self.bare.txn(std::slice::from_ref(&lock)).await?.is_none() {
            loop {
                let query = format!("&index={index}&wait=55s");
                let (next, entries) = self.bare.read(KEY, &query).await?;
                index = next;
                if entries.first().is_none_or(|entry| entry.session.is_none()) {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Locked for Loop {
    async fn round(&self, inside: impl Future<Output = Done> + Send) -> Done {
        let session = self.session().await?;
        self.take(&session).await?;
        inside.await?;
        let held = Op { verb: "check-session", key: KEY, ..Op::default() };
        let held = Op { session: Some(&session), ..held };
        let gone = Op { verb: "delete", key: KEY, ..Op::default() };
        self.bare.txn(&[held, gone]).await?.ok_or("it was lost")?;
        Ok(())
    }
}
