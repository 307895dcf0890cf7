use std::fmt::Display;
use std::io::{self, Stdout, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use libkv::{Error, Event, EventStream, Key, KvPair, Result, Store, StoreExt};

use crate::Failure;

/// Longer than anything here takes, so that a tour can fail and never hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints the tour. A closed pipe is an error to return and no panic.
pub(crate) struct Show {
    out: Stdout,
    steps: usize,
    begun: Instant,
}

impl Show {
    pub(crate) fn begin(store: &dyn Store, folder: &Path) -> io::Result<Self> {
        let mut show = Self { out: io::stdout(), steps: 0, begun: Instant::now() };
        writeln!(
            show.out,
            "A tour of libkv: {folder:?} in the store {store} (in memory, no server)"
        )?;
        Ok(show)
    }

    /// Says in one sentence what comes next.
    pub(crate) fn step(&mut self, sentence: &str) -> io::Result<()> {
        self.steps += 1;
        writeln!(self.out, "\n{}. {sentence}", self.steps)
    }

    pub(crate) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.out, "   {text}")
    }

    pub(crate) fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Put(pair) => self.line(format_args!("watch: put {}", Pair(pair))),
            Event::Delete { key, last_index } => {
                self.line(format_args!("watch: delete {key} (index {last_index})"))
            }
            other => self.line(format_args!("watch: {other:?}")),
        }
    }

    pub(crate) async fn end(mut self, store: &dyn Store) -> Result<(), Failure> {
        let keys = store.list(Key::root()).await?.len();
        store.close().await?;
        let seconds = self.begun.elapsed().as_secs_f64();
        writeln!(self.out)?;
        writeln!(
            self.out,
            "The store held {} at the end. The tour took {seconds:.2} s; the folder is as it was.",
            count(keys, "key")
        )?;
        Ok(())
    }
}

/// A pair in short.
pub(crate) struct Pair<'a>(pub(crate) &'a KvPair);

impl Display for Pair<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let KvPair { key, value, version, .. } = self.0;
        write!(f, "{key} ({}, version {version})", count(value.len(), "byte"))
    }
}

/// The next event about a key, with a limit on how long to wait for it.
pub(crate) async fn event_about(events: &mut EventStream, key: &Key) -> Result<Event, Failure> {
    loop {
        let event = tokio::time::timeout(PATIENCE, events.next()).await?;
        let event = event.ok_or("the watch ended")??;
        match &event {
            Event::Put(pair) if pair.key == *key => return Ok(event),
            Event::Delete { key: gone, .. } if gone == key => return Ok(event),
            _ => {}
        }
    }
}

/// The error of what must be refused.
pub(crate) fn refusal<T>(result: Result<T>) -> Result<Error, Failure> {
    result.err().ok_or_else(|| "the store accepted what it must refuse".into())
}

/// A number with its noun: `1,802 keys`, `1 key`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// Digits in groups of three.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
