mod changes;
mod feed;
mod look;
mod rights;
mod snapshot;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures_core::Stream;
use futures_util::stream::unfold;
use libkv_core::{
    Consistency, Error, ErrorKind, Event, Key, Patience, Picture, Result, ResyncReason,
    WatchOptions, WatchTarget,
};
use tokio::time::{Instant, sleep_until};

use self::changes::{Changed, Scope};
use self::feed::Feed;
use self::look::{Looked, State};
use self::rights::Rights;
use self::snapshot::Snapshot;
use crate::error::{Call, ZK};
use crate::handle::Handle;
use crate::link::closed;
use crate::pace::Pace;
use crate::reader::Reader;

const WATCH: &str = "watch";

/// How many nodes are looked at before what they are is told.
const NODES_AT_ONCE: usize = 1_024;

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
                let error = error.in_operation(ZK, WATCH).or_key(watch.target.key());
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
    scope: Scope,
    opts: WatchOptions,
    reader: Reader,
    pace: Pace,
    /// None before the first, and when the connection broke.
    feed: Option<Feed>,
    phase: Phase,
    ready: VecDeque<Event>,
    /// What changed and is not told yet.
    pending: Changed,
    /// What the consumer has been told, or is taken to know.
    picture: Picture,
    /// Which of these keys have an empty value.
    empty: BTreeSet<Key>,
    /// The session of the last feed.
    session: Option<i64>,
    /// Whether the consumer knows all up to an index that was said.
    synced: bool,
    /// Whether the consumer is not told the first state.
    silent: bool,
    rights: Rights,
    patience: Patience,
}

enum Phase {
    /// The state is read and told.
    Snapshot(Box<Snapshot>),
    /// What changed while the state was read is told, and then that all up to an index was.
    Closing(i64),
    Live,
}

/// What came of taking what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gathered {
    All,
    /// There was more than anybody took.
    Lagged,
    /// The connection broke, or is another one.
    Broken,
}

impl Watch {
    fn new(handle: Arc<Handle>, target: WatchTarget, opts: WatchOptions) -> Self {
        let paths = &handle.paths;
        let scope = match &target {
            WatchTarget::Key(key) => Scope::node(paths, paths.path(key)),
            WatchTarget::Tree(dir) => Scope::tree(paths, paths.path(dir)),
        };
        Self {
            reader: Reader::new(handle.clone(), Consistency::Linearizable),
            silent: !opts.initial,
            handle,
            target,
            scope,
            opts,
            pace: Pace::default(),
            feed: None,
            phase: Phase::Live,
            ready: VecDeque::new(),
            pending: Changed::new(),
            picture: Picture::new(),
            empty: BTreeSet::new(),
            session: None,
            synced: false,
            rights: Rights::new(),
            patience: Patience::default(),
        }
    }

    fn call(&self) -> Call {
        Call { operation: WATCH, deadline: Instant::now() + self.handle.operation_timeout }
    }

    async fn next(&mut self) -> Result<Event> {
        if self.opts.from.is_some() {
            return Err(Error::new(ErrorKind::NotImplemented, ZK, WATCH)
                .with_detail("a watch from an index of the past; ZooKeeper keeps no history"));
        }
        let closing = self.handle.closing();
        tokio::select! {
            biased;
            () = closing => Err(closed(WATCH)),
            event = self.go_on() => event,
        }
    }

