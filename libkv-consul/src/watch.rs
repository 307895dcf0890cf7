mod patience;

use std::collections::VecDeque;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::stream::unfold;
use libkv_core::{
    Error, ErrorKind, Event, Key, KvPair, Picture, Result, ResyncReason, Version, WatchOptions,
    WatchTarget, diff,
};

use self::patience::Patience;
use crate::client::{Answer, Call, Entries, Entry, Mode, Span};
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

/// A state that is being told.
struct Snapshot {
    /// None where it is not asked for yet.
    entries: Option<Box<Entries>>,
    /// What was told before and has not come up yet: what is left at the end is gone. None where
    /// nothing was told.
    old: Option<Picture>,
    silent: bool,
    any: bool,
}

impl Watch {
    fn new(handle: Arc<Handle>, target: WatchTarget, opts: WatchOptions) -> Self {
        let span = match &target {
            WatchTarget::Key(key) => Span::One(handle.names.name(key)),
            WatchTarget::Tree(dir) => Span::Prefix(handle.names.below(dir)),
        };
        let changes = handle.hub.listen(span, opts.buffer);
        let (phase, ready, picture) = (Phase::New, VecDeque::new(), Picture::new());
        Self { handle, target, opts, changes, phase, ready, picture, index: 0 }
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
            (Note::Level { .. }, _) => {}
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

    fn snapshot(&mut self) -> Phase {
        let silent = self.is_silent();
        let old = std::mem::take(&mut self.picture);
        let old = (!silent && !old.is_empty()).then_some(old);
        Phase::Snapshot(Snapshot { entries: None, old, silent, any: false })
    }

    /// Reads and tells the next part of the state, however long it takes to get it.
    async fn read_on(&mut self) -> Result<()> {
        let mut patience = Patience::default();
        loop {
            let error = match self.read_part().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.begin_again();
            patience.after(error, self.target.key()).await?;
        }
    }

    async fn read_part(&mut self) -> Result<()> {
        let call = self.call();
        let Phase::Snapshot(snapshot) = &mut self.phase else {
            return Ok(());
        };
        let client = &self.handle.client;
        let failed = |failure: crate::error::Failure| failure.into_error(&call, false);
        let Some(entries) = &mut snapshot.entries else {
            return match &self.target {
                WatchTarget::Key(key) => {
                    let name = self.handle.names.name(key);
                    let answer = client.get(&name, Mode::Consistent, &call).await;
                    let Answer { index, body, .. } = answer.map_err(failed)?;
                    self.index = index.unwrap_or_default();
                    let batch = body.into_iter().collect();
                    self.tell_part(batch).await?;
                    self.end_snapshot(&call).await
                }
                WatchTarget::Tree(dir) => {
                    let prefix = self.handle.names.below(dir);
                    let answer = client.list(&prefix, Mode::Consistent, &call).await;
                    let Answer { index, body, filtered } = answer.map_err(failed)?;
                    if filtered {
                        return Err(self.handle.rights.denied(&call));
                    }
                    self.index = index.unwrap_or_default();
                    snapshot.entries = Some(Box::new(body));
                    Ok(())
                }
            };
        };
        match entries.next(client.operation_timeout()).await.map_err(failed)? {
            Some(batch) => self.tell_part(batch).await,
            None => self.end_snapshot(&call).await,
        }
    }

    /// What was told so far stays told, and the state is read once more.
    fn begin_again(&mut self) {
        let told = std::mem::take(&mut self.picture);
        if let Phase::Snapshot(snapshot) = &mut self.phase {
            snapshot.entries = None;
            snapshot.any = false;
            if !snapshot.silent && !told.is_empty() {
                snapshot.old.get_or_insert_default().extend(told);
            }
        }
    }

    async fn tell_part(&mut self, batch: Vec<Entry>) -> Result<()> {
        let mut named = Vec::with_capacity(batch.len());
        let mut foreign = 0;
        if let Phase::Snapshot(snapshot) = &mut self.phase {
            snapshot.any |= !batch.is_empty();
        }
        for entry in batch {
            if is_lock_node(&entry.name, entry.flags) {
                continue;
            }
            match self.handle.names.key(&entry.name) {
                Some(key) => named.push((key, entry)),
                None => foreign += 1,
            }
        }
        let call = self.call();
        let pairs = self.handle.pairs(named, Mode::Consistent, &call).await?;
        let known = match &self.phase {
            Phase::Snapshot(Snapshot { old: Some(old), .. }) => {
                // What is beyond this part comes up with a later one.
                let last = pairs.last().map(|pair| &pair.key);
                let passed = old.iter().filter(|(key, _)| last.is_some_and(|last| *key <= last));
                let mut known: Picture =
                    passed.map(|(key, version)| (key.clone(), *version)).collect();
                self.keep_hidden(&mut known, &pairs, &call).await?;
                Some(known)
            }
            _ => None,
        };
        self.picture.extend(pairs.iter().map(|pair| (pair.key.clone(), pair.version)));
        let Phase::Snapshot(snapshot) = &mut self.phase else {
            return Ok(());
        };
        match (&mut snapshot.old, known) {
            (Some(old), Some(known)) => {
                if let Some(last) = pairs.last() {
                    *old = old.split_off(&last.key);
                    old.remove(&last.key);
                }
                self.ready.extend(diff(&known, &pairs, self.index));
            }
            _ if snapshot.silent => {}
            _ => self.ready.extend(pairs.into_iter().map(Event::Put)),
        }
        self.note_foreign(foreign);
        Ok(())
    }

    /// Takes what was told and is there all the same out of what is gone. It is an error where it
    /// is there and may not be read any more.
    async fn keep_hidden(
        &mut self,
        known: &mut Picture,
        pairs: &[KvPair],
        call: &Call,
    ) -> Result<()> {
        if !matches!(self.target, WatchTarget::Tree(_)) {
            return Ok(());
        }
        let came_up = |key: &Key| pairs.binary_search_by(|pair| pair.key.cmp(key)).is_ok();
        let gone = known.keys().filter(|key| !came_up(key));
        let gone: Vec<String> = gone.map(|key| self.handle.names.name(key)).collect();
        let there = self.handle.rights.look_for(&gone, call).await?;
        for name in there {
            // Somebody put it meanwhile, which the feed tells.
            if let Some((key, version)) =
                self.handle.names.key(&name).and_then(|key| known.remove_entry(&key))
            {
                self.picture.insert(key, version);
            }
        }
        Ok(())
    }

    /// What was told and did not come up is gone.
    async fn end_snapshot(&mut self, call: &Call) -> Result<()> {
        let Phase::Snapshot(snapshot) = &self.phase else {
            return Ok(());
        };
        let mut gone = snapshot.old.clone().unwrap_or_default();
        if let WatchTarget::Tree(dir) = &self.target
            && !snapshot.any
        {
            self.handle.rights.demand(&self.handle.names.below(dir), call).await?;
        }
        self.keep_hidden(&mut gone, &[], call).await?;
        self.ready.extend(diff(&gone, [], self.index));
        self.level(self.index);
        Ok(())
    }

    /// Takes a change. The state that was told may have it already, or a later one.
    async fn change(&mut self, change: &Change) -> Result<()> {
        if change.index <= self.index && !matches!(self.phase, Phase::New | Phase::Healing) {
            return Ok(());
        }
        let Some(key) = self.handle.names.key(&change.name) else {
            if change.entry.is_some() {
                self.note_foreign(1);
            }
            return Ok(());
        };
        let shown = change.entry.as_ref().filter(|entry| !is_lock_node(&entry.name, entry.flags));
        let Some(entry) = shown else {
            if self.picture.remove(&key).is_some() && !self.is_silent() {
                self.ready.push_back(Event::Delete { key, last_index: change.index });
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

    async fn pair(&self, key: Key, entry: Entry) -> Result<KvPair> {
        let entries = [entry];
        let mut patience = Patience::default();
        loop {
            let (kinds, call) = (&self.handle.kinds, self.call());
            match kinds.of(&self.handle.client, &entries, Mode::Consistent, &call).await {
                Ok(kinds) => {
                    let [entry] = entries;
                    let kind =
                        kinds.first().copied().unwrap_or(libkv_core::LifetimeKind::Ephemeral);
                    return Ok(pair(key, entry, kind));
                }
                Err(error) => patience.after(error, self.key()).await?,
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
