mod reading;
mod snapshot;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures_core::Stream;
use futures_util::stream::unfold;
use libkv_core::{
    Error, ErrorKind, Event, Key, KvPair, Patience, Picture, Result, ResyncReason, Version,
    WatchOptions, WatchTarget,
};

use self::snapshot::Snapshot;
use crate::client::{Call, Entry, Mode, Span};
use crate::error::CONSUL;
use crate::handle::{Handle, pair};
use crate::hub::{Subscription, closed};
use crate::mailbox::{Change, Note};
use crate::names::is_lock_node;

const WATCH: &str = "watch";

/// Watches a target. Nothing is begun before the stream is polled.
pub(crate) fn watch(
    handle: Arc<Handle>,
    target: WatchTarget,
    opts: WatchOptions,
) -> impl Stream<Item = Result<Event>> + Send {
    unfold(Stage::Asked(handle, target, opts), |stage| async move {
        let mut watch = match stage {
            Stage::Asked(handle, target, opts) => Box::new(Watch::new(handle, target, opts)),
            Stage::Begun(watch) => watch,
            Stage::Over => return None,
        };
        match watch.next().await {
            Ok(event) => Some((Ok(event), Stage::Begun(watch))),
            Err(error) => {
                let error = error.in_operation(CONSUL, WATCH).or_key(watch.key());
                Some((Err(error), Stage::Over))
            }
        }
    })
}

enum Stage {
    Asked(Arc<Handle>, WatchTarget, WatchOptions),
    Begun(Box<Watch>),
    Over,
}

/// A watch: what is `ready` first, then what its phase brings.
struct Watch {
    handle: Arc<Handle>,
    target: WatchTarget,
    opts: WatchOptions,
    changes: Subscription,
    phase: Phase,
    ready: VecDeque<Event>,
    /// What the consumer has been told, or is taken to know.
    picture: Picture,
    /// The index of the state that was told, which older answers of the feed do not change.
    index: u64,
    /// Keys of that state which the feed had not seen when it was read. It says so when it does, and
    /// of one that is gone before that it says nothing.
    unsaid: BTreeSet<Key>,
    patience: Patience,
}

enum Phase {
    /// The feed tells the first state, or that it has begun.
    New,
    /// The state is read and told.
    Snapshot(Snapshot),
    Live,
    /// The feed tells the difference to another history.
    Healing,
}

impl Watch {
    fn new(handle: Arc<Handle>, target: WatchTarget, opts: WatchOptions) -> Self {
        let span = match &target {
            WatchTarget::Key(key) => Span::One(handle.names.name(key)),
            WatchTarget::Tree(dir) => Span::Prefix(handle.names.below(dir)),
        };
        let changes = handle.hub.listen(span, opts.buffer);
        let (phase, ready, picture) = (Phase::New, VecDeque::new(), Picture::new());
        let (unsaid, patience) = (BTreeSet::new(), Patience::default());
        Self { handle, target, opts, changes, phase, ready, picture, index: 0, unsaid, patience }
    }

    fn key(&self) -> &Key {
        self.target.key()
    }

    fn call(&self) -> Call {
        let deadline = tokio::time::Instant::now() + self.handle.client.operation_timeout();
        Call { operation: WATCH, deadline }
    }

    async fn next(&mut self) -> Result<Event> {
        if self.opts.from.is_some() {
            return Err(Error::new(ErrorKind::NotImplemented, CONSUL, WATCH)
                .with_detail("a watch from an index of the past; Consul keeps no history"));
        }
        if let Some(event) = self.ready.pop_front() {
            return Ok(event);
        }
        let closing = self.handle.closing();
        tokio::select! {
            event = self.go_on() => event,
            () = closing => Err(closed(WATCH)),
        }
    }

