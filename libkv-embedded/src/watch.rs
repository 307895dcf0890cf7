use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use libkv_core::{Error, Event, Result, ResyncReason, WatchOptions, WatchTarget};

use crate::engine::{FileView, Path, Span};
use crate::error::closed;
use crate::handle::Handle;
use crate::machine::{Buffer, Change, Found, History};

/// How many records of a snapshot in a file are read ahead, and how many bytes of them.
const READ_AHEAD: usize = 256;
const READ_AHEAD_BYTES: usize = 1 << 20;

/// A watch: first what `ready` and `snapshot` hold, then what arrives in the buffer.
#[derive(Debug)]
pub(crate) struct Watch {
    handle: Arc<Handle>,
    target: WatchTarget,
    opts: WatchOptions,
    path: Path,
    ready: VecDeque<Event>,
    snapshot: Option<Snapshot>,
    buffer: Arc<Buffer>,
    /// Changes up to this revision have been told already.
    told: u64,
    /// The last revision of which a change came through the buffer, and the paths that were told:
    /// a transaction may be cut by the buffer's end.
    latest: (u64, Vec<Path>),
    started: bool,
}

/// A snapshot that is being told.
#[derive(Debug)]
struct Snapshot {
    view: FileView,
    rest: Span,
}

impl Watch {
    pub(crate) fn new(handle: Arc<Handle>, target: WatchTarget, opts: WatchOptions) -> Self {
        let path = handle.path(target.key());
        let buffer = Buffer::new(handle.id, opts.buffer);
        Self {
            handle,
            target,
            opts,
            path,
            ready: VecDeque::new(),
            snapshot: None,
            buffer,
            told: 0,
            latest: (0, Vec::new()),
            started: false,
        }
    }

    /// Registers first and looks then: a change between the two is in both, and told once.
    fn start(&mut self) -> Result<()> {
        self.handle.demand_time("watch", None)?;
        let mut watchers = self.handle.machine.watchers();
        match &self.target {
            WatchTarget::Key(_) => watchers.watch_key(self.path.clone(), &self.buffer),
            WatchTarget::Tree(_) => watchers.watch_tree(self.path.clone(), &self.buffer),
        }
        drop(watchers);
        // Again after the registration: a handle that is closed from now on closes the buffer.
        self.handle.demand_time("watch", None)?;
        let revision = self.handle.machine.revision()?;
        match self.opts.from {
            Some(from) if from > revision => self.tell_all(ResyncReason::HistoryRewound),
            Some(from) => self.tell_since(from, None),
            None if self.opts.initial => self.tell_state(),
            None => {
                self.synced(revision);
                Ok(())
            }
        }
    }

    /// Tells what changed after `revision`: every change at the start of a stream, and the newest
    /// of each key in a resync. Where the history does not reach back, tells the whole state.
    fn tell_since(&mut self, revision: u64, resync: Option<ResyncReason>) -> Result<()> {
        let handle = self.handle.clone();
        let since = handle.machine.look_back(|history, now| {
            Ok(self.since(history, revision, now, resync).map(|events| (events, now)))
        })?;
        match (since, resync) {
            (Some((events, now)), resync) => {
                if let Some(reason) = resync {
                    self.note_resync(reason, false);
                }
                self.ready.extend(events);
                self.synced(now);
                Ok(())
            }
            (None, resync) => self.tell_all(resync.unwrap_or(ResyncReason::Compacted)),
        }
    }

    /// The events of the changes after `revision` up to `now`; none where some are missing.
    fn since(
        &self,
        history: &History,
        revision: u64,
        now: u64,
        resync: Option<ResyncReason>,
    ) -> Option<Vec<Event>> {
        let changes = history.after(revision)?.take_while(|change| change.revision <= now);
        let changes = changes.filter(|change| self.covers(&change.path) && !self.was_told(change));
        if resync.is_none() {
            return Some(changes.filter_map(|change| self.event(change)).collect());
        }
        let mut newest: BTreeMap<&Path, (&Change, bool)> = BTreeMap::new();
        for change in changes {
            let (last, _) = newest.entry(&change.path).or_insert((change, change.existed));
            *last = change;
        }
        // A key that came and went meanwhile is nothing to the consumer.
        let news = newest.values().filter(|(last, existed)| last.record.is_some() || *existed);
        Some(news.filter_map(|(last, _)| self.event(last)).collect())
    }

    fn tell_all(&mut self, reason: ResyncReason) -> Result<()> {
        self.note_resync(reason, true);
        self.tell_state()
    }

