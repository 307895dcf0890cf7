use std::sync::Arc;

use etcd_client::proto::PbKeyValue;
use etcd_client::{GetOptions, GetResponse};
use libkv_core::{Consistency, Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::cluster::{Call, Cluster, Failure, Way};
use crate::endpoint::{Connection, Lane};
use crate::error::ETCD;
use crate::names::Span;

/// What a page should be in bytes. The server counts all that is left for each page, so that small
/// pages cost the square of the listing.
const PAGE_BYTES: usize = 3 << 20;
/// The first page says how long the values are.
const FIRST_PAGE: usize = 256;
const GROWTH: usize = 8;
const LONGEST_PAGE: usize = 16_384;
/// How much of the server's memory a single answer may take is not ours to say: where one is too
/// long, the page is made this much shorter.
const SHRINK: usize = 8;

/// A range of keys, read page by page at one revision.
#[derive(Debug)]
pub(crate) struct Pages {
    cluster: Arc<Cluster>,
    rest: Option<Span>,
    keys_only: bool,
    consistency: Consistency,
    operation: &'static str,
    deadline: Option<Instant>,
    /// The revision of the first page, and so of all.
    revision: Option<i64>,
    size: usize,
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
            rest: Some(span),
            keys_only: false,
            consistency: Consistency::Linearizable,
            operation,
            deadline: None,
            revision: None,
            size: FIRST_PAGE,
        }
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

    /// The next page, with at most `most` keys; none at the end.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Option<RawPage>, NoPage> {
        let Some(span) = self.rest.take() else {
            return Ok(None);
        };
        let answer = loop {
            let size = self.size.min(most).max(1);
            let failure = match self.read(&span, size).await {
                Ok(answer) => break answer,
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
        };
        let more = answer.more();
        let revision = answer.header().map_or(0, |header| header.revision());
        let revision = *self.revision.get_or_insert(revision);
        let kvs = answer.0.kvs;
        if let Some(last) = kvs.last().filter(|_| more) {
            self.rest = Some(span.after(&last.key));
        }
        self.size = next_size(self.size, &kvs);
        Ok(Some(RawPage { revision, kvs }))
    }

    async fn read(&self, span: &Span, size: usize) -> Result<GetResponse, Failure> {
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
        self.cluster
            .call(&self.call(), |at: Connection| {
                let (key, options) = (span.from.clone(), options.clone());
                async move { at.kv().get(key, Some(options)).await }
            })
            .await
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
