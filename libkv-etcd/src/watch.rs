mod told;

use std::collections::VecDeque;
use std::sync::Arc;

use etcd_client::proto::{PbEvent, PbKeyValue};
use futures_core::Stream;
use futures_util::stream::unfold;
use libkv_core::{
    Event, Key, Patience, Picture, Result, ResyncReason, WatchOptions, WatchTarget, diff,
};

use self::told::{Deleted, Told};
use crate::error::ETCD;
use crate::handle::Handle;
use crate::history::{Past, current_revision, look_back};
use crate::hub::{Subscription, closed};
use crate::mailbox::Note;
use crate::names::Span;
use crate::pages::{NoPage, Pages, RawPage};

const WATCH: &str = "watch";
/// The server's kind of a deletion (`Event.EventType` in its `kv.proto`).
const DELETE: i32 = 1;

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
                let error = error.in_operation(ETCD, WATCH).or_key(watch.key());
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
    span: Span,
    changes: Subscription,
    phase: Phase,
    ready: VecDeque<Event>,
    told: Told,
}

enum Phase {
    /// The server was asked to watch.
    New,
    /// It was asked to watch anew; then the state is told, in the difference to this.
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
        let changes = match opts.from {
            None => handle.hub.open(span.clone(), opts.buffer),
            Some(from) => handle.hub.open_past(span.clone(), after(from), opts.buffer),
        };
        let (phase, ready, told) = (Phase::New, VecDeque::new(), Told::default());
        Self { handle, target, opts, span, changes, phase, ready, told }
    }

    fn key(&self) -> &Key {
        self.target.key()
    }

    async fn next(&mut self) -> Result<Event> {
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
                    self.hear(note).await?;
                }
            }
        }
    }

    async fn hear(&mut self, note: Note) -> Result<()> {
        match (note, &mut self.phase) {
            (Note::Change(event), _) => return self.change(event).await,
            (Note::Opened { revision }, Phase::New) => return self.begin(revision).await,
            (Note::Opened { .. }, Phase::Anew(old)) => {
                let old = old.take();
                self.phase = self.snapshot(old, false);
            }
            // The server watches once more after a reconnection; nothing was missed.
            (Note::Opened { .. }, _) => {}
            (Note::Level, Phase::Past(until)) => {
                let until = *until;
                self.level(until);
            }
            (Note::Level, _) => {}
            (Note::Lagged, Phase::Past(until)) => {
                let until = *until;
                self.go_on_in_the_past(until);
            }
            (Note::Lagged, _) => {
                self.changes.listen_again();
                let old = self.resync(ResyncReason::Lagged);
                self.phase = self.snapshot(old, false);
            }
            (Note::Compacted, _) => self.watch_anew(ResyncReason::Compacted),
            (Note::Rewound, _) => self.watch_anew(ResyncReason::HistoryRewound),
            (Note::Failed(error), _) => return Err(error),
            (Note::Closed, _) => return Err(closed(WATCH)),
        }
        Ok(())
    }

    /// The server watches, and only now the state is looked at: what changes in between is in both
    /// and told once, and the server has no past to catch up with.
    async fn begin(&mut self, revision: i64) -> Result<()> {
        let Some(from) = self.opts.from else {
            self.phase = self.snapshot(None, !self.opts.initial);
            return Ok(());
        };
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        // A member that lags behind the others has an older revision than the cluster.
        let now = if from <= revision { revision } else { self.current_revision().await? };
        if from > now {
            self.watch_anew(ResyncReason::HistoryRewound);
            return Ok(());
        }
        self.told.revision = from;
        self.changes.ask_level(now);
        self.phase = Phase::Past(now);
        Ok(())
    }

    /// The consumer was too slow for the past, and what did not fit was dropped: the server has it
    /// still.
    fn go_on_in_the_past(&mut self, until: i64) {
        let next = self.told.revision.saturating_add(1);
        self.changes = self.handle.hub.open_past(self.span.clone(), next, self.opts.buffer);
        self.changes.ask_level(until);
    }

    fn level(&mut self, revision: i64) {
        self.changes.be_strict();
        self.phase = Phase::Live;
        self.ready.push_back(Event::Synced { index: index(revision) });
    }

    /// Has the server watch from now on, and makes good what was missed.
    fn watch_anew(&mut self, reason: ResyncReason) {
        self.changes = self.handle.hub.open(self.span.clone(), self.opts.buffer);
        self.phase = Phase::Anew(self.resync(reason));
    }

    /// Says that something may have been missed. It is to be made good by the difference to what is
    /// returned, or by the whole state where it is not known what was told.
    fn resync(&mut self, reason: ResyncReason) -> Option<Picture> {
        let mut old = std::mem::take(&mut self.told.picture);
        match &mut self.phase {
            // The difference was being told: what had not come up yet still stands as told before.
            Phase::Snapshot(Snapshot { old: Some(rest), .. }) | Phase::Anew(Some(rest)) => {
                old.append(rest);
                self.told.whole = true;
            }
            _ => {}
        }
        if reason == ResyncReason::HistoryRewound {
            // In another history the same revision may be another state.
            old.values_mut().for_each(|version| *version = crate::handle::version(0));
        }
        let (key, complete) = (self.target.key(), !self.told.whole);
        tracing::warn!(backend = %ETCD, %key, %reason, complete, "watch resynced");
        self.ready.push_back(Event::Resync { reason, complete });
        (!complete).then_some(old)
    }

    fn snapshot(&mut self, old: Option<Picture>, silent: bool) -> Phase {
        self.told = Told::default();
        let cluster = self.handle.cluster.clone();
        let pages = Pages::new(cluster, self.span.clone(), WATCH).keys_only(silent);
        Phase::Snapshot(Snapshot { pages, old, silent })
    }

    /// Tells the next page of the state, however long it takes to get it.
    async fn read_on(&mut self) -> Result<()> {
        let mut patience = Patience::default();
        loop {
            let Phase::Snapshot(snapshot) = &mut self.phase else {
                return Ok(());
            };
            let reading = async {
                // It fails only where it is closed, which nobody does.
                let _turn = self.handle.snapshots.acquire().await;
                // Boxed, as all calls of a watch are: one that waits is to be small.
                Box::pin(snapshot.pages.next(usize::MAX)).await
            };
            match reading.await {
                Ok(Some(page)) => self.tell_page(page),
                Ok(None) => self.end_snapshot(),
                Err(NoPage::Compacted) => self.begin_again(),
                Err(NoPage::Failed(error)) => {
                    patience.after(error, self.target.key()).await?;
                    continue;
                }
            }
            return Ok(());
        }
    }

    fn tell_page(&mut self, page: RawPage) {
        let Phase::Snapshot(snapshot) = &mut self.phase else {
            return;
        };
        self.told.revision = page.revision;
        self.handle.hub.saw(page.revision);
        let (pairs, foreign) = self.told.state(&self.handle, page.kvs);
        match &mut snapshot.old {
            None if snapshot.silent => {}
            None => self.ready.extend(pairs.into_iter().map(Event::Put)),
            Some(old) if !pairs.is_empty() => {
                // What is beyond this page comes up with a later one.
                let last = pairs.last().map(|pair| &pair.key);
                let mut rest = last.map_or_else(Picture::new, |last| old.split_off(last));
                old.extend(last.and_then(|last| rest.remove_entry(last)));
                let known = std::mem::replace(old, rest);
                self.ready.extend(diff(&known, &pairs, index(page.revision)));
            }
            Some(_) => {}
        }
        self.note_foreign(foreign);
    }

    fn end_snapshot(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Live);
        let index = index(self.told.revision);
        if let Phase::Snapshot(Snapshot { old: Some(gone), .. }) = phase {
            self.ready.extend(diff(&gone, [], index));
        }
        self.told.whole = true;
        self.ready.push_back(Event::Synced { index });
        // What a state needs, a watch of changes does not.
        self.ready.shrink_to_fit();
    }

    /// The state's revision was compacted while it was told: what was told is compared with a newer
    /// one.
    fn begin_again(&mut self) {
        if matches!(&self.phase, Phase::Snapshot(snapshot) if snapshot.silent) {
            self.phase = self.snapshot(None, true);
            return;
        }
        // What was told so far is all that was told.
        self.told.whole = true;
        let old = self.resync(ResyncReason::Compacted);
        self.phase = self.snapshot(old, false);
    }

    async fn change(&mut self, event: PbEvent) -> Result<()> {
        let Some(kv) = event.kv else {
            return Ok(());
        };
        let revision = kv.mod_revision;
        match self.phase {
            // The state that is told, or was, has it.
            Phase::Live if revision <= self.told.revision => return Ok(()),
            Phase::Past(until) if revision > until => self.level(until),
            _ => {}
        }
        match event.r#type {
            DELETE => self.deleted(kv).await,
            _ => {
                let told = self.told.put(&self.handle, kv);
                match told {
                    Ok(event) => self.ready.extend(event),
                    Err(foreign) => self.note_foreign(foreign),
                }
                Ok(())
            }
        }?;
        if matches!(self.phase, Phase::Past(_)) {
            self.told.revision = revision;
        }
        Ok(())
    }

    async fn deleted(&mut self, kv: PbKeyValue) -> Result<()> {
        let event = match self.told.deleted(&self.handle, &kv) {
            Deleted::Nothing => return Ok(()),
            Deleted::Told(event) => event,
            // Without a picture the past says what it was.
            Deleted::Unclear(event) => match self.look_back(&kv).await? {
                Past::Node => return Ok(()),
                Past::Data => event,
                Past::Forgotten => {
                    self.watch_anew(ResyncReason::Compacted);
                    return Ok(());
                }
            },
        };
        self.ready.push_back(event);
        Ok(())
    }

    async fn current_revision(&self) -> Result<i64> {
        let mut patience = Patience::default();
        loop {
            match Box::pin(current_revision(&self.handle, &self.span)).await {
                Ok(revision) => return Ok(revision),
                Err(error) => patience.after(error, self.key()).await?,
            }
        }
    }

    async fn look_back(&self, deleted: &PbKeyValue) -> Result<Past> {
        let mut patience = Patience::default();
        loop {
            match Box::pin(look_back(&self.handle, deleted)).await {
                Ok(past) => return Ok(past),
                Err(error) => patience.after(error, self.key()).await?,
            }
        }
    }

    fn note_foreign(&self, count: usize) {
        if count > 0 {
            let key = self.key();
            tracing::warn!(backend = %ETCD, %key, count, "names that are no keys were skipped");
        }
    }
}

/// The revision that follows an index.
fn after(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1)
}

fn index(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or_default()
}
