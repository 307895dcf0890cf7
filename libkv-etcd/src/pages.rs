use std::sync::Arc;

use etcd_client::proto::PbKeyValue;
use etcd_client::{GetOptions, GetResponse};
use libkv_core::{Consistency, Error, ErrorKind, Result};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bound::Guess;
use crate::cluster::{Call, Cluster, Failure, Way};
use crate::endpoint::{Connection, Lane};
use crate::error::ETCD;
use crate::names::Span;

/// What a page should be in bytes.
const PAGE_BYTES: usize = 3 << 20;
/// The first page says how long the values are.
const FIRST_PAGE: usize = 256;
const GROWTH: usize = 8;
const LONGEST_PAGE: usize = 16_384;
/// How many pages are left when the rest is no longer divided, which would cost more than it saves.
const LAST_PAGES: usize = 2;
/// How much of the server's memory a single answer may take is not ours to say: where one is too
/// long, the page is made this much shorter.
const SHRINK: usize = 8;

/// A range of keys, read page by page at one revision.
#[derive(Debug)]
pub(crate) struct Pages {
    cluster: Arc<Cluster>,
    rest: Option<Span>,
    /// Where the next page ends, if it does before the end of the rest.
    bound: Option<Vec<u8>>,
    guess: Guess,
    /// How many keys are left, after the first page.
    left: usize,
    keys_only: bool,
    consistency: Consistency,
    operation: &'static str,
    deadline: Option<Instant>,
    /// The revision of the first page, and so of all.
    revision: Option<i64>,
    size: usize,
    /// The next page is asked for while this one is looked at.
    ahead: bool,
    /// The exchange for the next page, which ends with this.
    asked: JoinSet<Result<GetResponse, Failure>>,
}

/// A part of a listing as the server has it.
#[derive(Debug)]
pub(crate) struct RawPage {
    pub(crate) revision: i64,
    pub(crate) kvs: Vec<PbKeyValue>,
}

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum NoPage {
    /// The revision of the pages before is no longer there.
    Compacted,
    Failed(Error),
}

impl Pages {
    pub(crate) fn new(cluster: Arc<Cluster>, span: Span, operation: &'static str) -> Self {
        Self {
            cluster,
            guess: Guess::default(),
            rest: Some(span),
            bound: None,
            left: 0,
            keys_only: false,
            consistency: Consistency::Linearizable,
            operation,
            deadline: None,
            revision: None,
            size: FIRST_PAGE,
            ahead: false,
            asked: JoinSet::new(),
        }
    }

    /// Asks for each page while the one before is looked at, where all are wanted.
    pub(crate) fn ahead(self, ahead: bool) -> Self {
        Self { ahead, ..self }
    }

    pub(crate) fn keys_only(self, keys_only: bool) -> Self {
        Self { keys_only, ..self }
    }

    pub(crate) fn consistency(self, consistency: Consistency) -> Self {
        Self { consistency, ..self }
    }

    pub(crate) fn deadline(self, deadline: Option<Instant>) -> Self {
        Self { deadline, ..self }
    }

