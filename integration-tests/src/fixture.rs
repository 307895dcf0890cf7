use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use libkv_core::{Event, EventStream, Key, KvPair, Result, ResyncReason, Store};

/// A backend to be held to the contract.
#[async_trait]
pub trait Target: Debug + Send + Sync + 'static {
    /// Opens a new, separate connection to the same server, with its own session, whose keys are
    /// below `root`.
    async fn open(&self, root: &Key) -> Result<Arc<dyn Store>>;

    /// How long a case waits for what must happen before it fails. Generous: only a broken store
    /// ever waits this long.
    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }
}

/// What a case works with.
#[derive(Debug)]
pub struct Fixture {
    /// The store under test.
    pub store: Arc<dyn Store>,
    /// A second, separate connection to the same server and root.
    pub other: Arc<dyn Store>,
    target: Arc<dyn Target>,
    root: Key,
}

impl Fixture {
    /// Opens two connections below a root that nobody used before.
    ///
    /// # Errors
    ///
    /// When the server cannot be opened.
    pub async fn open(target: Arc<dyn Target>) -> Result<Self> {
        let root = key(&format!("t{}", random_letters(12)));
        let (store, other) = (target.open(&root).await?, target.open(&root).await?);
        Ok(Self { store, other, target, root })
    }

    /// The root of both connections, for those who look at the server by another way.
    pub fn root(&self) -> &Key {
        &self.root
    }

    /// Opens one more connection below the same root.
    pub async fn another(&self) -> Arc<dyn Store> {
        self.target.open(&self.root).await.expect("a further connection opens")
    }

    /// Opens a connection whose root is this fixture's with `suffix` right behind it, such as `2`
    /// for a neighbour whose name begins the same, or `/sub` for a part of the same tree.
    pub async fn beside(&self, suffix: &str) -> Arc<dyn Store> {
        let root = key(&format!("{}{suffix}", self.root));
        self.target.open(&root).await.expect("a connection with another root opens")
    }

    /// Waits for what must happen.
    ///
    /// # Panics
    ///
    /// When it does not happen within [`Target::patience`].
    pub async fn soon<T>(&self, what: &str, happens: impl Future<Output = T>) -> T {
        let patience = self.target.patience();
        match tokio::time::timeout(patience, happens).await {
            Ok(value) => value,
            Err(_) => panic!("{what}: nothing within {patience:?}"),
        }
    }

    /// How long [`soon`](Self::soon) waits.
    pub fn patience(&self) -> Duration {
        self.target.patience()
    }

    /// Follows a stream of events with the fixture's patience.
    pub fn follow(&self, events: EventStream) -> Watcher {
        Watcher::new(events, self.target.patience())
    }

    /// Closes both connections and removes what the case left.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub async fn tear_down(self) -> Result<()> {
        let cleaner = self.target.open(&self.root).await?;
        cleaner.delete_tree_opts(&Key::root(), Default::default()).await?;
        for store in [&self.store, &self.other, &cleaner] {
            store.close().await?;
        }
        Ok(())
    }
}

/// A watch, and the state that its consumer has put together from it.
#[derive(Debug)]
pub struct Watcher {
    events: EventStream,
    /// The state according to the events so far.
    pub state: BTreeMap<Key, KvPair>,
    patience: Duration,
}

impl Watcher {
    /// Follows a stream of events; `patience` is how long it waits for each.
    pub fn new(events: EventStream, patience: Duration) -> Self {
        Self { events, state: BTreeMap::new(), patience }
    }

    /// The next item, applied to [`state`](Self::state).
    ///
    /// # Panics
    ///
    /// When none comes, or the stream ends or fails.
    pub async fn next(&mut self) -> Event {
        let event = self.item().await.expect("the watch goes on").expect("the watch is healthy");
        self.apply(&event);
        event
    }

    /// The next item as it is, errors and the end included.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub async fn item(&mut self) -> Option<Result<Event>> {
        match tokio::time::timeout(self.patience, self.events.next()).await {
            Ok(item) => item,
            Err(_) => panic!("no event within {:?}; state: {:?}", self.patience, self.state),
        }
    }

    /// Everything up to and including the next `Synced`; returns its index and the events before.
    pub async fn until_synced(&mut self) -> (u64, Vec<Event>) {
        let mut before = Vec::new();
        loop {
            match self.next().await {
                Event::Synced { index } => return (index, before),
                event => before.push(event),
            }
        }
    }

    /// The next event, which must be a put.
    pub async fn put(&mut self) -> KvPair {
        match self.next().await {
            Event::Put(pair) => pair,
            other => panic!("a put was due, not {other:?}"),
        }
    }

    /// The next event, which must be a delete; returns its key and index.
    pub async fn delete(&mut self) -> (Key, u64) {
        match self.next().await {
            Event::Delete { key, last_index } => (key, last_index),
            other => panic!("a delete was due, not {other:?}"),
        }
    }

    /// Reads on until there is a `Resync`, and returns it.
    pub async fn until_resync(&mut self) -> (ResyncReason, bool) {
        loop {
            if let Event::Resync { reason, complete } = self.next().await {
                return (reason, complete);
            }
        }
    }

    /// Reads on until the state satisfies `wanted`.
    pub async fn until(&mut self, wanted: impl Fn(&BTreeMap<Key, KvPair>) -> bool) {
        while !wanted(&self.state) {
            self.next().await;
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Put(pair) => {
                self.state.insert(pair.key.clone(), pair.clone());
            }
            Event::Delete { key, .. } => {
                self.state.remove(key);
            }
            Event::Resync { complete: true, .. } => self.state.clear(),
            _ => {}
        }
    }
}

/// A key that is known to be one.
///
/// # Panics
///
/// When it is none.
pub fn key(text: &str) -> Key {
    Key::new(text).expect("the case names a key")
}

fn random_letters(count: usize) -> String {
    std::iter::repeat_with(fastrand::lowercase).take(count).collect()
}
