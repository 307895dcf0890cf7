use std::time::Duration;

use tokio::sync::mpsc;

use crate::client::{Entries, Entry};
use crate::error::Failure;

/// How long a part of a state waits for a consumer, with the connection that it came by. Many slow
/// consumers would take all of these.
const PATIENCE: Duration = Duration::from_secs(10);

/// A state that is read by a task of its own, a few parts ahead of its consumer.
#[derive(Debug)]
pub(super) struct Reading(mpsc::Receiver<Result<Option<Vec<Entry>>, Failure>>);

/// What comes next of a state.
pub(super) enum Part {
    Entries(Vec<Entry>),
    End,
    /// The consumer did not come in time, and it must be read once more.
    GivenUp,
}

impl Reading {
    /// Reads on; each piece of the answer may take as long as `idle`.
    pub(super) fn start(mut entries: Entries, idle: Duration) -> Self {
        let (give, given) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let part = entries.next(idle).await;
                let more = matches!(part, Ok(Some(_)));
                let taken = give.send_timeout(part, PATIENCE).await.is_ok();
                if !(more && taken) {
                    return;
                }
            }
        });
        Self(given)
    }

    /// The next part.
    ///
    /// # Cancel safety
    ///
    /// Safe: no part is lost.
    pub(super) async fn next(&mut self) -> Result<Part, Failure> {
        match self.0.recv().await {
            Some(Ok(Some(batch))) => Ok(Part::Entries(batch)),
            Some(Ok(None)) => Ok(Part::End),
            Some(Err(failure)) => Err(failure),
            None => Ok(Part::GivenUp),
        }
    }
}