    /// The next page, with at most `most` keys; none at the end. After a failure it can be asked for
    /// again.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Option<RawPage>, NoPage> {
        while let Some(rest) = self.rest.clone() {
            let answer = self.exchange(&self.part(&rest), most).await?;
            let page = self.go_on(rest, answer);
            self.ask_ahead();
            // A part without keys is no page where others follow.
            if !page.kvs.is_empty() || self.rest.is_none() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// What the next page is looked for in.
    fn part(&self, rest: &Span) -> Span {
        let end = self.bound.as_ref().or(rest.end.as_ref());
        Span { from: rest.from.clone(), end: end.cloned() }
    }

    /// Reads as much of a part as a page may have.
    async fn exchange(&mut self, part: &Span, most: usize) -> Result<GetResponse, NoPage> {
        loop {
            let size = self.size.min(most).max(1);
            // What failed before anybody waited for it is tried once more.
            let asked = match self.asked.try_join_next() {
                Some(Ok(Ok(answer))) => Some(Ok(answer)),
                Some(_) => None,
                None => self.asked.join_next().await.and_then(Result::ok),
            };
            let answer = match asked {
                Some(answer) => answer,
                None => self.read(part, size).await,
            };
            let failure = match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if failure.fault.is_too_long() && size > 1 {
                self.size = size / SHRINK;
                continue;
            }
            let paged = self.revision.is_some() && failure.fault.is_compacted();
            return Err(match paged {
                true => NoPage::Compacted,
                false => NoPage::Failed(failure.into_error(&self.call())),
            });
        }
    }

    /// Takes a page, and finds where the next one begins and should end.
    fn go_on(&mut self, rest: Span, answer: GetResponse) -> RawPage {
        let more = answer.more();
        let revision = answer.header().map_or(0, |header| header.revision());
        let counted = usize::try_from(answer.count()).unwrap_or_default();
        let known = if self.revision.is_none() { counted } else { self.left };
        let revision = *self.revision.get_or_insert(revision);
        let kvs = answer.0.kvs;
        self.left = known.saturating_sub(kvs.len());
        self.size = next_size(self.size, &kvs);
        self.rest = None;
        let (rest, guess) = match (kvs.first(), kvs.last(), self.bound.take()) {
            (Some(first), Some(last), _) if more => {
                let guess = self.guess.further(&first.key, &last.key, kvs.len(), self.size);
                (rest.after(&last.key), guess)
            }
            (_, _, Some(bound)) => {
                let guess = self.guess.elsewhere(&bound);
                (Span { from: bound, end: rest.end }, guess)
            }
            _ => return RawPage { revision, kvs },
        };
        let divided = self.left > self.size.saturating_mul(LAST_PAGES);
        self.bound = guess.filter(|guess| divided && rest.holds(guess));
        self.rest = Some(rest);
        RawPage { revision, kvs }
    }

    fn ask_ahead(&mut self) {
        if self.ahead
            && let Some(rest) = &self.rest
        {
            let part = self.part(rest);
            self.asked.spawn(self.read(&part, self.size));
        }
    }

    fn read(
        &self,
        span: &Span,
        size: usize,
    ) -> impl Future<Output = Result<GetResponse, Failure>> + Send + 'static {
        let mut options = GetOptions::new().with_limit(i64::try_from(size).unwrap_or(i64::MAX));
        if let Some(end) = &span.end {
            options = options.with_range(end.clone());
        }
        if self.keys_only {
            options = options.with_keys_only();
        }
        if let Some(revision) = self.revision {
            options = options.with_revision(revision);
        }
        if self.consistency == Consistency::Local {
            options = options.with_serializable();
        }
        let (cluster, call, from) = (self.cluster.clone(), self.call(), span.from.clone());
        async move {
            let reading = cluster.call(&call, |at: Connection| {
                let (key, options) = (from.clone(), options.clone());
                async move { at.kv().get(key, Some(options)).await }
            });
            reading.await
        }
    }

    fn call(&self) -> Call {
        let deadline =
            self.deadline.unwrap_or_else(|| Instant::now() + self.cluster.operation_timeout);
        Call { operation: self.operation, lane: Lane::Lists, way: Way::Read, deadline }
    }
}

impl NoPage {
    /// The error of a listing, which cannot begin anew.
    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::Compacted => Error::new(ErrorKind::Other, ETCD, operation)
                .with_detail("the server forgot the listing's revision meanwhile; list once more")
                .with_transient(true),
        }
    }
}

/// How many keys to ask for next, so that they have about as many bytes as a page should.
fn next_size(size: usize, kvs: &[PbKeyValue]) -> usize {
    if kvs.is_empty() {
        return size;
    }
    /// What a key has besides its text and its value.
    const REST: usize = 32;
    let bytes: usize = kvs.iter().map(|kv| kv.key.len() + kv.value.len() + REST).sum();
    let fitting = PAGE_BYTES / (bytes / kvs.len()).max(1);
    fitting.clamp(1, size.saturating_mul(GROWTH).min(LONGEST_PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kvs(count: usize, bytes: usize) -> Vec<PbKeyValue> {
        let kv = PbKeyValue { key: vec![0; 8], value: vec![0; bytes], ..Default::default() };
        vec![kv; count]
    }

    #[test]
    fn a_page_grows_and_shrinks_with_what_was_seen() {
        assert_eq!(next_size(256, &kvs(256, 256)), 256 * GROWTH);
        assert_eq!(next_size(2048, &kvs(2048, 256)), PAGE_BYTES / 296);
        assert_eq!(next_size(2048, &kvs(2048, 0)), 2048 * GROWTH);
        assert_eq!(next_size(256, &kvs(3, 2 << 20)), 1);
        assert_eq!(next_size(256, &[]), 256);
    }
}
