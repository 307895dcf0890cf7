use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libkv_core::{Backoff, Error, Result};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::found::Found;
use super::{Known, Shared};
use crate::client::{Call, Entry, Span};
use crate::error::CONSUL;
use crate::mailbox::{Change, Mailbox, Note};

const WATCH: &str = "watch";
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a query may wait at the server, which never learns that nobody listens any more. A feed
/// that is new may not be wanted for long, and one that is wanted should not ask often.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(55);
/// How long it waits where others wait for a connection.
const CROWDED_WAIT: Duration = Duration::from_millis(500);
/// How often a server is asked that gives no index to wait for.
const POLLING: Duration = Duration::from_secs(1);
/// An answer without news that comes sooner than this was none.
const SUDDEN: Duration = Duration::from_millis(20);
/// Others are taken to wait for a connection where no more than these are free.
const CROWDED: usize = 8;
/// An answer that took longer to read is followed by a pause of that length: whoever watches much
/// that changes all the time shall not be busy with it all the time.
const QUICK: Duration = Duration::from_millis(10);

/// One blocking query and those who listen to it.
#[derive(Debug)]
pub(crate) struct Feed {
    span: Span,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    listeners: Vec<Listener>,
    stage: Stage,
    /// The index of the newest answer, where the server gives one: whatever was there then, its
    /// changes are said.
    known: Option<u64>,
}

#[derive(Debug)]
struct Listener {
    mailbox: Arc<Mailbox>,
    /// Whether it hears the state that is read first.
    whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was read yet.
    New,
    /// The first state is being read.
    Reading,
    /// What is said are changes.
    Changes,
    Over,
}

impl Feed {
    pub(super) fn new(span: Span, first: Arc<Mailbox>, known: Option<Known>) -> Self {
        let stage = if known.is_some() { Stage::Changes } else { Stage::New };
        let listeners = vec![Listener { mailbox: first, whole: true }];
        let known = known.map(|known| known.index);
        Self { span, inner: Mutex::new(Inner { listeners, stage, known }) }
    }

    /// Adds somebody who listens; false where the feed is over.
    pub(super) fn join(&self, mailbox: &Arc<Mailbox>) -> bool {
        let mut inner = self.inner();
        match inner.stage {
            Stage::Over => return false,
            Stage::Changes => mailbox.say(Note::Begun),
            Stage::New | Stage::Reading => {}
        }
        let whole = inner.stage == Stage::New;
        inner.listeners.push(Listener { mailbox: mailbox.clone(), whole });
        true
    }

    pub(super) fn leave(&self, mailbox: &Arc<Mailbox>) {
        self.inner().listeners.retain(|listener| !Arc::ptr_eq(&listener.mailbox, mailbox));
    }

    pub(super) fn known(&self) -> Option<u64> {
        self.inner().known
    }

    fn add(&self, changes: &[Arc<Change>]) {
        let inner = self.inner();
        let first = inner.stage != Stage::Changes;
        for listener in inner.listeners.iter().filter(|listener| listener.whole || !first) {
            listener.mailbox.add(changes);
        }
    }

    /// Has nobody hear what there was too much of.
    fn lag(&self) {
        let inner = self.inner();
        let first = inner.stage != Stage::Changes;
        for listener in inner.listeners.iter().filter(|listener| listener.whole || !first) {
            listener.mailbox.lag();
        }
    }

    fn is_live(&self) -> bool {
        self.inner().stage == Stage::Changes
    }

    fn largest_capacity(&self) -> usize {
        let inner = self.inner();
        inner.listeners.iter().map(|listener| listener.mailbox.capacity()).max().unwrap_or_default()
    }

    fn level(&self, index: u64) {
        let mut inner = self.inner();
        let first = std::mem::replace(&mut inner.stage, Stage::Changes) != Stage::Changes;
        for listener in &inner.listeners {
            if first && !listener.whole {
                listener.mailbox.say(Note::Begun);
            } else {
                listener.mailbox.level(index);
            }
        }
    }

    fn say(&self, note: impl Fn() -> Note) {
        self.inner().listeners.iter().for_each(|listener| listener.mailbox.say(note()));
    }

    fn begin_reading(&self) {
        let mut inner = self.inner();
        if inner.stage == Stage::New {
            inner.stage = Stage::Reading;
        }
    }

