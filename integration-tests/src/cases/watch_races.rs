//! Section 6 of the contract: watches while others write, and listings made of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libkv_core::{Event, Key, KvPair, Store, StoreExt, Txn, Version, WatchOptions, WatchTarget};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{Fixture, key};

/// The versions of a writer's puts, with their keys, in order.
type Written = Vec<(Key, Version)>;

/// However a subscription falls into the work of a writer at full speed, its snapshot and its
/// changes together miss nothing and tell nothing twice.
pub async fn the_snapshot_and_the_changes_leave_no_gap(f: &Fixture) {
    for round in 0..30 {
        subscribe_while_writing(f, round, WatchOptions::default()).await;
    }
}

/// Without the initial state too, nothing after the first `Synced` is missed.
pub async fn without_initial_nothing_is_missed(f: &Fixture) {
    for round in 0..30 {
        subscribe_while_writing(f, round, WatchOptions::default().without_initial()).await;
    }
}

async fn subscribe_while_writing(f: &Fixture, round: usize, opts: WatchOptions) {
    let dir = key(&format!("r{round}"));
    let initial = opts.initial;
    let writer = Writer::start(&f.other, &dir, round).await;
    let opts = opts.with_buffer(2 * MOST_STEPS);
    let mut watch = f.follow(f.store.watch_opts(&WatchTarget::Tree(dir.clone()), opts));
    let (synced, mut events) = watch.until_synced().await;
    let at_synced = watch.state.clone();
    let written = writer.stop().await;
    let last = put_last(f, &dir).await;
    while watch.state.values().all(|pair| pair.version != last.1) {
        events.push(watch.next().await);
    }

    assert_in_order(&events);
    let listing = f.other.list(&dir).await.expect("the last key is there");
    for pair in &listing {
        let told = watch.state.get(&pair.key);
        let due = initial || pair.last_index() > synced || told.is_some();
        assert!(!due || told == Some(pair), "round {round}: {told:?} is not {pair:?}");
    }
    for told in watch.state.keys() {
        assert!(listing.iter().any(|pair| pair.key == *told), "round {round}: {told} is gone");
    }
    // The first key of the writer is only ever put, so what `Synced` covers must be told by then.
    let first = &written[0].0;
    let covered = written.iter().rfind(|(key, put)| key == first && put.last_index() <= synced);
    if let (true, Some((_, put))) = (initial, covered) {
        let told = at_synced.get(first).map_or(0, KvPair::last_index);
        assert!(told >= put.last_index(), "round {round}: {told} at Synced {synced}, not {put}");
    }
    if f.store.capabilities().watches_every_version {
        let due = written.into_iter().chain([last]);
        let due = due.filter(|(_, version)| version.last_index() > synced);
        let told = puts(&events).filter(|(_, version)| version.last_index() > synced);
        assert_eq!(per_key(told), per_key(due), "round {round}, after {synced}");
    }
}

/// Puts the last key of a directory, which sorts behind the writer's.
async fn put_last(f: &Fixture, dir: &Key) -> (Key, Version) {
    let last = dir.join("zz").expect("a key");
    let version = f.other.put(&last, "1").await.expect("a put");
    (last, version)
}

/// A writer does no more than this when nobody stops it.
const MOST_STEPS: usize = 3000;

/// Puts and deletes over a few keys as fast as it can.
struct Writer {
    stop: Arc<AtomicBool>,
    written: JoinHandle<Written>,
}

impl Writer {
    /// Starts one and waits until it has made some writes.
    async fn start(store: &Arc<dyn Store>, dir: &Key, lead: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (begin, begun) = oneshot::channel();
        let writing = write_quickly(store.clone(), dir.clone(), stop.clone(), (lead, begin));
        let written = tokio::spawn(writing);
        begun.await.expect("the writer gets that far");
        Self { stop, written }
    }

    async fn stop(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.written.await.expect("the writer ends well")
    }
}

