//! How many calls are under way, and how long they take at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libkv_core::ErrorKind;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use super::responder::{self, Responder, Step, answer};
use super::*;

/// Counts what is there at once, and how much that was at most.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn enter(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_few_connections_and_none_is_lost() {
    const AT_ONCE: usize = 8;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (calls, connections) = (Arc::new(Gauge::default()), Arc::new(Gauge::default()));
    let (called, connected) = (calls.clone(), connections.clone());
    // Nobody is answered before as many ask as may ask at once.
    let barrier = Arc::new(Barrier::new(AT_ONCE));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (calls, connections) = (called.clone(), connected.clone());
            let barrier = barrier.clone();
            connections.enter();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while responder::read(&mut stream).await.is_some() {
                    calls.enter();
                    barrier.wait().await;
                    calls.leave();
                    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                    stream.write_all(text).await.unwrap();
                }
                connections.leave();
            });
        }
    });
    let client = open(&format!("consul://{address}?max_connections={AT_ONCE}")).await.unwrap();
    let client = Arc::new(client);
    let callers: Vec<_> = (0..256)
        .map(|caller| {
            let client = client.clone();
            tokio::spawn(async move {
                let ops = [delete(&caller.to_string())];
                client.txn(&ops, true, Mode::Stale, &call()).await.map(drop)
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(calls.most(), AT_ONCE);
    // The HTTP client makes a connection where the one just used is not back yet.
    assert!(connections.most() <= 2 * AT_ONCE, "{}", connections.most());
}

#[tokio::test]
async fn a_call_whose_turn_does_not_come_in_time_sends_nothing() {
    let responder = Responder::start([Step::Silence]).await;
    let client = client(&[&responder], "?max_connections=1").await;
    let ops = [delete("a")];
    let calls = |time| client.txn(&ops, true, Mode::Stale, time);
    let (long, short) = (within(2 * SHORT), within(SHORT));
    let (first, second) = tokio::join!(calls(&long), calls(&short));
    assert_eq!(first.unwrap_err().kind_for(true), ErrorKind::OutcomeUnknown);
    assert_eq!(second.unwrap_err().kind_for(true), ErrorKind::Timeout);
    assert_eq!(responder.lines().len(), 1);
}

#[tokio::test]
async fn a_call_whose_time_is_over_sends_nothing() {
    let responder = Responder::start([answer(200, &[], "{}")]).await;
    let client = client(&[&responder], "").await;
    let over = within(Duration::ZERO);
    let failure = client.txn(&[delete("a")], true, Mode::Stale, &over).await.unwrap_err();
    assert_eq!(failure.kind_for(true), ErrorKind::Timeout);
    assert!(responder.lines().is_empty());
}

#[tokio::test]
async fn a_query_ends_by_itself_where_nobody_answers() {
    let responder = Responder::start([Step::Silence, Step::Silence]).await;
    let client = client(&[&responder], "?operation_timeout=200ms").await;
    let span = Span::Prefix("a/".to_owned());
    for (index, least) in [(Some(5), 1_062 + 200), (None, 200)] {
        let (begun, least) = (Instant::now(), Duration::from_millis(least));
        let wait = Duration::from_secs(1);
        let failure = client.block(&span, index, wait, "watch").await.unwrap_err();
        assert_eq!(failure.kind_for(false), ErrorKind::Timeout);
        assert!(begun.elapsed() >= least && begun.elapsed() < least + WHOLE / 2);
    }
}

#[tokio::test]
async fn a_query_keeps_its_connection_until_it_is_read_or_dropped() {
    let entries = format!("[{}]", entry("a", "null", 7));
    let steps = [(); 3].map(|()| answer(200, &[], &entries));
    let responder = Responder::start(steps).await;
    let client = client(&[&responder], "").await;
    let span = Span::Prefix("a".to_owned());
    let left = || client.watch_connections_left();
    let mut first = client.block(&span, None, WHOLE, "watch").await.unwrap().body;
    let second = client.block(&span, None, WHOLE, "watch").await.unwrap();
    assert_eq!(left(), WATCH_CONNECTIONS - 2);
    assert_eq!(first.next(WHOLE).await.unwrap().unwrap().len(), 1);
    assert_eq!(left(), WATCH_CONNECTIONS - 1);
    drop(second);
    assert_eq!(left(), WATCH_CONNECTIONS);
    // Calls are counted apart.
    let listed = client.list("a", Mode::Consistent, &call()).await.unwrap();
    assert_eq!(left(), WATCH_CONNECTIONS);
    drop(listed);
}

#[tokio::test]
async fn more_queries_than_connections_wait_for_each_other() {
    // Empty, and still a connection's whole answer until it is read.
    let steps = (0..=WATCH_CONNECTIONS).map(|_| answer(200, &[], "[]"));
    let responder = Responder::start(steps).await;
    let client = client(&[&responder], "").await;
    let span = Span::Prefix("a".to_owned());
    let mut held = Vec::new();
    for _ in 0..WATCH_CONNECTIONS {
        held.push(client.block(&span, None, WHOLE, "watch").await.unwrap());
    }
    assert_eq!(client.watch_connections_left(), 0);
    let waiting = client.block(&span, None, WHOLE, "watch");
    let freeing = async {
        tokio::time::sleep(SHORT).await;
        assert_eq!(responder.lines().len(), WATCH_CONNECTIONS);
        held.pop();
    };
    let (answer, ()) = tokio::join!(waiting, freeing);
    answer.unwrap();
    assert_eq!(responder.lines().len(), WATCH_CONNECTIONS + 1);
}

#[tokio::test]
async fn neither_calls_nor_listings_keep_a_session_waiting() {
    let session = r#"[{"ID":"s","TTL":"15s"}]"#;
    let steps = [Step::Silence, answer(200, &[], "[]"), answer(200, &[], session)];
    let responder = Responder::start(steps).await;
    let client = client(&[&responder], "?max_connections=1").await;
    let (long, short) = (within(4 * SHORT), within(2 * SHORT));
    let others = async {
        // The first call is answered by nobody, and the listing is read by nobody.
        while responder.lines().is_empty() {
            tokio::task::yield_now().await;
        }
        let listed = client.list("", Mode::Consistent, &short).await.unwrap();
        let renewed = client.renew_session("s", &short).await.unwrap();
        drop(listed);
        renewed
    };
    let ops = [delete("a")];
    let (call, renewed) = tokio::join!(client.txn(&ops, true, Mode::Stale, &long), others);
    assert_eq!(renewed, Some(Duration::from_secs(15)));
    assert_eq!(call.unwrap_err().kind_for(true), ErrorKind::OutcomeUnknown);
}