    /// Ends it for those who listen.
    fn end(&self, note: impl Fn() -> Note) {
        self.inner().stage = Stage::Over;
        self.say(note);
    }

    /// Ends it if nobody listens.
    fn end_unwanted(&self) -> bool {
        let mut inner = self.inner();
        let unwanted = inner.listeners.is_empty();
        if unwanted {
            inner.stage = Stage::Over;
        }
        unwanted
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a feed until nobody listens, it fails or the handle ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    feed: Arc<Feed>,
    known: Option<Known>,
    mut end: watch::Receiver<bool>,
) {
    let looking = Looking::new(&shared, &feed, known).go_on();
    tokio::select! {
        ended = looking => if let Err(error) = ended {
            feed.end(|| Note::Failed(error.clone()));
        },
        // It fails where the handle is gone, and then nobody listens.
        _ = end.wait_for(|ended| *ended) => feed.end(|| Note::Closed),
    }
    let mut feeds = shared.feeds();
    if feeds.get(&feed.span).is_some_and(|current| Arc::ptr_eq(current, &feed)) {
        feeds.remove(&feed.span);
    }
}

/// What a feed knows of its span.
struct Looking<'a> {
    shared: &'a Shared,
    feed: &'a Feed,
    picture: HashMap<String, Mark>,
    /// From where the next query goes on; none to be answered at once.
    index: Option<u64>,
    turn: u32,
    begun: Instant,
}

/// What came of asking.
enum Looked {
    /// All was told. Reading it took this long.
    Whole(Duration),
    /// It is of another history, and must be asked for once more.
    Rewound,
}

/// A name that was there.
#[derive(Debug)]
struct Mark {
    /// Zero stands for a state that must be told anew.
    modified: u64,
    /// The turn in which it was seen last.
    turn: u32,
}

impl<'a> Looking<'a> {
    fn new(shared: &'a Shared, feed: &'a Feed, known: Option<Known>) -> Self {
        let mut picture = HashMap::new();
        if let (Some(Known { modified: Some(modified), .. }), Span::One(name)) = (known, &feed.span)
        {
            picture.insert(name.clone(), Mark { modified, turn: 0 });
        }
        let index = known.map(|known| known.index).filter(|index| *index > 0);
        Self { shared, feed, picture, index, turn: 0, begun: Instant::now() }
    }

