//! Long listings, and consumers that take their time.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::join_all;
use integration_tests::key;
use libkv_consul::ConsulStore;
use libkv_core::{Event, ListOptions, LockOptions, Store, StoreExt};
use serde_json::json;

use super::{begin, server_and_store};
use crate::child::{hear, say};
use crate::consul::config;
use crate::faults::process::{self, resident};
use crate::faults::{Backend, open_plain, soon};
use crate::harness::consul::{Consul, Server};

const KEYS: usize = 20_000;
const VALUE: usize = 1_000;
/// What the whole listing is, and what may be in memory of it at a time.
const BOUND: usize = 8 << 20;
/// How many are put at once.
const AT_ONCE: usize = 64;
/// How many calls may be under way at a time, where consumers are slow.
const FEW: usize = 4;

/// Puts so many keys, in the order of their numbers.
async fn fill(server: &Server) {
    let value = BASE64_STANDARD.encode([b'v'; VALUE]);
    let numbers: Vec<usize> = (0..KEYS).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let set = |number: &usize| json!({ "KV": { "Verb": "set", "Key": format!("k/{number:05}"), "Value": value } });
        let txn: Vec<_> = numbers.iter().map(set).collect();
        server.api().put("/v1/txn", json!(txn).to_string()).await.json();
    }
}

/// Lists everything, and says by how much the process grew.
pub(crate) fn list_much(endpoint: &str) {
    process::run(async {
        let store = open_plain::<Consul>(&[endpoint.to_owned()]).await;
        store.list("first").await.unwrap();
        let before = resident();
        let mut pairs = store.list_opts(&key("k"), ListOptions::default());
        let (mut count, mut most) = (0, before);
        while let Some(pair) = pairs.next().await {
            let pair = pair.unwrap();
            assert_eq!((pair.key, pair.value.len()), (key(&format!("k/{count:05}")), VALUE));
            count += 1;
            if count % 100 == 0 {
                most = most.max(resident());
            }
        }
        assert_eq!(count, KEYS);
        say(most - before);
        hear();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_listing_takes_little_memory() {
    let (server, store) = server_and_store().await;
    fill(&server).await;
    store.put("first/a", "").await.unwrap();
    let mut child = Consul::child("list-much", &server.endpoint());
    let grown: usize = child.line().parse().unwrap();
    println!("{KEYS} keys of {VALUE} bytes: grown by {} KiB", grown / 1024);
    assert!(grown < BOUND, "a listing of {} bytes took {grown}", KEYS * VALUE);
    child.tell("enough");
}

/// A handle that has few connections, and a server with much to list.
async fn crowded() -> (Server, ConsulStore) {
    let (server, _) = server_and_store().await;
    fill(&server).await;
    let config = config(&[server.endpoint()]).with_max_connections(FEW);
    (server, ConsulStore::open(config).await.unwrap())
}

/// Everything goes on but what waits in the same line.
async fn assert_goes_on(store: &ConsulStore) {
    store.put("x", "v").await.unwrap();
    store.get("x").await.unwrap();
    let guard = store.new_lock("l", LockOptions::default()).unwrap().lock().await.unwrap();
    let mut events = begin(store.watch("y").unwrap()).await;
    store.put("y", "v").await.unwrap();
    let event = soon("it is told", events.next()).await.unwrap().unwrap();
    assert!(matches!(event, Event::Put(_)), "{event:?}");
    guard.unlock().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_consumers_of_listings_keep_no_other_call_waiting() {
    let (_server, store) = crowded().await;
    let begin = |_| async {
        let mut pairs = store.list_opts(&key("k"), ListOptions::default());
        pairs.next().await.unwrap().unwrap();
        pairs
    };
    let slow = join_all((0..FEW).map(begin)).await;
    assert_goes_on(&store).await;
    for mut pairs in slow {
        let mut count = 1;
        while let Some(pair) = pairs.next().await {
            pair.unwrap();
            count += 1;
        }
        assert_eq!(count, KEYS);
    }
}

/// Where many watches do not take their first state, others get theirs all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_consumers_of_first_states_keep_no_other_watch_waiting() {
    let (_server, store) = crowded().await;
    let first = begin(store.watch_tree("k").unwrap()).await;
    let mut slow = Vec::new();
    for _ in 0..2 * FEW {
        let mut events = store.watch_tree("k").unwrap();
        soon("its state begins", events.next()).await.unwrap().unwrap();
        slow.push(events);
    }
    assert_goes_on(&store).await;
    let _another = soon("another watch has its state", begin(store.watch_tree("k").unwrap())).await;
    soon("a listing is given", store.list("k")).await.unwrap();
    // The slow ones get all of it, too.
    drop(soon("a slow one goes on", begin(slow.pop().unwrap())).await);
    drop(first);
}
