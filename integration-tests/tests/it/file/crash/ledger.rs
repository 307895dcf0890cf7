//! What the killed processes said, and what the file must say after them.

use std::collections::BTreeSet;
use std::path::Path;

use libkv_core::{ErrorKind, Event, Key, KvPair, LifetimeKind, ListOptions, LockOptions};
use libkv_core::{Store, StoreExt, WatchOptions, WatchTarget};
use libkv_embedded::EmbeddedStore;

use super::super::{follow, open, soon};
use super::steps::{LANES, State, state_after};

/// What is known about a file.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The number of acknowledged writes.
    pub(super) acknowledged: usize,
    /// How many steps of each lane were acknowledged.
    steps: [u64; LANES],
    /// How many steps there may be that were not acknowledged.
    unsaid: [u64; LANES],
    counts: Vec<u64>,
    count_before: u64,
    unsaid_counts: u64,
    tokens: Vec<u64>,
    /// The largest index or token of the processes before the one that speaks.
    before: u64,
    /// The same with the one that speaks.
    largest: u64,
    /// The largest index of an acknowledged write.
    written: u64,
    /// The indices of acknowledged writes since the file was last checked.
    indices: BTreeSet<u64>,
    /// The listing when the file was last checked, and its index.
    noted: (Vec<KvPair>, u64),
}

impl Ledger {
    /// Where the lanes go on, as the child is told.
    pub(super) fn words(&self) -> String {
        self.steps.map(|step| step.to_string()).join(" ")
    }

    /// Notes a line.
    pub(super) fn note(&mut self, line: &str) {
        let mut words = line.split(' ');
        let what = words.next().unwrap();
        let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
        let index = *numbers.last().unwrap();
        if what == "open" {
            assert!(index >= self.written, "revision {index} after {}", self.written);
            return;
        }
        // Deletes do not tell theirs.
        if index > 0 {
            assert!(index > self.before, "{line}: {} was there before a restart", self.before);
            self.largest = self.largest.max(index);
        }
        self.acknowledged += 1;
        match what {
            "step" => {
                assert_eq!(numbers[1], self.steps[numbers[0] as usize], "{line}");
                self.steps[numbers[0] as usize] += 1;
            }
            "count" => self.counts.push(numbers[0]),
            "token" => self.tokens.push(index),
            "own" | "short" => {}
            other => panic!("{other:?} is not known"),
        }
        if what != "token" && index > 0 {
            self.written = self.written.max(index);
            self.indices.insert(index);
        }
    }

    /// The process is dead.
    pub(super) fn end_of_process(&mut self) {
        self.before = self.largest;
        self.unsaid_counts += 2;
        self.unsaid = self.unsaid.map(|steps| steps + 1);
    }

    /// Opens the file and compares.
    pub(super) async fn check(&mut self, file: &Path) {
        let store = open(file).await;
        let mut listing = store.list_opts(&Key::root(), ListOptions::default());
        let mut pairs = Vec::new();
        while let Some(pair) = listing.next().await {
            pairs.push(pair.unwrap());
        }
        let index = listing.index().unwrap();
        for lane in 0..LANES {
            self.check_lane(lane, &pairs);
        }
        self.check_count(&pairs);
        let dead = |pair: &&KvPair| ["own", "lock"].iter().any(|dir| below(dir, pair).is_some());
        assert_eq!(pairs.iter().find(dead), None, "something of the dead process is there");
        self.check_history(&store, &pairs, index).await;
        self.check_growth(&store).await;
        self.check_short(&store).await;
        let mut listing = store.list_opts(&Key::root(), ListOptions::default());
        let mut pairs = Vec::new();
        while let Some(pair) = listing.next().await {
            pairs.push(pair.unwrap());
        }
        self.noted = (pairs, listing.index().unwrap());
        self.indices.clear();
        store.close().await.unwrap();
    }

