//! A writer to watch, and an account of what it did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libkv_core::{ErrorKind, Key, Store, StoreExt};
use tokio::task::JoinHandle;

use super::follower::{Change, Follower};
use super::soon;

/// What everything here is below.
pub(crate) const DIR: &str = "d";
/// How many keys are written to: few enough that each is often deleted and made again.
const KEYS: usize = 40;
/// What a writer rests when a write fails: the server may be away.
const REST: Duration = Duration::from_millis(5);

/// A write that was begun. Its number is the value that a put puts.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    key: usize,
    put: bool,
    outcome: Outcome,
}

impl Attempt {
    fn name(&self) -> String {
        format!("{DIR}/{:02}", self.key)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is on its way, or nobody knows.
    Open,
    /// It was acknowledged, a put with its index.
    Done(Option<u64>),
    Nothing,
}

/// Puts and deletes keys as fast as the server takes it.
#[derive(Debug)]
pub(crate) struct Writer {
    done: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Begins to write, on a handle of its own that is not disturbed by what disturbs the watch.
    pub(crate) fn start(store: impl Store, seed: u64) -> Self {
        let (done, ending) = <(Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let attempts = <Arc<Mutex<Vec<Attempt>>>>::default();
        let (count, ends, log) = (done.clone(), ending.clone(), attempts.clone());
        let task = tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            while !ends.load(Ordering::Relaxed) {
                let (key, put) = (random.usize(..KEYS), random.u8(..4) > 0);
                let number = {
                    let mut log = log.lock().unwrap();
                    log.push(Attempt { key, put, outcome: Outcome::Open });
                    log.len() - 1
                };
                let name = format!("{DIR}/{key:02}");
                let written = if put {
                    store.put(name, number.to_string()).await.map(|it| Some(it.last_index()))
                } else {
                    store.delete(name).await.map(|()| None)
                };
                let outcome = match &written {
                    Ok(index) => Outcome::Done(*index),
                    Err(error) if error.changed_nothing() => Outcome::Nothing,
                    Err(_) => Outcome::Open,
                };
                log.lock().unwrap()[number].outcome = outcome;
                match written {
                    Ok(_) => drop(count.fetch_add(1, Ordering::Relaxed)),
                    Err(error) if error.kind() == ErrorKind::KeyNotFound => {}
                    Err(_) => tokio::time::sleep(REST).await,
                }
            }
        });
        Self { done, ending, attempts, task }
    }

    /// Waits for so many more writes.
    #[track_caller]
    pub(crate) fn more(&self, count: u64) -> impl Future<Output = ()> {
        let wanted = self.count() + count;
        super::until("the writer writes", async move || self.count() >= wanted)
    }

    /// Ends it, and says how much it wrote. Nothing of it is on its way any more.
    pub(crate) async fn end(&mut self) -> u64 {
        self.ending.store(true, Ordering::Relaxed);
        (&mut self.task).await.expect("the writer does not fail");
        self.count()
    }

    fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// How many writes are over.
    fn over(&self) -> usize {
        let attempts = self.attempts.lock().unwrap();
        let last = attempts.last().is_some_and(|last| last.outcome == Outcome::Open);
        attempts.len() - usize::from(last)
    }

    /// Marks how far it is by now, and gives account of it once all of that was told.
    pub(crate) async fn account(&self, store: &impl Store, told_to: &[&Follower]) -> Account {
        let before = self.over();
        let marker = mark(store).await;
        for follower in told_to {
            follower.until_begun().await;
            follower.until_marked(&marker).await;
        }
        Account { before, marker, attempts: self.attempts.clone() }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A write that comes after all others so far.
#[derive(Debug, Clone)]
pub(crate) struct Marker {
    pub(crate) key: Key,
    pub(crate) index: u64,
}

/// Puts a key that nobody else puts. The server may have come back just now.
pub(crate) async fn mark(store: &impl Store) -> Marker {
    let key = integration_tests::key(&format!("{DIR}/marker"));
    let putting = async {
        loop {
            match store.put(&key, "").await {
                Ok(version) => return version.last_index(),
                Err(error) if error.is_transient() || !error.changed_nothing() => {
                    tokio::time::sleep(REST).await;
                }
                Err(error) => panic!("no marker can be put: {error}"),
            }
        }
    };
    let index = soon("a marker is put", putting).await;
    Marker { key, index }
}

/// What a writer did: how much was over before a marker, and all that it tries.
#[derive(Debug)]
pub(crate) struct Account {
    before: usize,
    marker: Marker,
    attempts: Arc<Mutex<Vec<Attempt>>>,
}

impl Account {
    /// Where nobody writes but who puts the markers.
    pub(crate) async fn of_nobody(store: &impl Store, told_to: &Follower) -> Self {
        let marker = mark(store).await;
        told_to.until_marked(&marker).await;
        Self { before: 0, marker, attempts: Arc::default() }
    }

    /// Every write that was acknowledged was told to the follower or superseded by another one of its
    /// key, and what was told has happened.
    pub(crate) fn assert_told(&self, follower: &Follower) {
        follower.look(|told| {
            // Whoever was told of it has tried it before.
            let all = &*self.attempts.lock().unwrap();
            let mut newest: BTreeMap<usize, usize> = BTreeMap::new();
            for (number, attempt) in all.iter().enumerate() {
                if attempt.outcome != Outcome::Nothing {
                    newest.insert(attempt.key, number);
                }
            }
            // What came after the marker may be on its way.
            for number in newest.into_values().filter(|number| *number < self.before) {
                let (attempt, name) = (all[number], all[number].name());
                let key = integration_tests::key(&name);
                let state = told.state.get(&key).map(|pair| number_in(&pair.value));
                match attempt.outcome {
                    Outcome::Done(Some(index)) => {
                        let last = told.last.get(&key).copied();
                        assert_eq!((state, last), (Some(number), Some(index)), "{name} was put");
                    }
                    Outcome::Done(None) => assert_eq!(state, None, "{name} was deleted: {number}"),
                    Outcome::Open | Outcome::Nothing => {}
                }
            }
            let mut changes: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
            let marker = self.marker.key.to_string();
            for change in told.changes.iter().filter(|change| change.name != marker) {
                changes.entry(&change.name).or_default().push(change);
            }
            changes.iter().for_each(|(name, changes)| assert_true(all, name, changes));
        });
    }
}

/// All puts that were told of a key were tried, and between two of them, where the key was told to be
/// gone, somebody deleted it.
fn assert_true(all: &[Attempt], name: &str, changes: &[&Change]) {
    for (at, change) in changes.iter().enumerate() {
        if let Some(value) = &change.now {
            let number = number_in(value.as_bytes());
            assert!(may_be_done(&all[number..=number], name, true), "{name} was not {value}");
            continue;
        }
        let was = number_in(change.was.as_deref().unwrap().as_bytes());
        let next = changes.get(at + 1).and_then(|next| next.now.as_deref());
        let next = next.map_or(all.len(), |value| number_in(value.as_bytes()));
        assert!(
            may_be_done(&all[was..next.max(was)], name, false),
            "{name} was told to be gone between put {was} and {next}, and nobody deleted it"
        );
    }
}

/// Whether one of these writes was of a key, and was done or may have been.
fn may_be_done(attempts: &[Attempt], name: &str, put: bool) -> bool {
    let mut tried = attempts.iter().filter(|attempt| attempt.put == put);
    tried.any(|attempt| attempt.outcome != Outcome::Nothing && attempt.name() == name)
}

fn number_in(value: &[u8]) -> usize {
    std::str::from_utf8(value).unwrap().parse().expect("the number of a write")
}
