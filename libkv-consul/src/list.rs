use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream::try_unfold;
use libkv_core::{
    Error, ErrorKind, Foreign, Key, KvPair, LifetimeKind, ListOptions, Page, Result, Version,
};
use tokio::time::Instant;

use crate::client::{Answer, Call, Entries, Entry, Mode};
use crate::error::{CONSUL, Failure};
use crate::handle::{Handle, mode};
use crate::names::{is_lock_node, may_be_lock_node};

const LIST: &str = "list";

/// Lists what is below `dir`, as the answer comes.
pub(crate) fn list(
    handle: Arc<Handle>,
    dir: Key,
    opts: ListOptions,
) -> impl Stream<Item = Result<Page>> + Send {
    let stage = Stage::New;
    let listing = Listing { handle, dir, opts, stage, seen: false, given: 0, foreign: 0 };
    try_unfold(listing, |mut listing| async move {
        let page = listing.next().await.map_err(|error| error.or_key(&listing.dir))?;
        Ok(page.map(|page| (page, listing)))
    })
}

/// A listing on its way.
struct Listing {
    handle: Arc<Handle>,
    dir: Key,
    opts: ListOptions,
    stage: Stage,
    /// Whether there was anything, given or not.
    seen: bool,
    given: usize,
    foreign: usize,
}

enum Stage {
    New,
    Reading { index: Option<u64>, entries: Box<Entries> },
    Over,
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Page>> {
        let call = self.handle.demand_open(LIST, self.opts.deadline)?;
        if matches!(self.stage, Stage::New) {
            if self.opts.keys_only {
                return self.names(&call).await.map(Some);
            }
            let (client, mode) = (&self.handle.client, mode(self.opts.consistency));
            let answer = client.list(&self.handle.names.below(&self.dir), mode, &call).await;
            let Answer { index, body, filtered } =
                answer.map_err(|failure| failure.into_error(&call, false))?;
            if filtered {
                return Err(self.handle.rights.denied(&call));
            }
            self.stage = Stage::Reading { index, entries: Box::new(body) };
        }
        loop {
            let Stage::Reading { index, entries } = &mut self.stage else {
                self.report_foreign();
                return Ok(None);
            };
            let index = *index;
            if self.opts.limit.is_some_and(|limit| self.given >= limit) && self.seen {
                // The rest of the answer is not read.
                self.stage = Stage::Over;
                continue;
            }
            let batch = entries.next(idle(&call)).await;
            let Some(batch) = batch.map_err(|failure| self.broken(failure, &call))? else {
                self.stage = Stage::Over;
                if !self.seen {
                    self.demand_anything(&call).await?;
                }
                return Ok(Some(Page::new(index, Vec::new())));
            };
            let pairs = self.pairs(batch, &call).await?;
            if !pairs.is_empty() {
                return Ok(Some(Page::new(index, pairs)));
            }
        }
    }

    fn broken(&self, failure: Failure, call: &Call) -> Error {
        failure.into_error(call, false)
    }

    fn left(&self) -> usize {
        self.opts.limit.map_or(usize::MAX, |limit| limit.saturating_sub(self.given))
    }

    async fn pairs(&mut self, batch: Vec<Entry>, call: &Call) -> Result<Vec<KvPair>> {
        let mut named = Vec::with_capacity(batch.len());
        for entry in batch {
            if !is_lock_node(&entry.name, entry.flags)
                && let Some(key) = self.key(&entry.name)?
            {
                named.push((key, entry));
            }
        }
        named.truncate(self.left());
        self.given += named.len();
        self.handle.pairs(named, mode(self.opts.consistency), call).await
    }

    /// The key of a name, if it is one that was asked for.
    fn key(&mut self, name: &str) -> Result<Option<Key>> {
        self.seen = true;
        let Some(key) = self.handle.names.key(name) else {
            self.foreign += 1;
            return match self.opts.foreign {
                Foreign::Skip => Ok(None),
                _ => Err(Error::new(ErrorKind::InvalidKey, CONSUL, LIST)
                    .with_key(&self.dir)
                    .with_detail(format!("the stored name {name:?} is no key"))),
            };
        };
        let deep = self.opts.depth.is_some_and(|depth| key.depth_below(&self.dir) > Some(depth));
        let before = self.opts.start_after.as_ref().is_some_and(|after| key <= *after);
        Ok((!deep && !before).then_some(key))
    }

    /// The names alone, which the server gives all at once and without versions.
    async fn names(&mut self, call: &Call) -> Result<Page> {
        let mode = mode(self.opts.consistency);
        let prefix = self.handle.names.below(&self.dir);
        let answer = self.handle.client.keys(&prefix, mode, call).await;
        let answer = answer.map_err(|failure| failure.into_error(call, false))?;
        if answer.filtered {
            return Err(self.handle.rights.denied(call));
        }
        self.stage = Stage::Over;
        let mut pairs = Vec::new();
        for name in answer.body {
            if self.left() == 0 && self.seen {
                break;
            }
            if may_be_lock_node(&name) && self.is_lock(&name, mode, call).await? {
                continue;
            }
            if let Some(key) = self.key(&name)?
                && self.left() > 0
            {
                let version = Version::unknown(CONSUL);
                pairs.push(KvPair::new(key, Default::default(), version, LifetimeKind::Permanent));
                self.given += 1;
            }
        }
        if !self.seen {
            self.demand_anything(call).await?;
        }
        Ok(Page::new(answer.index, pairs))
    }

    /// Whether a name is a lock's, which only its flags tell.
    async fn is_lock(&self, name: &str, mode: Mode, call: &Call) -> Result<bool> {
        let found = self.handle.client.get(name, mode, call).await;
        let found = found.map_err(|failure| failure.into_error(call, false))?.body;
        // What is gone meanwhile is not listed either.
        Ok(found.is_none_or(|entry| is_lock_node(&entry.name, entry.flags)))
    }

    fn report_foreign(&mut self) {
        let count = std::mem::take(&mut self.foreign);
        if count > 0 {
            let key = &self.dir;
            tracing::warn!(backend = %CONSUL, %key, count, "names that are no keys were skipped");
        }
    }

    /// Nothing to list is an error where nothing is there at all, and where it may not be read.
    async fn demand_anything(&self, call: &Call) -> Result<()> {
        let prefix = self.handle.names.below(&self.dir);
        self.handle.rights.demand(&prefix, call).await?;
        if self.dir.is_root() {
            return Ok(());
        }
        match self.handle.find(&self.dir, mode(self.opts.consistency), call).await? {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::KeyNotFound, CONSUL, LIST).with_key(&self.dir)),
        }
    }
}

/// How long a piece of the answer may take.
fn idle(call: &Call) -> Duration {
    call.deadline.saturating_duration_since(Instant::now())
}
