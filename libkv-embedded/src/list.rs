use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use libkv_core::{Error, ErrorKind, Foreign, Key, KvPair, ListOptions, Page, Result};

use crate::engine::{FileView, Path, Record, Span};
use crate::handle::Handle;
use crate::machine::Records;

/// How much of a file a page holds.
const PAGE_PAIRS: usize = 1000;
const PAGE_BYTES: usize = 1 << 20;

/// A listing: one page of a store in memory, whose pairs share the store's own values, and as many
/// as it takes of a file, all of one moment.
#[derive(Debug)]
pub(crate) struct Listing {
    handle: Arc<Handle>,
    dir: Key,
    path: Path,
    opts: ListOptions,
    /// What is still to be read; none at the end.
    rest: Option<Span>,
    view: Option<FileView>,
    given: usize,
}

impl Listing {
    pub(crate) fn new(handle: Arc<Handle>, dir: Key, opts: ListOptions) -> Self {
        let path = handle.path(&dir);
        let all = Span::below(&path);
        let rest = Some(match &opts.start_after {
            Some(key) => all.after(handle.path(key)),
            None => all,
        });
        Self { handle, dir, path, opts, rest, view: None, given: 0 }
    }

    /// The first page, which also knows whether there is anything at all.
    fn first_page(&mut self, span: Span) -> Result<Page> {
        self.view = self.handle.machine.lasting_view()?;
        if let Some(view) = self.view.take() {
            let page = self.page(&span, view.revision(), &view, PAGE_PAIRS);
            self.view = Some(view);
            return page;
        }
        let handle = self.handle.clone();
        handle.machine.look(|revision, records| self.page(&span, revision, records, usize::MAX))
    }

    fn page(
        &mut self,
        span: &Span,
        revision: u64,
        records: &dyn Records,
        most: usize,
    ) -> Result<Page> {
        let left = self.opts.limit.unwrap_or(usize::MAX) - self.given;
        let (mut pairs, mut bytes, mut next) = (Vec::new(), 0, None);
        let mut foreign = 0;
        records.scan(span, &mut |path, record| {
            if pairs.len() >= most.min(left) || (bytes >= PAGE_BYTES && most < usize::MAX) {
                next = (pairs.len() < left).then_some(path);
                return false;
            }
            bytes += record.value.len();
            match self.handle.key(path) {
                Some(key) => pairs.extend(self.pair(key, record)),
                None => foreign += 1,
            }
            true
        })?;
        self.note_foreign(foreign)?;
        if self.given == 0 && pairs.is_empty() {
            self.demand_anything(records)?;
        }
        self.given += pairs.len();
        self.rest = next.map(|path| span.clone().at(path));
        Ok(Page::new(Some(revision), pairs))
    }

    fn pair(&self, key: Key, record: Record) -> Option<KvPair> {
        let deep = self.opts.depth.is_some_and(|depth| key.depth_below(&self.dir) > Some(depth));
        (!deep).then(|| self.handle.pair(key, record, !self.opts.keys_only))
    }

    /// Names that are no keys below this root, put by a handle with another one.
    fn note_foreign(&self, count: usize) -> Result<()> {
        let (backend, dir) = (self.handle.backend, &self.dir);
        match self.opts.foreign {
            _ if count == 0 => Ok(()),
            Foreign::Skip => {
                tracing::warn!(%backend, key = %dir, count, "names that are no keys were skipped");
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::InvalidKey, backend, "list").with_key(dir).with_detail(
                format!("{count} stored names are no keys below this root; list them from another"),
            )),
        }
    }

    /// Nothing to list is an error where nothing is there at all.
    fn demand_anything(&self, records: &dyn Records) -> Result<()> {
        let mut anything = self.dir.is_root() || records.get(&self.path)?.is_some();
        records.scan(&Span::below(&self.path), &mut |_, _| {
            anything = true;
            false
        })?;
        if anything {
            return Ok(());
        }
        Err(Error::new(ErrorKind::KeyNotFound, self.handle.backend, "list").with_key(&self.dir))
    }

    fn next_page(&mut self) -> Result<Option<Page>> {
        let Some(span) = self.rest.take() else {
            return Ok(None);
        };
        self.handle.demand_time("list", self.opts.deadline)?;
        match self.view.take() {
            None => self.first_page(span).map(Some),
            Some(view) => {
                let page = self.page(&span, view.revision(), &view, PAGE_PAIRS);
                self.view = Some(view);
                page.map(Some)
            }
        }
    }
}

impl Stream for Listing {
    type Item = Result<Page>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let page = self.next_page().transpose();
        let named =
            |error: Error| error.in_operation(self.handle.backend, "list").or_key(&self.dir);
        Poll::Ready(page.map(|page| page.map_err(named)))
    }
}
