use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use libkv_core::{Error, Event, Result, ResyncReason, WatchOptions, WatchTarget};

use crate::engine::{Engine, Path, Span};
use crate::error::{MEM, closed};
use crate::handle::Handle;
use crate::machine::{Buffer, Change, Found, State};

/// A watch: first what `ready` holds, then what arrives in the buffer.
#[derive(Debug)]
pub(crate) struct Watch {
    handle: Arc<Handle>,
    target: WatchTarget,
    opts: WatchOptions,
    path: Path,
    ready: VecDeque<Event>,
    buffer: Arc<Buffer>,
    started: bool,
}

impl Watch {
    pub(crate) fn new(handle: Arc<Handle>, target: WatchTarget, opts: WatchOptions) -> Self {
        let path = handle.path(target.key());
        let buffer = Buffer::new(handle.id, opts.buffer);
        Self { handle, target, opts, path, ready: VecDeque::new(), buffer, started: false }
    }

    /// Registers and takes the snapshot in one step, so that nothing is between them.
    fn start(&mut self) -> Result<()> {
        let handle = self.handle.clone();
        handle.with("watch", None, |state| {
            match &self.target {
                WatchTarget::Key(_) => state.watchers.watch_key(self.path.clone(), &self.buffer),
                WatchTarget::Tree(_) => state.watchers.watch_tree(self.path.clone(), &self.buffer),
            }
            match self.opts.from {
                Some(from) if from > state.revision() => {
                    self.tell_all(state, ResyncReason::HistoryRewound)?;
                }
                Some(from) => self.tell_since(state, from, None)?,
                None if self.opts.initial => self.tell_state(state)?,
                None => {}
            }
            self.ready.push_back(Event::Synced { index: state.revision() });
            Ok::<_, Error>(())
        })?;
        self.started = true;
        Ok(())
    }

    /// Makes good what the buffer dropped after `revision`, and takes part again from here.
    fn catch_up(&mut self, revision: u64) -> Result<()> {
        let handle = self.handle.clone();
        handle.with("watch", None, |state| {
            self.buffer.reopen();
            self.tell_since(state, revision, Some(ResyncReason::Lagged))?;
            self.ready.push_back(Event::Synced { index: state.revision() });
            Ok(())
        })
    }

    /// Tells what changed after `revision`: every change at the start of a stream, and the newest
    /// of each key in a resync. Where the history does not reach back, tells the whole state.
    fn tell_since<E: Engine>(
        &mut self,
        state: &State<E>,
        revision: u64,
        resync: Option<ResyncReason>,
    ) -> Result<()> {
        let Some(changes) = state.history.after(revision) else {
            return self.tell_all(state, resync.unwrap_or(ResyncReason::Compacted));
        };
        let changes = changes.filter(|change| self.covers(&change.path));
        let Some(reason) = resync else {
            let events: Vec<_> = changes.filter_map(|change| self.event(change)).collect();
            self.ready.extend(events);
            return Ok(());
        };
        let mut newest: BTreeMap<&Path, (&Change, bool)> = BTreeMap::new();
        for change in changes {
            let (last, _) = newest.entry(&change.path).or_insert((change, change.existed));
            *last = change;
        }
        // A key that came and went meanwhile is nothing to the consumer.
        let news = newest.values().filter(|(last, existed)| last.record.is_some() || *existed);
        let events: Vec<_> = news.filter_map(|(last, _)| self.event(last)).collect();
        self.note_resync(reason, false);
        self.ready.extend(events);
        Ok(())
    }

    fn tell_all<E: Engine>(&mut self, state: &State<E>, reason: ResyncReason) -> Result<()> {
        self.note_resync(reason, true);
        self.tell_state(state)
    }

    fn tell_state<E: Engine>(&mut self, state: &State<E>) -> Result<()> {
        let (handle, ready) = (&self.handle, &mut self.ready);
        if let WatchTarget::Key(key) = &self.target {
            let record = state.get(&self.path)?;
            let pair = record.map(|record| handle.pair(key.clone(), &record, true));
            ready.extend(pair.map(Event::Put));
            return Ok(());
        }
        state.scan(&Span::below(&self.path), &mut |path, record| {
            let pair = handle.key(path).map(|key| handle.pair(key, record, true));
            ready.extend(pair.map(Event::Put));
            true
        })
    }

    fn note_resync(&mut self, reason: ResyncReason, complete: bool) {
        tracing::warn!(backend = %MEM, key = %self.target.key(), %reason, complete, "watch resynced");
        self.ready.push_back(Event::Resync { reason, complete });
    }

    fn covers(&self, path: &Path) -> bool {
        match self.target {
            WatchTarget::Key(_) => *path == self.path,
            WatchTarget::Tree(_) => Span::below(&self.path).holds(path),
        }
    }

    fn event(&self, change: &Change) -> Option<Event> {
        let key = self.handle.key(&change.path)?;
        Some(match &change.record {
            Some(record) => Event::Put(self.handle.pair(key, record, true)),
            None => Event::Delete { key, last_index: change.revision },
        })
    }
}

impl Stream for Watch {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.started
            && let Err(error) = self.start()
        {
            return Poll::Ready(Some(Err(error.with_key(self.target.key()))));
        }
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            match std::task::ready!(self.buffer.poll(cx)) {
                Found::Change(change) => {
                    if let Some(event) = self.event(&change) {
                        return Poll::Ready(Some(Ok(event)));
                    }
                }
                Found::Lagged(after) => {
                    if let Err(error) = self.catch_up(after) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Found::Closed => {
                    let error = closed("watch").with_key(self.target.key());
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}
