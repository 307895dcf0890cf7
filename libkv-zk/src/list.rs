use std::sync::Arc;

use futures_core::Stream;
use futures_util::stream::try_unfold;
use libkv_core::{Error, ErrorKind, Key, ListOptions, Page, Result};

use crate::error::{Call, ZK};
use crate::handle::Handle;
use crate::paths::pair;
use crate::reader::{Content, Reader};
use crate::walk::{Plan, Walk};

const LIST: &str = "list";

/// Lists what is below `dir`, some exchanges ahead of who reads it.
pub(crate) fn list(
    handle: Arc<Handle>,
    dir: Key,
    opts: ListOptions,
) -> impl Stream<Item = Result<Page>> + Send {
    try_unfold(Listing::new(handle, dir, opts), |mut listing| async move {
        let page = listing.next().await.map_err(|error| error.or_key(&listing.dir))?;
        Ok(page.map(|page| (page, listing)))
    })
}

/// A listing on its way.
struct Listing {
    handle: Arc<Handle>,
    dir: Key,
    opts: ListOptions,
    reader: Reader,
    walk: Option<Walk>,
    given: usize,
}

impl Listing {
    fn new(handle: Arc<Handle>, dir: Key, opts: ListOptions) -> Self {
        let reader = Reader::new(handle.clone(), opts.consistency);
        let content = if opts.keys_only { Content::Stats } else { Content::Values };
        let plan = Plan {
            depth: opts.depth,
            after: opts.start_after.clone(),
            foreign: opts.foreign,
            ..Plan::whole(dir.clone(), content)
        };
        let walk = Some(Walk::new(reader.clone(), plan));
        Self { handle, dir, opts, reader, walk, given: 0 }
    }

    async fn next(&mut self) -> Result<Option<Page>> {
        let call = self.handle.demand_open(LIST, self.opts.deadline)?;
        let Some(walk) = &mut self.walk else { return Ok(None) };
        let left = self.opts.limit.map_or(usize::MAX, |limit| limit - self.given);
        let found = if left > 0 { walk.next(left, &call).await? } else { None };
        let Some(mut found) = found else {
            self.end(&call).await?;
            return Ok(Some(Page::default()));
        };
        found.truncate(left);
        self.given += found.len();
        let pairs = found.into_iter().map(|found| pair(found.key, found.value, &found.stat));
        Ok(Some(Page::new(None, pairs.collect())))
    }

    /// Ends the listing. Nothing to list is an error where nothing is there at all.
    async fn end(&mut self, call: &Call) -> Result<()> {
        let Some(walk) = self.walk.take() else { return Ok(()) };
        if walk.foreign() > 0 {
            let (key, count) = (&self.dir, walk.foreign());
            tracing::warn!(backend = %ZK, %key, count, "names that are no keys were skipped");
        }
        if self.dir.is_root() || walk.saw_anything() {
            return Ok(());
        }
        let opts = &self.opts;
        let whole = opts.depth.is_none() && opts.start_after.is_none() && opts.limit != Some(0);
        let plan = Plan::whole(self.dir.clone(), Content::Stats);
        let mut all = Walk::new(self.reader.clone(), plan);
        if whole || (all.next(1, call).await?.is_none() && !all.saw_anything()) {
            return Err(Error::new(ErrorKind::KeyNotFound, ZK, LIST));
        }
        Ok(())
    }
}