async fn write_quickly(
    store: Arc<dyn Store>,
    dir: Key,
    stop: Arc<AtomicBool>,
    (lead, begin): (usize, oneshot::Sender<()>),
) -> Written {
    let mut begin = Some(begin);
    let mut written = Vec::new();
    for step in 0..MOST_STEPS {
        let name = match step % 6 {
            0 => "a".to_owned(),
            5 => format!("c{}", step % 36),
            _ => "b".to_owned(),
        };
        let key = dir.join(&name).expect("a key");
        if matches!(step % 6, 2 | 4) {
            store.delete(&key).await.expect("b is there");
        } else {
            let version = store.put(&key, step.to_string()).await.expect("a put");
            written.push((key, version));
        }
        if step >= lead
            && let Some(begin) = begin.take()
        {
            begin.send(()).expect("the case waits");
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    written
}

/// For each key no event is older than the one before, and no put is told twice.
fn assert_in_order(events: &[Event]) {
    let mut last: BTreeMap<&Key, u64> = BTreeMap::new();
    for event in events {
        match event {
            Event::Put(pair) => {
                let before = last.insert(&pair.key, pair.last_index()).unwrap_or_default();
                assert!(pair.last_index() > before, "{pair:?} after index {before}");
            }
            Event::Delete { key, last_index } => {
                // One less, because a delete may be told with the bound that the next put exceeds.
                let before = last.insert(key, last_index - 1).unwrap_or_default();
                assert!(*last_index > before, "{key} deleted at {last_index}, after {before}");
            }
            _ => {}
        }
    }
}

fn puts(events: &[Event]) -> impl Iterator<Item = (Key, Version)> {
    events.iter().filter_map(|event| match event {
        Event::Put(pair) => Some((pair.key.clone(), pair.version)),
        _ => None,
    })
}

fn per_key(puts: impl Iterator<Item = (Key, Version)>) -> BTreeMap<Key, Vec<Version>> {
    let mut per_key: BTreeMap<Key, Vec<Version>> = BTreeMap::new();
    for (key, version) in puts {
        per_key.entry(key).or_default().push(version);
    }
    per_key
}

/// Many streams that begin at different moments of one writer's work all end with its last state.
pub async fn many_subscribers_end_with_the_same_state(f: &Fixture) {
    let dir = key("d");
    let writer = Writer::start(&f.store, &dir, 0).await;
    let mut watches = Vec::new();
    for subscriber in 0..24 {
        let store = if subscriber % 2 == 0 { &f.store } else { &f.other };
        let mut watch = f.follow(store.watch_tree(&dir).expect("a directory"));
        watches.push(tokio::spawn(async move {
            watch.until_synced().await;
            watch
        }));
        tokio::task::yield_now().await;
    }
    let watches = futures_util::future::join_all(watches).await;
    writer.stop().await;
    let (_, last) = put_last(f, &dir).await;
    let listing = f.other.list(&dir).await.expect("the last key is there");
    for watch in watches {
        let mut watch = watch.expect("the subscriber ends well");
        watch.until(|state| state.values().any(|pair| pair.version == last)).await;
        assert!(watch.state.values().eq(&listing), "{:?} is not {listing:?}", watch.state);
    }
}

/// Quick rewrites, deletes and re-creations of one key are all told where the store can, and
/// elsewhere end with the newest without ever going back.
pub async fn every_version_is_told_where_the_store_can(f: &Fixture) {
    let mut watch = f.follow(f.store.watch("a").expect("a key"));
    watch.until_synced().await;
    let mut written = Vec::new();
    for step in 0..90 {
        if step % 3 == 2 {
            f.other.delete("a").await.expect("a is there");
            written.push(None);
        } else {
            written.push(Some(f.other.put("a", "same").await.expect("a put")));
        }
    }
    let last = f.other.put("a", "same").await.expect("a put");
    written.push(Some(last));

    let mut events = Vec::new();
    while watch.state.values().all(|pair| pair.version != last) {
        events.push(watch.next().await);
    }
    assert_in_order(&events);
    let told: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Put(pair) => Some(pair.version),
            Event::Delete { .. } => None,
            other => panic!("{other:?}, although nobody disturbed the watch"),
        })
        .collect();
    if f.store.capabilities().watches_every_version {
        assert_eq!(told, written);
    } else {
        assert!(told.iter().flatten().all(|version| written.contains(&Some(*version))));
        assert_eq!(told.last(), written.last());
    }
}

