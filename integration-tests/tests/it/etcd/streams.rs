//! What watches cost, and what is left of them.

use std::time::Duration;

use libkv_core::{Event, ResyncReason, Store, StoreExt, WatchOptions, WatchTarget};

use super::disturbed::{Truth, open_plain, until};
use crate::child::{hear, say};
use crate::faults::Backend;
use crate::faults::process::{self, resident};
use crate::harness::etcd::{Etcd, Options, Server};

const MIB: usize = 1 << 20;
const WATCHES: usize = 2_000;
/// What so many watches may take.
const WATCHES_BOUND: usize = 10 * MIB;
/// What is written while nobody takes it, and what may be kept of it: the buffer, what is on its way
/// in the connection, and what the allocator keeps.
const FLOOD: usize = 96;
const FLOOD_BOUND: usize = 24 * MIB;
const BUFFER: usize = 8;

/// A number from the server's metrics.
async fn count(server: &Server, name: &str) -> usize {
    let metrics = server.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("the server does not tell {name}")).parse().unwrap()
}

/// How long a handle keeps its stream when nobody watches any more.
const LINGER: Duration = Duration::from_secs(10);

const WATCHER_COUNT: &str = "etcd_debugging_mvcc_watcher_total";
const STREAM_COUNT: &str = "etcd_debugging_mvcc_watch_stream_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_is_cancelled_at_the_server_at_once() {
    let server = Server::start(Options::default()).await;
    let (idle, store) =
        (count(&server, WATCHER_COUNT).await, open_plain(&[server.endpoint()]).await);
    let mut streams = Vec::new();
    for number in 0..10 {
        for mut stream in
            [store.watch(format!("k/{number}")).unwrap(), store.watch_tree("k").unwrap()]
        {
            stream.next().await.unwrap().unwrap();
            streams.push(stream);
        }
    }
    until("all are there", async || count(&server, WATCHER_COUNT).await == idle + 20).await;
    streams.truncate(7);
    let (seven, begun) = (idle + 7, std::time::Instant::now());
    until("thirteen are gone", async || count(&server, WATCHER_COUNT).await == seven).await;
    drop(streams);
    until("all are gone", async || count(&server, WATCHER_COUNT).await == idle).await;
    // At once: it takes an exchange, and no time that somebody waits.
    assert!(begun.elapsed() < LINGER / 2, "{:?}", begun.elapsed());
    // The handle did not end.
    store.get("x").await.unwrap_err();
}

/// Watches much on one handle, and says by how much the process grew.
pub(super) fn watch_much(endpoint: &str) {
    process::run(async {
        let store = open_plain(&[endpoint.to_owned()]).await;
        let mut first = store.watch("k/first").unwrap();
        first.next().await.unwrap().unwrap();
        let before = resident();
        let mut streams = Vec::new();
        for number in 0..WATCHES {
            let mut stream = store.watch(format!("k/{number}")).unwrap();
            assert!(matches!(stream.next().await.unwrap().unwrap(), Event::Synced { .. }));
            streams.push(stream);
        }
        say(resident().saturating_sub(before));
        hear();
        let last = streams.last_mut().unwrap().next().await.unwrap().unwrap();
        say(last.index().unwrap());
        drop(streams);
        hear();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_watches_are_one_stream_and_little_memory() {
    let server = Server::start(Options::default()).await;
    let (watchers, streams) =
        (count(&server, WATCHER_COUNT).await, count(&server, STREAM_COUNT).await);
    let mut child = Etcd::child("watch-much", &server.endpoint());
    let grown: usize = child.line().parse().unwrap();
    println!("{WATCHES} watches took {} KiB", grown / 1024);
    assert!(grown < WATCHES_BOUND, "{WATCHES} watches took {grown} bytes");
    assert_eq!(count(&server, WATCHER_COUNT).await, watchers + WATCHES + 1);
    assert_eq!(count(&server, STREAM_COUNT).await, streams + 1);
    let truth = Truth::at(&server.endpoint()).await;
    let revision = truth.put(&format!("k/{}", WATCHES - 1), "v").await;
    child.tell("written");
    assert_eq!(child.line(), revision.to_string());
    until("one is left", async || count(&server, WATCHER_COUNT).await == watchers + 1).await;
    child.tell("enough");
}

/// Takes nothing for a while, then everything, and says by how much the process grew meanwhile.
pub(super) fn fall_behind(endpoint: &str) {
    process::run(async {
        let store = open_plain(&[endpoint.to_owned()]).await;
        let options = WatchOptions::default().with_buffer(BUFFER);
        let tree = WatchTarget::Tree(integration_tests::key("k"));
        let mut stream = store.watch_opts(&tree, options);
        assert!(matches!(stream.next().await.unwrap().unwrap(), Event::Synced { .. }));
        let before = resident();
        say("watching");
        // Somebody else's watch on the same connection says when it is over.
        let mut end = store.watch("end").unwrap();
        while !matches!(end.next().await.unwrap().unwrap(), Event::Put(_)) {}
        let behind = resident().saturating_sub(before);
        let (mut last, mut lagged) = (None, false);
        while last != Some(FLOOD - 1) {
            match stream.next().await.unwrap().unwrap() {
                Event::Put(pair) => last = Some(number_in(&pair.value)),
                Event::Resync { reason, .. } => lagged |= reason == ResyncReason::Lagged,
                _ => {}
            }
        }
        assert!(lagged, "it fell behind");
        say(behind.max(resident().saturating_sub(before)));
        hear();
    });
}

/// A value of a MiB that begins with its number.
fn flood(number: usize) -> Vec<u8> {
    let mut value = format!("{number:<10}").into_bytes();
    value.resize(MIB, b' ');
    value
}

fn number_in(value: &[u8]) -> usize {
    std::str::from_utf8(&value[..10]).unwrap().trim_end().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_falls_behind_takes_little_memory() {
    let server = Server::start(Options::default()).await;
    let mut child = Etcd::child("fall-behind", &server.endpoint());
    assert_eq!(child.line(), "watching");
    let truth = Truth::at(&server.endpoint()).await;
    for number in 0..FLOOD {
        truth.put("k/a", flood(number)).await;
    }
    truth.put("end", "").await;
    let grown: usize = child.line().parse().unwrap();
    println!("{FLOOD} MiB of events that nobody took: grown by {} MiB", grown / MIB);
    assert!(grown < FLOOD_BOUND, "{FLOOD} MiB of events took {grown} bytes");
    child.tell("enough");
}