    /// A lane is where it said, or one step further, for each process that was killed in it.
    fn check_lane(&mut self, lane: usize, pairs: &[KvPair]) {
        let dir = format!("lane/{lane}");
        let found: Vec<(String, &KvPair)> =
            pairs.iter().filter_map(|pair| Some((below(&dir, pair)?.to_owned(), pair))).collect();
        let state: State =
            found.iter().map(|(name, pair)| (name.clone(), pair.value.to_vec())).collect();
        let said = self.steps[lane];
        let known = (said..=said + self.unsaid[lane]).find(|step| state_after(*step) == state);
        let Some(step) = known else {
            let names: Vec<String> = found.iter().map(|(_, pair)| format!("{pair:?}")).collect();
            panic!("lane {lane} is not as after step {said}: {names:#?}");
        };
        self.steps[lane] = step;
        self.unsaid[lane] = 0;
        for (name, pair) in found {
            let ttl = name.starts_with("big/");
            assert_eq!(pair.lifetime == LifetimeKind::Ttl, ttl, "{name}");
        }
    }

    /// Each success added one: none was lost, and none was told twice.
    fn check_count(&mut self, pairs: &[KvPair]) {
        let pair = pairs.iter().find(|pair| pair.key.as_str() == "count");
        let count = pair.map_or(0, |pair| str::from_utf8(&pair.value).unwrap().parse().unwrap());
        let told = BTreeSet::from_iter(&self.counts);
        assert_eq!(told.len(), self.counts.len(), "one count was told twice");
        assert!(told.last().is_none_or(|last| **last <= count), "{count} is less than {told:?}");
        let least = self.count_before + self.counts.len() as u64;
        assert!((least..=least + self.unsaid_counts).contains(&count), "{count}, not {least}");
        (self.count_before, self.unsaid_counts) = (count, 0);
        self.counts.clear();
    }

    /// The events since the last check make the listing then into the listing now, and every
    /// acknowledged write is among them.
    async fn check_history(&self, store: &EmbeddedStore, pairs: &[KvPair], index: u64) {
        let from = WatchOptions::default().with_from(self.noted.1);
        let mut watch = follow(store.watch_opts(&WatchTarget::Tree(Key::root()), from));
        for pair in &self.noted.0 {
            watch.state.insert(pair.key.clone(), pair.clone());
        }
        let (synced, events) = watch.until_synced().await;
        assert!(synced >= index, "{synced} is before {index}");
        let (mut last, mut told) = (self.noted.1, BTreeSet::new());
        for event in &events {
            let index = match event {
                Event::Put(pair) => pair.last_index(),
                Event::Delete { last_index, .. } => *last_index,
                other => panic!("{other:?}, although the history reaches back"),
            };
            assert!(index >= last && index > self.noted.1, "{event:?} after {last}");
            last = index;
            told.insert(index);
        }
        let missing: Vec<_> = self.indices.difference(&told).collect();
        assert!(missing.is_empty(), "acknowledged and not in the history: {missing:?}");
        let state: Vec<&KvPair> = watch.state.values().collect();
        // Something may have come to its end meanwhile.
        let lasting = |pair: &&KvPair| below("short", pair).is_none();
        let (state, pairs) = (state.into_iter().filter(lasting), pairs.iter().filter(lasting));
        assert!(state.eq(pairs), "the events do not lead to the listing");
    }

    /// What is given out now is larger than everything before.
    async fn check_growth(&mut self, store: &EmbeddedStore) {
        let lock = store.new_lock("lock/bare", LockOptions::default()).unwrap();
        let guard = lock.try_lock().await.unwrap();
        let token = guard.token().get();
        assert!(token > self.before, "token {token} after {}", self.before);
        guard.unlock().await.unwrap();
        let index = store.put("probe", "1").await.unwrap().last_index();
        assert!(index >= token && index > self.before, "{index} after {}", self.before);
        assert_eq!(
            BTreeSet::from_iter(&self.tokens).len(),
            self.tokens.len(),
            "a token was given out twice"
        );
        (self.before, self.largest, self.written) = (index, index, index);
    }

    async fn check_short(&self, store: &EmbeddedStore) {
        soon("the end of short keys", async {
            loop {
                match store.list("short").await {
                    Ok(pairs) if pairs.is_empty() => return,
                    Err(error) if error.kind() == ErrorKind::KeyNotFound => return,
                    _ => tokio::time::sleep(super::writer::SHORT / 4).await,
                }
            }
        })
        .await;
    }
}

fn below<'a>(dir: &str, pair: &'a KvPair) -> Option<&'a str> {
    pair.key.as_str().strip_prefix(dir)?.strip_prefix('/')
}
