use std::time::Duration;

use tokio::time::sleep;

use crate::{Backoff, Error, Key, Result};

const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Goes on with a watch after failures that pass, for backends.
#[derive(Debug)]
pub struct Patience(Backoff);

impl Default for Patience {
    fn default() -> Self {
        Self(Backoff::new(PAUSE, LONGEST_PAUSE))
    }
}

impl Patience {
    /// Waits before the next try, for longer each time. `key` is what is watched.
    ///
    /// # Errors
    ///
    /// The same error, where trying again does not help.
    ///
    /// # Cancel safety
    ///
    /// Safe: the next try may come earlier then.
    pub async fn after(&mut self, error: Error, key: &Key) -> Result<()> {
        if !error.is_transient() {
            return Err(error);
        }
        let backend = error.backend().map(tracing::field::display);
        tracing::warn!(backend, %key, %error, "the watch waits for the server");
        sleep(self.0.next_jittered()).await;
        Ok(())
    }

    /// All is well: the next failure is waited out for a short time again.
    pub fn well(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{BackendName, ErrorKind};

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, BackendName::new("toy"), "watch")
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_waited_for_and_what_does_not_is_given_back() {
        let (mut patience, key) = (Patience::default(), Key::root());
        let mut pauses = Vec::new();
        for well in [false, false, false, true] {
            if well {
                patience.well();
            }
            let begun = Instant::now();
            patience.after(error(ErrorKind::NotReachable), &key).await.unwrap();
            pauses.push(begun.elapsed());
        }
        assert!(pauses[0] <= PAUSE && pauses[2] > PAUSE && pauses[3] <= PAUSE, "{pauses:?}");
        let begun = Instant::now();
        let lasting = patience.after(error(ErrorKind::PermissionDenied), &key).await.unwrap_err();
        assert_eq!(
            (lasting.kind(), begun.elapsed()),
            (ErrorKind::PermissionDenied, Duration::ZERO)
        );
    }
}