    async fn go_on(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match &self.phase {
                // What is seldom done is in a box, so that a watch which waits is small.
                Phase::Snapshot(_) => Box::pin(self.read_on()).await?,
                _ => {
                    let note = self.changes.next().await;
                    Box::pin(self.hear(note)).await?;
                }
            }
        }
    }

    async fn hear(&mut self, note: Note) -> Result<()> {
        match (note, &self.phase) {
            (Note::Change(change), _) => return self.change(&change).await,
            (Note::Level { index }, Phase::New | Phase::Healing) => self.level(index),
            (Note::Level { index }, _) => self.find_unsaid(index).await?,
            (Note::Begun, _) => self.phase = self.snapshot(),
            (Note::Lagged, phase) => {
                let told = !matches!(phase, Phase::New);
                self.changes.listen_again();
                if told {
                    self.resync(ResyncReason::Lagged);
                }
                self.phase = self.snapshot();
            }
            (Note::Rewound, Phase::New) => self.forget_versions(),
            (Note::Rewound, _) => {
                self.resync(ResyncReason::HistoryRewound);
                self.forget_versions();
                self.unsaid.clear();
                self.index = 0;
                self.phase = Phase::Healing;
            }
            (Note::Failed(error), _) => return Err(error),
            (Note::Closed, _) => return Err(closed(WATCH)),
        }
        Ok(())
    }

    fn level(&mut self, index: u64) {
        self.index = index;
        self.phase = Phase::Live;
        self.patience.well();
        self.ready.push_back(Event::Synced { index });
        // What a state needs, a watch of changes does not.
        self.ready.shrink_to_fit();
    }

    /// Says that something may have been missed. It is made good by the difference.
    fn resync(&mut self, reason: ResyncReason) {
        let key = self.target.key();
        tracing::warn!(backend = %CONSUL, %key, %reason, complete = false, "watch resynced");
        self.ready.push_back(Event::Resync { reason, complete: false });
    }

    /// In another history the same index may be another state.
    fn forget_versions(&mut self) {
        self.picture.values_mut().for_each(|version| *version = Version::unknown(CONSUL));
    }

    /// Whether the consumer is not told the first state.
    fn is_silent(&self) -> bool {
        !self.opts.initial && matches!(self.phase, Phase::New)
    }

    /// Takes a change. The state that was told may have it already, or a later one.
    async fn change(&mut self, change: &Change) -> Result<()> {
        let key = self.handle.names.key(&change.name);
        if let Some(key) = &key {
            self.unsaid.remove(key);
        }
        if change.index <= self.index && !matches!(self.phase, Phase::New | Phase::Healing) {
            return Ok(());
        }
        let Some(key) = key else {
            if change.entry.is_some() {
                self.note_foreign(1);
            }
            return Ok(());
        };
        let shown = change.entry.as_ref().filter(|entry| !is_lock_node(&entry.name, entry.flags));
        let Some(entry) = shown else {
            if let Some(told) = self.picture.remove(&key)
                && !self.is_silent()
            {
                let last_index = change.index.max(told.last_index());
                self.ready.push_back(Event::Delete { key, last_index });
            }
            return Ok(());
        };
        if let Some(told) = self.picture.get(&key)
            && told.last_index() >= entry.modify_index
        {
            return Ok(());
        }
        let pair = self.pair(key, entry.clone()).await?;
        self.picture.insert(pair.key.clone(), pair.version);
        if !self.is_silent() {
            self.ready.push_back(Event::Put(pair));
        }
        Ok(())
    }

    async fn pair(&mut self, key: Key, entry: Entry) -> Result<KvPair> {
        let entries = [entry];
        loop {
            let (kinds, call) = (&self.handle.kinds, self.call());
            match kinds.of(&self.handle.client, &entries, Mode::Consistent, &call).await {
                Ok(kinds) => {
                    let [entry] = entries;
                    let kind =
                        kinds.first().copied().unwrap_or(libkv_core::LifetimeKind::Ephemeral);
                    return Ok(pair(key, entry, kind));
                }
                Err(error) => self.patience.after(error, self.target.key()).await?,
            }
        }
    }

    fn note_foreign(&self, count: usize) {
        if count > 0 {
            let key = self.key();
            tracing::warn!(backend = %CONSUL, %key, count, "names that are no keys were skipped");
        }
    }
}
