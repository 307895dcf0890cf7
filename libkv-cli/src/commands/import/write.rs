use std::sync::Arc;

use libkv::{Lifetime, Store, WriteOptions};
use rustix::process::Signal;
use tokio::task::{JoinError, JoinSet};

use crate::app::App;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::say;
use crate::signals::Signals;

use super::plan::Entry;

/// How many writes are under way together. A store on disk puts them into one commit.
const AT_ONCE: usize = 32;

/// Writes everything. A failure or a signal lets the writes that are under way end, and begins no
/// more.
pub(super) async fn all(app: &App, store: Arc<dyn Store>, entries: Vec<Entry>) -> Outcome {
    let mut signals = Signals::ending()?;
    let total = entries.len();
    let mut left = entries.into_iter();
    let mut running = JoinSet::new();
    let mut written = 0;
    let mut stopped = None;
    loop {
        while stopped.is_none() && running.len() < AT_ONCE {
            let Some(entry) = left.next() else { break };
            let mut options = WriteOptions::default().with_deadline(app.deadline());
            options.lifetime = entry.ttl.map_or(Lifetime::Permanent, Lifetime::Ttl);
            let store = store.clone();
            running.spawn(async move { store.put_opts(&entry.key, entry.value, options).await });
        }
        let ended = tokio::select! {
            biased;
            signal = signals.next(), if stopped.is_none() => {
                stopped = Some(Stop::Signal(signal));
                continue;
            }
            ended = running.join_next() => ended,
        };
        match ended {
            None => break,
            Some(Ok(Ok(_))) => written += 1,
            Some(Ok(Err(error))) => note_first(&mut stopped, Stop::Failed(error.into())),
            Some(Err(error)) => note_first(&mut stopped, Stop::Failed(died(&error))),
        }
    }
    let count = format!("{written} of {total} keys were written");
    match stopped {
        None => {
            app.note(format_args!("{total} {} imported", if total == 1 { "key" } else { "keys" }));
            Ok(Exit::Done)
        }
        Some(Stop::Signal(signal)) => {
            say(format_args!("interrupted: {count}; import again to write the rest"));
            Ok(Exit::by_signal(signal.as_raw()))
        }
        Some(Stop::Failed(failure)) => {
            let exit = failure.exit();
            let line = failure.line(app.place().as_deref()).unwrap_or_default();
            Err(Failure::Told { exit, text: format!("{line}; {count}") })
        }
    }
}

enum Stop {
    Signal(Signal),
    Failed(Failure),
}

fn note_first(stopped: &mut Option<Stop>, stop: Stop) {
    if !matches!(stopped, Some(Stop::Failed(_))) {
        *stopped = Some(stop);
    }
}

fn died(error: &JoinError) -> Failure {
    Failure::failed(format!("a write ended in the middle: {error}"))
}
