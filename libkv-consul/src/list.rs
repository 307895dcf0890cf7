use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream::try_unfold;
use libkv_core::{
    Error, ErrorKind, Foreign, Key, KvPair, LifetimeKind, ListOptions, Page, Result, Version,
};
use tokio::time::Instant;

use crate::client::{Answer, Call, Entries, Entry, Mode, Op, Refusal, TxnReply};
use crate::error::{CONSUL, Failure};
use crate::handle::{Handle, mode};
use crate::names::{is_lock_node, may_be_lock_node};
use crate::rights::is_absent_text;

const LIST: &str = "list";

/// How many names are looked at together: whoever wants few of many need not look at all.
const NAMES_AT_ONCE: usize = 1_000;

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
            let Answer { index, body, filtered, .. } =
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
            if !is_lock(&entry)
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
        for names in answer.body.chunks(NAMES_AT_ONCE) {
            if self.left() == 0 && self.seen {
                break;
            }
            let locks = self.locks(names, mode, call).await?;
            for name in names.iter().filter(|name| !locks.contains(*name)) {
                if let Some(key) = self.key(name)?
                    && self.left() > 0
                {
                    let version = Version::unknown(CONSUL);
                    let kind = LifetimeKind::Permanent;
                    pairs.push(KvPair::new(key, Default::default(), version, kind));
                    self.given += 1;
                }
            }
        }
        if !self.seen {
            self.demand_anything(call).await?;
        }
        Ok(Page::new(answer.index, pairs))
    }

    /// Which of these names are locks, as only their flags tell, or are gone meanwhile, and so are not
    /// listed either.
    async fn locks(&self, names: &[String], mode: Mode, call: &Call) -> Result<HashSet<String>> {
        let mut locks = HashSet::new();
        let suspects: Vec<&String> = names.iter().filter(|name| may_be_lock_node(name)).collect();
        for suspects in suspects.chunks(self.handle.max_ops()) {
            let mut suspects = suspects.to_vec();
            while !suspects.is_empty() {
                let get = |name: &&String| Op::Get { name: (*name).clone() };
                let ops: Vec<Op> = suspects.iter().map(get).collect();
                let reply = self.handle.client.txn(&ops, false, mode, call).await;
                match reply.map_err(|failure| failure.into_error(call, false))? {
                    TxnReply::Done(entries) => {
                        let nodes = entries.into_iter().filter(is_lock);
                        locks.extend(nodes.map(|entry| entry.name));
                        break;
                    }
                    TxnReply::Refused(refusals) => {
                        let mut gone = Vec::new();
                        for Refusal { op, what } in refusals {
                            if !is_absent_text(&what) {
                                return Err(Failure::refusal(&what).into_error(call, false));
                            }
                            gone.extend(suspects.get(op).copied());
                        }
                        if gone.is_empty() {
                            let failure = Failure::malformed("no reason").refused();
                            return Err(failure.into_error(call, false));
                        }
                        suspects.retain(|name| !gone.contains(name));
                        locks.extend(gone.into_iter().cloned());
                    }
                }
            }
        }
        Ok(locks)
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

fn is_lock(entry: &Entry) -> bool {
    is_lock_node(&entry.name, entry.flags)
}

/// How long a piece of the answer may take.
fn idle(call: &Call) -> Duration {
    call.deadline.saturating_duration_since(Instant::now())
}
