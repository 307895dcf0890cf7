use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::{PbEvent, PbKeyValue};
use futures_core::Stream;
use futures_util::stream::unfold;
use libkv_core::{
    Backoff, Event, KvPair, Picture, Result, ResyncReason, WatchOptions, WatchTarget, diff,
};
use tokio::time::sleep;

use crate::error::ETCD;
use crate::handle::Handle;
use crate::history::{current_revision, was_lock_node};
use crate::hub::{Subscription, closed};
use crate::mailbox::Note;
use crate::names::{Span, is_lock_node, lease_in};
use crate::pages::{NoPage, Pages, RawPage};

const WATCH: &str = "watch";
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The server's kind of a deletion (`Event.EventType` in its `kv.proto`).
const DELETE: i32 = 1;

/// Watches a target. Nothing is begun before the stream is polled.
pub(crate) fn watch(
    handle: Arc<Handle>,
    target: WatchTarget,
    opts: WatchOptions,
) -> impl Stream<Item = Result<Event>> + Send {
    let key = target.key().clone();
    unfold(Some(Watch::new(handle, target, opts)), move |watch| {
        let key = key.clone();
        async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(event) => Some((Ok(event), Some(watch))),
                Err(error) => {
                    let error = error.in_operation(ETCD, WATCH).or_key(&key);
                    Some((Err(error), None))
                }
            }
        }
    })
}

/// A watch: what is `ready` first, then what its phase brings.
struct Watch {
    handle: Arc<Handle>,
    target: WatchTarget,
    opts: WatchOptions,
    span: Span,
    changes: Subscription,
    phase: Phase,
    ready: VecDeque<Event>,
    /// The version of each key that was told, as far as `whole` says.
    picture: Picture,
    /// Whether the picture has every key that is there.
    whole: bool,
    /// The locks' nodes that are there, whose end is nothing to tell.
    nodes: HashSet<Vec<u8>>,
    /// Changes up to this revision have been told.
    told: i64,
}

enum Phase {
    New,
    /// The server was asked to watch anew; then the state is told, in the difference to this.
    Anew(Option<Picture>),
    /// Tells the state at one revision.
    Snapshot(Snapshot),
    /// Tells the past up to a revision, at which it is level.
    Past(i64),
    Live,
}

/// A state that is being told.
struct Snapshot {
    pages: Pages,
    /// What was told before and has not come up yet: what is left at the end is gone.
    old: Option<Picture>,
    silent: bool,
}

