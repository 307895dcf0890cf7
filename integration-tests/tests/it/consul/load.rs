//! Many callers and many watches on one handle, and what they cost the server.

mod callers;
mod listings;

pub(super) use self::listings::list_much;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use libkv_consul::ConsulStore;
use libkv_core::{Event, EventStream, StoreExt};

use crate::faults::{open_plain, soon, timed, until};
use crate::harness::consul::{Api, Consul, Options, Server};

const PREFIXES: usize = 50;
const WATCHES_OF_EACH: usize = 200;
/// How many are opened side by side.
const OPENING: usize = 4;
/// How many connections so many watches may take.
const CONNECTIONS: usize = 60;
/// A query that nobody wants any more ends within this time if it is young, and in any case within
/// that, which is a minute.
const YOUNG: Duration = Duration::from_secs(5);
const OLD: Duration = Duration::from_secs(60);
/// The server waits up to a sixteenth longer than it was asked to, and a busy machine longer still.
const MARGIN: Duration = Duration::from_secs(4);
/// How many queries wait at most, whatever is watched.
const QUERIES: usize = 64;
/// How many watches are opened and dropped at once.
const BRIEF: usize = 300;

async fn server_and_store() -> (Server, ConsulStore) {
    let server = Server::start(Options::default()).await;
    let store = open_plain::<Consul>(&[server.endpoint()]).await;
    (server, store)
}

/// Opens a watch, and hears what is there.
async fn begin(mut events: EventStream) -> EventStream {
    while !matches!(events.next().await.unwrap().unwrap(), Event::Synced { .. }) {}
    events
}

/// Looks all the time how many there are of something, until it is told that it is enough.
async fn most(enough: Arc<AtomicBool>, look: impl AsyncFn() -> usize) -> usize {
    let mut most = look().await;
    while !enough.load(Ordering::Relaxed) {
        most = most.max(look().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_watches_of_fifty_trees_share_sixty_connections() {
    let (server, store) = server_and_store().await;
    for prefix in 0..PREFIXES {
        store.put(format!("{prefix:02}/a"), "old").await.unwrap();
    }
    let enough = Arc::new(AtomicBool::new(false));
    let opening = async {
        let some = |first: usize| {
            let store = store.clone();
            async move {
                let mut streams = Vec::new();
                for number in (first..PREFIXES * WATCHES_OF_EACH).step_by(OPENING) {
                    let tree = format!("{:02}", number % PREFIXES);
                    streams.push((number % PREFIXES, begin(store.watch_tree(tree).unwrap()).await));
                }
                streams
            }
        };
        let streams = join_all((0..OPENING).map(some)).await;
        enough.store(true, Ordering::Relaxed);
        streams.into_iter().flatten().collect::<Vec<_>>()
    };
    let counting = most(enough.clone(), async || server.connections().await);
    let (mut streams, connections) = tokio::join!(opening, counting);
    println!("{} watches by {connections} connections", streams.len());
    assert!((PREFIXES..=CONNECTIONS).contains(&connections), "{connections}");
    let mut put = Vec::new();
    for prefix in 0..PREFIXES {
        put.push(store.put(format!("{prefix:02}/a"), "new").await.unwrap());
    }
    let all = async {
        for (prefix, stream) in &mut streams {
            match stream.next().await.unwrap().unwrap() {
                Event::Put(pair) => {
                    assert_eq!((&*pair.value, pair.version), (&b"new"[..], put[*prefix]))
                }
                other => panic!("{other:?} instead of a change"),
            }
        }
    };
    soon("all hear the change", all).await;
    assert!(server.connections().await <= CONNECTIONS);
}

/// Waits until no query waits any more, and says for how long.
async fn ended(api: &Api, longest: Duration) -> Duration {
    let nobody = async {
        while api.waiting().await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (ended, took) = timed(tokio::time::timeout(longest + MARGIN, nobody)).await;
    assert!(ended.is_ok(), "{} queries still wait after {took:?}", api.waiting().await);
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_query_of_a_young_watch_ends_soon_after_it_is_dropped() {
    let (server, store) = server_and_store().await;
    let mut streams = Vec::new();
    for number in 0..10 {
        streams.push(begin(store.watch(format!("k/{number}")).unwrap()).await);
        streams.push(begin(store.watch_tree(format!("k/{number}")).unwrap()).await);
    }
    until("all wait", async || server.api().waiting().await == 20).await;
    drop(streams);
    println!("ended after {:?}", ended(server.api(), YOUNG).await);
    // The handle did not end.
    store.get("x").await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_query_of_an_old_watch_ends_within_a_minute() {
    let (server, store) = server_and_store().await;
    let mut stream = begin(store.watch("k").unwrap()).await;
    // So old that its queries are as long as they get, and one of them has just begun.
    tokio::time::sleep(OLD).await;
    store.put("k", "v").await.unwrap();
    assert!(matches!(stream.next().await.unwrap().unwrap(), Event::Put(_)));
    until("it waits again", async || server.api().waiting().await == 1).await;
    drop(stream);
    println!("ended after {:?}", ended(server.api(), OLD).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_come_and_go_do_not_pile_up_queries() {
    let (server, store) = server_and_store().await;
    let enough = Arc::new(AtomicBool::new(false));
    let opening = async {
        let begun = Instant::now();
        for number in 0..BRIEF {
            drop(begin(store.watch(format!("k/{number}")).unwrap()).await);
        }
        println!("{BRIEF} watches came and went in {:?}", begun.elapsed());
        // Somebody who stays hears what there is to hear.
        let mut stream = begin(store.watch("stays").unwrap()).await;
        store.put("stays", "v").await.unwrap();
        let event = soon("it is told", stream.next()).await.unwrap().unwrap();
        assert!(matches!(event, Event::Put(_)), "{event:?}");
        enough.store(true, Ordering::Relaxed);
    };
    let counting = most(enough.clone(), async || server.api().waiting().await);
    let ((), queries) = tokio::join!(opening, counting);
    println!("at most {queries} queries waited");
    assert!(queries <= QUERIES, "{queries}");
    ended(server.api(), YOUNG).await;
}
