use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::session::tokio_now;
use crate::{BackendName, Error, ErrorKind, Result};

/// Whether a handle is open: its calls ask it, and whoever waits for something hears of the close.
/// For backends.
#[derive(Debug)]
pub struct Gate {
    backend: BackendName,
    closed: watch::Sender<bool>,
}

impl Gate {
    /// The gate of a handle that is open.
    pub fn new(backend: BackendName) -> Self {
        Self { backend, closed: watch::Sender::new(false) }
    }

    /// Until when an operation may take: what the caller `asked` for, else `usual` from now on.
    ///
    /// # Errors
    ///
    /// `Closed` on a closed handle, `Timeout` where the caller's time was over before the call began.
    pub fn deadline(
        &self,
        operation: &'static str,
        asked: Option<Instant>,
        usual: Duration,
    ) -> Result<Instant> {
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Closed, self.backend, operation));
        }
        let now = tokio_now();
        match asked {
            None => Ok(now + usual),
            Some(at) if at <= now => Err(Error::new(ErrorKind::Timeout, self.backend, operation)
                .with_detail("the deadline was over before the call began")),
            Some(at) => Ok(at),
        }
    }

    /// Whether the handle was closed.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Closes it, for good.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Resolves when the handle is closed.
    ///
    /// # Cancel safety
    ///
    /// Safe: call it again.
    pub fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.closed.subscribe();
        async move {
            // The sender lives as long as whoever waits here, and says so before it goes.
            let _ = closed.wait_for(|closed| *closed).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const USUAL: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_call_has_the_time_that_was_asked_for_or_the_usual() {
        let (gate, now) = (Gate::new(BackendName::new("toy")), tokio_now());
        assert_eq!(gate.deadline("get", None, USUAL).unwrap(), now + USUAL);
        assert_eq!(gate.deadline("get", Some(now + 2 * USUAL), USUAL).unwrap(), now + 2 * USUAL);
        let late = gate.deadline("get", Some(now), USUAL).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        let closing = gate.closing();
        assert!(gate.closing().now_or_never().is_none() && !gate.is_closed());
        gate.close();
        closing.await;
        let closed = gate.deadline("get", None, USUAL).unwrap_err();
        assert_eq!((closed.kind(), closed.operation()), (ErrorKind::Closed, "get"));
    }
}
