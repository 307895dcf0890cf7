//! A listing that is read as it comes.

use std::time::Duration;

use tokio::time::timeout;

use super::Span;
use super::agent::Coming;
use super::entry::Entry;
use super::splitter::Splitter;
use crate::error::Failure;

/// How many entries are handed out at once, and how many bytes of names and values.
const MOST_ENTRIES: usize = 1_000;
const MOST_BYTES: usize = 64 << 10;

/// The entries of an answer, of which only the next few are in memory. Dropped before its end it
/// closes the connection.
#[derive(Debug)]
pub(crate) struct Entries {
    /// What is still to come; none after the end.
    coming: Option<Coming>,
    splitter: Splitter,
    /// Which entries count, where the answer has more than was asked for.
    only: Option<Span>,
    /// What was read and not handed out. It is kept here so that a dropped wait loses nothing.
    batch: Vec<Entry>,
    bytes: usize,
    /// How it broke off; it does so once and for all.
    broken: Option<Failure>,
    address: String,
}

impl Entries {
    /// The entries of an answer; none where it says that there is nothing.
    pub(crate) fn of(coming: Coming, only: Option<Span>, address: String) -> Self {
        let coming = (coming.head.status == 200).then_some(coming);
        Self {
            coming,
            splitter: Splitter::default(),
            only,
            batch: Vec::new(),
            bytes: 0,
            broken: None,
            address,
        }
    }

    /// The next entries; none after the last. It waits for each piece of the answer no longer than
    /// `idle`, and fails where the answer breaks off.
    ///
    /// # Cancel safety
    ///
    /// Safe: no entry is lost.
    pub(crate) async fn next(&mut self, idle: Duration) -> Result<Option<Vec<Entry>>, Failure> {
        loop {
            if let Some(broken) = &self.broken {
                return Err(broken.clone());
            }
            match self.collect() {
                Ok(false) => {}
                Ok(true) => return Ok(Some(self.take())),
                Err(failure) => return Err(self.break_off(failure)),
            }
            let Some(coming) = &mut self.coming else {
                return Ok((!self.batch.is_empty()).then(|| self.take()));
            };
            match timeout(idle, coming.response.chunk()).await {
                Ok(Ok(Some(piece))) => self.splitter.feed(&piece),
                Ok(Ok(None)) if self.splitter.is_complete() => self.coming = None,
                Ok(Ok(None)) => return Err(self.break_off(Failure::cut())),
                Ok(Err(error)) => return Err(self.break_off(Failure::cut_by(error))),
                Err(_) => return Err(self.break_off(Failure::silent(idle, true))),
            }
        }
    }

    /// Takes what has come; true if that is enough to hand out.
    fn collect(&mut self) -> Result<bool, Failure> {
        while self.batch.len() < MOST_ENTRIES && self.bytes < MOST_BYTES {
            let Some(object) = self.splitter.next().map_err(Failure::malformed)? else {
                return Ok(false);
            };
            let entry = Entry::parse(&object).map_err(Failure::malformed)?;
            if self.only.as_ref().is_none_or(|only| only.covers(&entry.name)) {
                self.bytes += entry.name.len() + entry.value.len();
                self.batch.push(entry);
            }
        }
        Ok(true)
    }

    fn take(&mut self) -> Vec<Entry> {
        self.bytes = 0;
        std::mem::take(&mut self.batch)
    }

    fn break_off(&mut self, failure: Failure) -> Failure {
        let failure = failure.at(&self.address);
        // The connection is of no more use.
        self.coming = None;
        self.broken = Some(failure.clone());
        failure
    }
}

impl Span {
    /// Whether a name is asked for.
    pub(crate) fn covers(&self, name: &str) -> bool {
        match self {
            Self::One(one) => name == one,
            Self::Prefix(prefix) => name.starts_with(prefix),
        }
    }
}