impl Watch {
    fn new(handle: Arc<Handle>, target: WatchTarget, opts: WatchOptions) -> Self {
        let span = match &target {
            WatchTarget::Key(key) => handle.names.one(key),
            WatchTarget::Tree(dir) => handle.names.below(dir),
        };
        let start = opts.from.map(|from| i64::try_from(from).unwrap_or(i64::MAX).saturating_add(1));
        let changes = handle.hub.open(span.clone(), start, opts.buffer);
        Self {
            handle,
            target,
            opts,
            span,
            changes,
            phase: Phase::New,
            ready: VecDeque::new(),
            picture: Picture::new(),
            whole: false,
            nodes: HashSet::new(),
            told: 0,
        }
    }

    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match &mut self.phase {
                Phase::New => self.begin().await?,
                Phase::Anew(_) => self.begin_anew().await?,
                Phase::Snapshot(_) => self.read_on().await?,
                Phase::Past(_) | Phase::Live => {
                    let note = self.changes.next().await;
                    self.hear(note).await?;
                }
            }
        }
    }

    /// Waits until the server watches, and only then looks at the state: what changes in between is
    /// in both and told once, and the server has no past to catch up with.
    async fn begin(&mut self) -> Result<()> {
        match self.changes.next().await {
            Note::Opened { revision } => match self.opts.from {
                None => {
                    let silent = !self.opts.initial;
                    self.phase = Phase::Snapshot(self.snapshot(None, silent));
                    Ok(())
                }
                Some(from) => self.begin_in_the_past(from, revision).await,
            },
            note => self.hear(note).await,
        }
    }

    async fn begin_in_the_past(&mut self, from: u64, revision: i64) -> Result<()> {
        // A member that lags behind the others has an older revision than the cluster.
        let now = match i64::try_from(from) {
            Ok(from) if from <= revision => revision,
            _ => Box::pin(current_revision(&self.handle, &self.span)).await?,
        };
        if i64::try_from(from).is_ok_and(|from| from <= now) {
            self.told = i64::try_from(from).unwrap_or(i64::MAX);
            self.changes.ask_level(now);
            self.phase = Phase::Past(now);
        } else {
            self.watch_anew(ResyncReason::HistoryRewound);
        }
        Ok(())
    }

    async fn begin_anew(&mut self) -> Result<()> {
        let note = self.changes.next().await;
        match (note, &mut self.phase) {
            (Note::Opened { .. }, Phase::Anew(old)) => {
                let old = old.take();
                self.phase = Phase::Snapshot(self.snapshot(old, false));
                Ok(())
            }
            // It ended before it began: the rest of what was told is still to be compared.
            (note, Phase::Anew(old)) => {
                self.picture = old.take().unwrap_or_default();
                self.hear(note).await
            }
            (note, _) => self.hear(note).await,
        }
    }

    async fn hear(&mut self, note: Note) -> Result<()> {
        match note {
            Note::Change(event) => self.change(event).await,
            Note::Level { revision } => {
                if let Phase::Past(until) = self.phase {
                    self.level(until.max(revision.min(until)));
                }
                Ok(())
            }
            // The server watches again after a reconnection; nothing was missed.
            Note::Opened { .. } => Ok(()),
            Note::Lagged => {
                self.changes.listen_again();
                let old = self.resync(ResyncReason::Lagged);
                self.phase = Phase::Snapshot(self.snapshot(old, false));
                Ok(())
            }
            Note::Compacted => {
                self.watch_anew(ResyncReason::Compacted);
                Ok(())
            }
            Note::Rewound => {
                self.watch_anew(ResyncReason::HistoryRewound);
                Ok(())
            }
            Note::Failed(error) => Err(error),
            Note::Closed => Err(closed(WATCH)),
        }
    }

    /// Has the server watch from now on, and makes good what was missed.
    fn watch_anew(&mut self, reason: ResyncReason) {
        self.changes = self.handle.hub.open(self.span.clone(), None, self.opts.buffer);
        self.phase = Phase::Anew(self.resync(reason));
    }

    /// Says that something may have been missed. It is to be made good by the difference to what is
    /// returned, or by the whole state where it is not known what was told.
    fn resync(&mut self, reason: ResyncReason) -> Option<Picture> {
        let mut old = std::mem::take(&mut self.picture);
        if let Phase::Snapshot(Snapshot { old: Some(rest), .. }) = &mut self.phase {
            // The difference was being told: what had not come up yet still stands as told before.
            old.append(rest);
            self.whole = true;
        }
        let (key, complete) = (self.target.key(), !self.whole);
        tracing::warn!(backend = %ETCD, %key, %reason, complete, "watch resynced");
        self.ready.push_back(Event::Resync { reason, complete });
        (!complete).then_some(old)
    }

    fn snapshot(&mut self, old: Option<Picture>, silent: bool) -> Snapshot {
        self.picture.clear();
        self.nodes.clear();
        self.whole = false;
        self.told = 0;
        let cluster = self.handle.cluster.clone();
        let pages = Pages::new(cluster, self.span.clone(), WATCH).keys_only(silent);
        Snapshot { pages, old, silent }
    }

    /// Tells the next page of the state.
    async fn read_on(&mut self) -> Result<()> {
        let page = match self.page().await {
            Ok(page) => page,
            Err(NoPage::Failed(error)) => return Err(error),
            Err(NoPage::Compacted) => {
                self.begin_again();
                return Ok(());
            }
        };
        let Phase::Snapshot(snapshot) = &mut self.phase else {
            return Ok(());
        };
        let Some(RawPage { revision, kvs }) = page else {
            let gone = snapshot.old.take().unwrap_or_default();
            self.ready.extend(diff(&gone, [], u64::try_from(self.told).unwrap_or_default()));
            self.whole = true;
            self.phase = Phase::Live;
            let index = u64::try_from(self.told).unwrap_or_default();
            self.ready.push_back(Event::Synced { index });
            // What a state needs, a watch of changes does not.
            self.ready.shrink_to_fit();
            return Ok(());
        };
        self.told = revision;
        let (silent, old) = (snapshot.silent, snapshot.old.take());
        let pairs = self.pairs(kvs);
        self.picture.extend(pairs.iter().map(|pair| (pair.key.clone(), pair.version)));
        let rest = match old {
            None if silent => None,
            None => {
                self.ready.extend(pairs.into_iter().map(Event::Put));
                None
            }
            Some(mut old) => {
                let rest = pairs.last().map_or_else(Picture::new, |last| {
                    let mut rest = old.split_off(&last.key);
                    old.extend(rest.remove_entry(&last.key));
                    rest
                });
                let (known, rest) = if pairs.is_empty() { (rest, old) } else { (old, rest) };
                self.ready.extend(diff(
                    &known,
                    &pairs,
                    u64::try_from(revision).unwrap_or_default(),
                ));
                Some(rest)
            }
        };
        if let Phase::Snapshot(snapshot) = &mut self.phase {
            snapshot.old = rest;
        }
        Ok(())
    }

    /// The pairs of a page that are to be told.
    fn pairs(&mut self, kvs: Vec<PbKeyValue>) -> Vec<KvPair> {
        let (mut pairs, mut foreign) = (Vec::with_capacity(kvs.len()), 0);
        for kv in kvs {
            if is_lock_node(&kv.key, kv.lease) {
                self.nodes.insert(kv.key);
            } else if let Some(key) = self.handle.names.key(&kv.key) {
                pairs.push(self.handle.pair(key, kv));
            } else {
                foreign += 1;
            }
        }
        self.note_foreign(foreign);
        pairs
    }

    /// The next page, however long it takes to get it. The stream ends where trying does not help.
    async fn page(&mut self) -> Result<Option<RawPage>, NoPage> {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let Phase::Snapshot(snapshot) = &mut self.phase else {
            return Ok(None);
        };
        loop {
            let closing = self.handle.closing();
            let reading = async {
                // It fails only where it is closed, which nobody does.
                let _turn = self.handle.snapshots.acquire().await;
                // Boxed, as all calls of a watch are: one that waits is to be small.
                Box::pin(snapshot.pages.next(usize::MAX)).await
            };
            let page = tokio::select! {
                page = reading => page,
                () = closing => return Err(NoPage::Failed(closed(WATCH))),
            };
            match page {
                Err(NoPage::Failed(error)) if error.is_transient() => {
                    let key = self.target.key();
                    tracing::warn!(backend = %ETCD, %key, %error, "the state cannot be read yet");
                }
                page => return page,
            }
            tokio::select! {
                () = sleep(backoff.next_jittered()) => {}
                () = self.handle.closing() => return Err(NoPage::Failed(closed(WATCH))),
            }
        }
    }

    /// The state's revision was compacted while it was told: what was told is compared with a newer
    /// one.
    fn begin_again(&mut self) {
        if matches!(&self.phase, Phase::Snapshot(snapshot) if snapshot.silent) {
            self.phase = Phase::Snapshot(self.snapshot(None, true));
            return;
        }
        // What was told so far is all that was told.
        self.whole = true;
        let old = self.resync(ResyncReason::Compacted);
        self.phase = Phase::Snapshot(self.snapshot(old, false));
    }

    async fn change(&mut self, event: PbEvent) -> Result<()> {
        let Some(kv) = event.kv else {
            return Ok(());
        };
        let revision = kv.mod_revision;
        if revision <= self.told {
            return Ok(());
        }
        if let Phase::Past(until) = self.phase
            && revision > until
        {
            self.level(until);
        }
        match event.r#type {
            DELETE => self.deleted(kv).await?,
            _ => self.put(kv),
        }
        Ok(())
    }

    fn level(&mut self, revision: i64) {
        self.phase = Phase::Live;
        let index = u64::try_from(revision).unwrap_or_default();
        self.ready.push_back(Event::Synced { index });
    }

    fn put(&mut self, kv: PbKeyValue) {
        let Some(key) = self.handle.names.key(&kv.key) else {
            return self.note_foreign(1);
        };
        if is_lock_node(&kv.key, kv.lease) {
            // It was data until now, and is not shown any more.
            if self.picture.remove(&key).is_some() {
                let last_index = u64::try_from(kv.mod_revision).unwrap_or_default();
                self.ready.push_back(Event::Delete { key, last_index });
            }
            self.nodes.insert(kv.key);
            return;
        }
        self.nodes.remove(&kv.key);
        let pair = self.handle.pair(key, kv);
        self.picture.insert(pair.key.clone(), pair.version);
        self.ready.push_back(Event::Put(pair));
    }

    async fn deleted(&mut self, kv: PbKeyValue) -> Result<()> {
        let Some(key) = self.handle.names.key(&kv.key) else {
            return Ok(());
        };
        if self.nodes.remove(&kv.key) {
            return Ok(());
        }
        let told = self.picture.remove(&key).is_some();
        // Without a picture the past says what it was.
        let hidden = match (told, self.whole) {
            (true, _) => false,
            (false, true) => true,
            (false, false) => {
                lease_in(&kv.key).is_some() && Box::pin(was_lock_node(&self.handle, &kv)).await?
            }
        };
        if !hidden {
            let last_index = u64::try_from(kv.mod_revision).unwrap_or_default();
            self.ready.push_back(Event::Delete { key, last_index });
        }
        Ok(())
    }

    fn note_foreign(&self, count: usize) {
        if count > 0 {
            let key = self.target.key();
            tracing::warn!(backend = %ETCD, %key, count, "names that are no keys were skipped");
        }
    }
}