    async fn go_on(mut self) -> Result<()> {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        while !self.feed.end_unwanted() {
            let (asked, before) = (Instant::now(), self.index);
            match self.look().await {
                Ok(Looked::Rewound) => {}
                Ok(Looked::Whole(_)) if self.index.is_none() => sleep(POLLING).await,
                Ok(Looked::Whole(_)) if self.index == before && asked.elapsed() < SUDDEN => {
                    sleep(backoff.next_jittered()).await;
                }
                Ok(Looked::Whole(took)) => {
                    backoff.reset();
                    if took > QUICK {
                        sleep(took.min(LONGEST_PAUSE)).await;
                    }
                }
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) => {
                    let name = self.name();
                    tracing::warn!(backend = %CONSUL, key = name, %error, "the watch asks again");
                    // A server that was restored has a smaller index, for which it would wait.
                    self.index = None;
                    sleep(backoff.next_jittered()).await;
                }
            }
        }
        Ok(())
    }

    fn name(&self) -> &str {
        match &self.feed.span {
            Span::One(name) | Span::Prefix(name) => name,
        }
    }

    fn wait(&self) -> Duration {
        if self.shared.client.watch_connections_left() < CROWDED {
            return CROWDED_WAIT;
        }
        self.begun.elapsed().clamp(FIRST_WAIT, LONGEST_WAIT)
    }

    fn call(&self) -> Call {
        let deadline = Instant::now() + self.shared.client.operation_timeout();
        Call { operation: WATCH, deadline }
    }

    /// Asks once, and says what is different.
    async fn look(&mut self) -> Result<Looked> {
        let (client, wait) = (&self.shared.client, self.wait());
        let failed = |failure: crate::error::Failure| failure.into_error(&self.call(), false);
        let answer = client.block(&self.feed.span, self.index, wait, WATCH).await;
        let answer = answer.map_err(failed)?;
        if answer.filtered {
            return Err(self.shared.rights.denied(&self.call()));
        }
        let begun = Instant::now();
        self.feed.begin_reading();
        // Zero is no index: a server that is asked for changes after it answers at once.
        let next = answer.index.filter(|index| *index > 0);
        let index = next.unwrap_or_default();
        self.turn = self.turn.wrapping_add(1);
        let mut found = Found { most: self.feed.largest_capacity(), ..Found::default() };
        let mut entries = answer.body;
        let idle = client.operation_timeout();
        while let Some(batch) = entries.next(idle).await.map_err(|failure| self.failed(failure))? {
            for entry in batch {
                if self.is_older(&entry) {
                    self.rewind();
                    return Ok(Looked::Rewound);
                }
                self.compare(entry, index, &mut found);
            }
        }
        drop(entries);
        self.find_gone(index, answer.wide, &mut found).await?;
        self.tell(found, next);
        self.index = next;
        self.feed.level(index);
        Ok(Looked::Whole(begun.elapsed()))
    }

    fn failed(&self, failure: crate::error::Failure) -> Error {
        failure.into_error(&self.call(), false)
    }

    /// Whether an entry is older than it was, as after a backup was restored. The index of a whole
    /// span tells nothing of that: it also falls when the server forgets what was deleted long ago.
    fn is_older(&self, entry: &Entry) -> bool {
        self.picture.get(&entry.name).is_some_and(|mark| entry.modify_index < mark.modified)
    }

    /// In another history the same index may be another state, so that all of it is told anew.
    fn rewind(&mut self) {
        self.picture.values_mut().for_each(|mark| mark.modified = 0);
        self.index = None;
        self.feed.inner().known = None;
        self.feed.say(|| Note::Rewound);
    }

    /// Compares an entry with what it was.
    fn compare(&mut self, entry: Entry, index: u64, found: &mut Found) {
        let known = self.picture.get_mut(&entry.name).map(|mark| {
            mark.turn = self.turn;
            mark.modified
        });
        if known != Some(entry.modify_index) {
            found.states.push((entry.name.clone(), entry.modify_index));
            if found.states.len() <= found.most {
                let (name, entry) = (entry.name.clone(), Some(entry));
                found.puts.push(Arc::new(Change { name, entry, index }));
            }
        }
    }

    /// Finds what did not come up any more, once it is sure that it is not only hidden.
    async fn find_gone(&self, index: u64, wide: bool, found: &mut Found) -> Result<()> {
        let missing = self.picture.iter().filter(|(_, mark)| mark.turn != self.turn);
        let mut missing: Vec<String> = missing.map(|(name, _)| name.clone()).collect();
        let (call, rights) = (self.call(), &self.shared.rights);
        let nothing = self.picture.is_empty() && found.states.is_empty();
        match &self.feed.span {
            Span::Prefix(prefix) if nothing => rights.demand(prefix, &call).await?,
            Span::One(name) if nothing && wide => {
                rights.look_for(std::slice::from_ref(name), &call).await?;
            }
            // Where it is asked for one name alone, the server says that it may not be read.
            Span::One(_) if !wide => {}
            _ => {
                let there = rights.look_for(&missing, &call).await?;
                missing.retain(|name| !there.contains(name));
            }
        }
        missing.sort_unstable();
        found.gone(missing.into_iter(), index);
        Ok(())
    }

    /// Says what is different. Deletions come first, since nobody knows when they were: after the
    /// newest put of an answer all of it has been said.
    fn tell(&mut self, mut found: Found, index: Option<u64>) {
        let many = found.states.len() + found.gone.len() > found.most;
        for change in &found.gone {
            self.picture.remove(&change.name);
        }
        let turn = self.turn;
        for (name, modified) in found.states {
            self.picture.insert(name, Mark { modified, turn });
        }
        // Before anybody hears of it: who is not told of these changes reads a state that has them.
        self.feed.inner().known = index;
        if many {
            return self.feed.lag();
        }
        if self.feed.is_live() {
            let modified =
                |change: &Arc<Change>| change.entry.as_ref().map_or(0, |entry| entry.modify_index);
            found.puts.sort_by_key(modified);
        }
        found.gone.append(&mut found.puts);
        self.feed.add(&found.gone);
    }
}