/// A transaction is told for each of its keys, with the versions that it returned.
pub async fn a_transaction_is_told_key_by_key(f: &Fixture) {
    f.store.put("d/gone", "1").await.expect("a put");
    let mut watch = f.follow(f.store.watch_tree("d").expect("a directory"));
    watch.until_synced().await;
    let txn = Txn::new()
        .put("d/a", "1")
        .and_then(|txn| txn.delete("d/gone"))
        .and_then(|txn| txn.put("d/b", "2"))
        .and_then(|txn| txn.put("elsewhere", "3"))
        .expect("four keys");
    let outcome = f.other.txn(txn).await.expect("nothing is compared");
    let mut events = [watch.next().await, watch.next().await, watch.next().await];
    events.sort_by_key(|event| match event {
        Event::Put(pair) => pair.key.clone(),
        Event::Delete { key, .. } => key.clone(),
        other => panic!("{other:?} is no change"),
    });
    let versions: Vec<_> = puts(&events).collect();
    assert_eq!(versions, [(key("d/a"), outcome.versions[0]), (key("d/b"), outcome.versions[1])]);
    assert!(matches!(&events[2], Event::Delete { key, .. } if key.name() == "gone"), "{events:?}");
}

/// Dropping the future of `next` at any moment loses no event.
pub async fn a_dropped_next_loses_nothing(f: &Fixture) {
    let dir = key("d");
    // Room for all: nothing is read while the writer runs, and a watch that falls behind may fold.
    let opts = WatchOptions::default().with_buffer(2 * MOST_STEPS);
    let mut events = f.store.watch_opts(&WatchTarget::Tree(dir.clone()), opts);
    let first = f.soon("the first event", events.next()).await.expect("the watch begins");
    assert!(matches!(first, Ok(Event::Synced { .. })), "{first:?}");
    let writer = Writer::start(&f.other, &dir, 100).await;
    let mut written = writer.stop().await;
    written.push(put_last(f, &dir).await);
    let (last, version) = written.last().expect("one put").clone();
    let told = f.soon("the last key", async {
        let mut told = Vec::new();
        let is_last = |event: &Event| matches!(event, Event::Put(pair) if pair.version == version);
        while !told.last().is_some_and(is_last) {
            let moment = Duration::from_micros(fastrand::u64(0..500));
            if let Ok(item) = tokio::time::timeout(moment, events.next()).await {
                told.push(item.expect("the watch goes on").expect("the watch is healthy"));
            }
        }
        told
    });
    let told = told.await;
    assert_in_order(&told);
    let (told, written) = (per_key(puts(&told)), per_key(written.into_iter()));
    if f.store.capabilities().watches_every_version {
        return assert_eq!(told, written);
    }
    for pair in f.other.list(&dir).await.expect("the last key is there") {
        assert_eq!(told.get(&pair.key).and_then(|told| told.last()), Some(&pair.version));
    }
    assert!(told.contains_key(&last));
}

/// `watch_lists` gives the sorted listing at first and after each change, and is empty, not ended,
/// while the directory is absent.
pub async fn watch_lists_gives_each_listing(f: &Fixture) {
    let mut listings = f.store.watch_lists("d").expect("a directory");
    let mut next = async || {
        let listing = f.soon("a listing", listings.next()).await.expect("the watch goes on");
        listing.expect("the watch is healthy")
    };
    assert_eq!(next().await, []);
    for name in ["d/b", "d/a/x", "d/a", "d/a-b"] {
        f.other.put(name, "1").await.expect("a put");
        assert_eq!(next().await, f.other.list("d").await.expect("the directory has keys"));
    }
    f.other.put("d/a", "2").await.expect("a put");
    assert_eq!(next().await, f.other.list("d").await.expect("the directory has keys"));
    f.other.put("d", "not below").await.expect("a put");
    f.other.delete("d/a").await.expect("the key is there");
    let listing = next().await;
    assert!(listing.iter().map(|pair| pair.key.as_str()).eq(["d/a-b", "d/a/x", "d/b"]));
    for left in (0..3).rev() {
        f.other.delete(&listing[left].key).await.expect("the key is there");
        assert_eq!(next().await, listing[..left]);
    }
}

/// `on_change` calls back with each listing until the watch ends, and then says why.
pub async fn on_change_calls_back_with_each_listing(f: &Fixture) {
    let store = f.another().await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let watched = store.clone();
    let following = tokio::spawn(async move {
        watched.on_change("d", |listing| tell.send(listing.len()).expect("the case listens")).await
    });
    for keys in 0..4 {
        assert_eq!(f.soon("a call", told.recv()).await, Some(keys));
        f.other.put(format!("d/{keys}"), "1").await.expect("a put");
    }
    store.close().await.expect("a close");
    let ended = f.soon("the end", following).await.expect("the task ends well");
    assert_eq!(ended.expect_err("the handle was closed").kind(), libkv_core::ErrorKind::Closed);
}