    async fn go_on(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            // What is seldom done is in a box, so that a watch which waits is small.
            if self.feed.as_ref().is_some_and(Feed::is_broken) {
                self.feed = None;
            }
            let step = match (&self.feed, &self.phase) {
                (None, _) => Box::pin(self.subscribe()).await,
                (Some(_), Phase::Snapshot(_)) => Box::pin(self.read_on()).await,
                (Some(_), Phase::Closing(newest)) => Box::pin(self.close(*newest)).await,
                (Some(_), Phase::Live) if !self.pending.is_empty() => Box::pin(self.follow()).await,
                (Some(feed), Phase::Live) => tokio::select! {
                    () = feed.news() => Box::pin(self.follow()).await,
                    () = sleep_until(self.rights.due) => Box::pin(self.check_rights()).await,
                },
            };
            if let Err(error) = step {
                self.patience.after(error, self.target.key()).await?;
            }
        }
    }

    /// Has the servers tell changes, before the state is read.
    async fn subscribe(&mut self) -> Result<()> {
        let call = self.call();
        let feed = Feed::start(&self.handle.link, &self.scope, self.opts.buffer, &call).await;
        let feed = feed.map_err(|failure| failure.into_error(&call, false))?;
        match self.session.replace(feed.session) {
            None => {}
            Some(session) if session == feed.session => self.resync(ResyncReason::Reconnected),
            Some(_) => self.resync(ResyncReason::SessionLost),
        }
        self.feed = Some(feed);
        self.begin_snapshot();
        Ok(())
    }

    /// Says that something may have been missed. It is made good by the difference.
    fn resync(&mut self, reason: ResyncReason) {
        // Before the first level, and until the next one, nothing else is expected.
        if std::mem::take(&mut self.synced) {
            let key = self.target.key();
            tracing::warn!(backend = %ZK, %key, %reason, complete = false, "watch resynced");
            self.ready.push_back(Event::Resync { reason, complete: false });
        }
    }

    /// Says that all up to an index was told.
    fn level(&mut self, newest: i64) {
        self.ready.push_back(Event::Synced { index: look::index(newest) });
        // What a state needs, a watch of changes does not.
        self.ready.shrink_to_fit();
        (self.synced, self.silent) = (true, false);
        self.phase = Phase::Live;
        self.patience.well();
        if let Some(feed) = &self.feed {
            feed.allow(self.opts.buffer);
        }
    }

    /// Takes what changed to what is pending.
    fn gather(&mut self) -> Gathered {
        let Some(feed) = &self.feed else { return Gathered::Broken };
        // The reader may be ahead of a feed of another session.
        if feed.is_broken() || self.reader.session().is_some_and(|read| read != feed.session) {
            return Gathered::Broken;
        }
        self.note_foreign(feed.take_foreign());
        let Some(changed) = feed.take() else { return Gathered::Lagged };
        for (path, change) in changed {
            changes::add(&mut self.pending, path, change);
        }
        Gathered::All
    }

    /// Begins anew where something may be missing.
    fn recover(&mut self, gathered: Gathered) {
        match gathered {
            Gathered::All => {}
            Gathered::Broken => self.feed = None,
            Gathered::Lagged => {
                self.resync(ResyncReason::Lagged);
                self.begin_snapshot();
            }
        }
    }

    /// Takes some of what is pending.
    fn some_pending(&mut self) -> Changed {
        let mut some = self.pending.clone();
        if let Some(beyond) = some.keys().nth(NODES_AT_ONCE).cloned() {
            some.split_off(&beyond);
        }
        some
    }

    /// Looks at what changed and tells it, all that one transaction changed together.
    async fn follow(&mut self) -> Result<()> {
        let gathered = self.gather();
        if gathered != Gathered::All {
            self.recover(gathered);
            return Ok(());
        }
        let changed = self.some_pending();
        let call = self.call();
        let mut looked = self.look(&changed, &call).await?;
        let Some(feed) = &self.feed else { return Ok(()) };
        feed.settle().await;
        self.pending.retain(|path, _| !changed.contains_key(path));
        let mut gathered = Gathered::All;
        if self.pending.is_empty() {
            gathered = self.gather();
            if let Err(error) = self.look_further(&mut looked, &call).await {
                self.tell(looked);
                return Err(error);
            }
        }
        self.tell(looked);
        self.recover(gathered);
        self.patience.well();
        Ok(())
    }

    /// Looks at what changed while others were looked at: it may have been written together with
    /// these. What it has become since then may be a part of something newer, and stays pending.
    async fn look_further(&mut self, looked: &mut Looked, call: &Call) -> Result<()> {
        let more = self.pending.clone();
        let seen = self.look(&more, call).await?;
        self.pending.clear();
        let level = look::index(looked.newest);
        for (key, state) in seen.states {
            if state.index() <= level {
                looked.states.insert(key, state);
            } else {
                let path = self.handle.paths.path(&key);
                let change = more.get(&path).copied().unwrap_or_default();
                changes::add(&mut self.pending, path, change);
            }
        }
        Ok(())
    }

    /// Tells what keys have become, in the order in which they did.
    fn tell(&mut self, looked: Looked) {
        let mut states: Vec<_> = looked.states.into_iter().collect();
        states.sort_by_key(|(_, state)| state.index());
        states.into_iter().for_each(|(key, state)| self.tell_one(key, state));
    }

    fn tell_one(&mut self, key: Key, state: State) {
        let event = match state {
            State::There(pair) => {
                let news = self.know(&key, pair.version, pair.value.is_empty());
                news.then_some(Event::Put(pair))
            }
            State::Gone(last_index) => {
                self.empty.remove(&key);
                self.picture.remove(&key).map(|_| Event::Delete { key, last_index })
            }
        };
        self.ready.extend(event.filter(|_| !self.silent));
    }

    /// Notes what a key is, and says whether it was something else.
    fn know(&mut self, key: &Key, version: libkv_core::Version, is_empty: bool) -> bool {
        match is_empty {
            true => self.empty.insert(key.clone()),
            false => self.empty.remove(key),
        };
        self.picture.insert(key.clone(), version) != Some(version)
    }

    fn note_foreign(&self, count: usize) {
        if count > 0 {
            let key = self.target.key();
            tracing::warn!(backend = %ZK, %key, count, "names that are no keys were skipped");
        }
    }
}