    /// Tells the whole state: at once what is in memory, bit by bit what is in a file.
    fn tell_state(&mut self) -> Result<()> {
        if let (WatchTarget::Tree(_), Some(view)) =
            (&self.target, self.handle.machine.lasting_view()?)
        {
            self.snapshot = Some(Snapshot { view, rest: Span::below(&self.path) });
            return Ok(());
        }
        let (handle, ready) = (&self.handle, &mut self.ready);
        let revision = handle.machine.look(|revision, records| {
            if let WatchTarget::Key(key) = &self.target {
                let record = records.get(&self.path)?;
                ready.extend(record.map(|it| Event::Put(handle.pair(key.clone(), it, true))));
            } else {
                records.scan(&Span::below(&self.path), &mut |path, record| {
                    let pair = handle.key(path).map(|key| handle.pair(key, record, true));
                    ready.extend(pair.map(Event::Put));
                    true
                })?;
            }
            Ok(revision)
        })?;
        self.synced(revision);
        Ok(())
    }

    /// Reads on in a snapshot.
    fn read_on(&mut self, snapshot: Snapshot) -> Result<()> {
        let (handle, ready) = (&self.handle, &mut self.ready);
        let (mut next, mut bytes) = (None, 0);
        snapshot.view.scan(&snapshot.rest, &mut |path, record| {
            if ready.len() >= READ_AHEAD || bytes >= READ_AHEAD_BYTES {
                next = Some(path);
                return false;
            }
            bytes += record.value.len();
            let pair = handle.key(path).map(|key| handle.pair(key, record, true));
            ready.extend(pair.map(Event::Put));
            true
        })?;
        match next {
            Some(path) => {
                self.snapshot = Some(Snapshot { rest: snapshot.rest.at(path), ..snapshot })
            }
            None => self.synced(snapshot.view.revision()),
        }
        Ok(())
    }

    fn synced(&mut self, index: u64) {
        self.told = index;
        self.ready.push_back(Event::Synced { index });
    }

    fn note_resync(&mut self, reason: ResyncReason, complete: bool) {
        let (backend, key) = (self.handle.backend, self.target.key());
        tracing::warn!(%backend, %key, %reason, complete, "watch resynced");
        self.ready.push_back(Event::Resync { reason, complete });
    }

    fn was_told(&self, change: &Change) -> bool {
        change.revision == self.latest.0 && self.latest.1.contains(&change.path)
    }

    fn note_told(&mut self, change: &Change) {
        if change.revision != self.latest.0 {
            self.latest = (change.revision, std::mem::take(&mut self.latest.1));
            self.latest.1.clear();
        }
        self.latest.1.push(change.path.clone());
    }

    fn covers(&self, path: &Path) -> bool {
        match self.target {
            WatchTarget::Key(_) => *path == self.path,
            WatchTarget::Tree(_) => Span::below(&self.path).holds(path),
        }
    }

    fn event(&self, change: &Change) -> Option<Event> {
        let key = self.handle.key(change.path.clone())?;
        Some(match &change.record {
            Some(record) => Event::Put(self.handle.pair(key, record.clone(), true)),
            None => Event::Delete { key, last_index: change.revision },
        })
    }

    /// The next event that can be told without waiting, or what to wait for.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event>> {
        if !std::mem::replace(&mut self.started, true) {
            self.start()?;
        }
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Ok(event));
            }
            if let Some(snapshot) = self.snapshot.take() {
                match self.read_on(snapshot) {
                    // The file failed and was written since: that moment cannot be read any more.
                    Err(error) if error.is_transient() => {
                        self.tell_all(ResyncReason::Reconnected)?;
                    }
                    read => read?,
                }
                continue;
            }
            match std::task::ready!(self.buffer.poll(cx)) {
                Found::Change(change) if change.revision <= self.told => {}
                Found::Change(change) => {
                    self.note_told(&change);
                    if let Some(event) = self.event(&change) {
                        return Poll::Ready(Ok(event));
                    }
                }
                Found::Lagged(after) => {
                    self.buffer.reopen();
                    self.tell_since(after.max(self.told), Some(ResyncReason::Lagged))?;
                }
                Found::Closed => return Poll::Ready(Err(closed(self.handle.backend, "watch"))),
            }
        }
    }
}

impl Stream for Watch {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = std::task::ready!(self.poll_event(cx));
        let named = |error: Error| {
            error.in_operation(self.handle.backend, "watch").with_key(self.target.key())
        };
        Poll::Ready(Some(event.map_err(named)))
    }
}
