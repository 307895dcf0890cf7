use std::time::Duration;

use libkv_core::{Backoff, Error, Key, Result};
use tokio::time::sleep;

use crate::error::CONSUL;

const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Goes on after failures that pass.
pub(super) struct Patience(Backoff);

impl Default for Patience {
    fn default() -> Self {
        Self(Backoff::new(PAUSE, LONGEST_PAUSE))
    }
}

impl Patience {
    /// Waits before the next try, or gives the error back where trying does not help.
    pub(super) async fn after(&mut self, error: Error, key: &Key) -> Result<()> {
        if !error.is_transient() {
            return Err(error);
        }
        tracing::warn!(backend = %CONSUL, %key, %error, "the watch waits for the server");
        sleep(self.0.next_jittered()).await;
        Ok(())
    }

    /// All is well: the next failure is waited out for a short time again.
    pub(super) fn well(&mut self) {
        self.0.reset();
    }
}
