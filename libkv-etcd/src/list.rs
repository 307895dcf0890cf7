use std::sync::Arc;

use etcd_client::proto::PbKeyValue;
use futures_core::Stream;
use futures_util::stream::try_unfold;
use libkv_core::{Error, ErrorKind, Foreign, Key, KvPair, ListOptions, Page, Result};

use crate::error::ETCD;
use crate::handle::Handle;
use crate::names::{Span, is_lock_node};
use crate::pages::{Pages, RawPage};

const LIST: &str = "list";

/// Lists what is below `dir`, page by page.
pub(crate) fn list(
    handle: Arc<Handle>,
    dir: Key,
    opts: ListOptions,
) -> impl Stream<Item = Result<Page>> + Send {
    let listing = Listing { handle, dir, opts, pages: None, seen: false, given: 0, foreign: 0 };
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
    /// The pages; none before the first has been asked for.
    pages: Option<Pages>,
    /// Whether there was anything, given or not.
    seen: bool,
    given: usize,
    foreign: usize,
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Page>> {
        let deadline = self.handle.demand_open(LIST, self.opts.deadline)?;
        let first = self.pages.is_none();
        if first {
            self.pages = Some(self.begin());
        }
        let left = self.opts.limit.map_or(usize::MAX, |limit| limit - self.given);
        // One key shows that something is there. Where the first page was not enough, much of it was
        // left out, and so may be much of what follows.
        let most = if first { left.max(1) } else { usize::MAX };
        let page = match &mut self.pages {
            Some(pages) if left > 0 || first => {
                pages.next(most).await.map_err(|error| error.into_error(LIST))?
            }
            _ => None,
        };
        let Some(RawPage { revision, kvs }) = page else {
            self.report_foreign();
            return Ok(None);
        };
        let index = u64::try_from(revision).unwrap_or_default();
        let kvs_count = kvs.len();
        let mut pairs = Vec::with_capacity(kvs_count.min(left));
        for kv in kvs {
            pairs.extend(self.pair(kv)?);
        }
        pairs.truncate(left);
        self.given += pairs.len();
        if first && !self.seen {
            self.demand_anything(kvs_count, deadline).await?;
        }
        Ok(Some(Page::new(Some(index), pairs)))
    }

    fn begin(&self) -> Pages {
        let mut span = self.handle.names.below(&self.dir);
        if let Some(after) = &self.opts.start_after {
            span = span.after(&self.handle.names.name(after));
        }
        let deadline = self.opts.deadline.map(Into::into);
        Pages::new(self.handle.cluster.clone(), span, LIST)
            .keys_only(self.opts.keys_only)
            .consistency(self.opts.consistency)
            .deadline(deadline)
            .ahead(self.opts.limit.is_none())
    }

    fn pair(&mut self, kv: PbKeyValue) -> Result<Option<KvPair>> {
        if is_lock_node(&kv.key, kv.lease) {
            return Ok(None);
        }
        let Some(key) = self.handle.names.key(&kv.key) else {
            self.foreign += 1;
            self.seen = true;
            return match self.opts.foreign {
                Foreign::Skip => Ok(None),
                _ => Err(Error::new(ErrorKind::InvalidKey, ETCD, LIST)
                    .with_key(&self.dir)
                    .with_detail(format!(
                        "the stored name {:?} is no key",
                        String::from_utf8_lossy(&kv.key)
                    ))),
            };
        };
        self.seen = true;
        let deep = self.opts.depth.is_some_and(|depth| key.depth_below(&self.dir) > Some(depth));
        Ok((!deep).then(|| self.handle.pair(key, kv)))
    }

    fn report_foreign(&mut self) {
        let count = std::mem::take(&mut self.foreign);
        if count > 0 {
            let key = &self.dir;
            tracing::warn!(backend = %ETCD, %key, count, "names that are no keys were skipped");
        }
    }

    /// Nothing to list is an error where nothing is there at all.
    async fn demand_anything(
        &mut self,
        hidden: usize,
        deadline: tokio::time::Instant,
    ) -> Result<()> {
        if self.dir.is_root() || self.handle.exists(&self.dir, LIST, deadline).await? {
            return Ok(());
        }
        let paged = self.opts.start_after.is_some() || hidden > 0;
        if paged && self.any_below(deadline).await? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::KeyNotFound, ETCD, LIST).with_key(&self.dir))
    }

    /// Whether there is a key below the directory, wherever the page begins.
    async fn any_below(&self, deadline: tokio::time::Instant) -> Result<bool> {
        let span: Span = self.handle.names.below(&self.dir);
        let cluster = self.handle.cluster.clone();
        let mut pages = Pages::new(cluster, span, LIST).keys_only(true).deadline(Some(deadline));
        while let Some(page) =
            pages.next(usize::MAX).await.map_err(|error| error.into_error(LIST))?
        {
            if page.kvs.iter().any(|kv| !is_lock_node(&kv.key, kv.lease)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
