//! Locks that are held while the connection stands still, the server restarts or the process does.

use std::time::{Duration, Instant};

use integration_tests::{key, lines_about};
use libkv_core::{ErrorKind, Expect, LockGuard, LockOptions, Store, StoreExt, Txn, WriteOptions};
use libkv_etcd::EtcdStore;

use super::child;
use super::disturbed::{Truth, open, open_plain, server_and_proxy, soon, until};
use super::trips::calls;
use crate::child::{hear, say};
use crate::harness::etcd::{Options, Server};
use crate::harness::proxy::{Direction, Flow, Proxy};

/// The shortest that the server gives.
const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(12);
/// Longer than anything takes here.
const AGES: Duration = Duration::from_secs(300);

async fn take(store: &EtcdStore, name: &str, ttl: Duration) -> LockGuard {
    let lock = store.new_lock(name, LockOptions::default().with_ttl(ttl)).unwrap();
    soon("the lock is free", lock.lock()).await.unwrap()
}

/// Somebody else gets the lock of a holder who does not hear of the server, and never while that one
/// still believes to hold it.
async fn assert_lost_before_it_is_given_away(flows: &[(Direction, Flow)]) {
    let (server, proxy) = server_and_proxy().await;
    let store = open_plain(&[proxy.addr()]).await;
    let other = open_plain(&[server.endpoint()]).await;
    let guard = std::sync::Arc::new(take(&store, "k", SHORT).await);
    let (lost, believer) = (guard.lost(), guard.clone());
    // A thread of its own looks all the time; what it saw last is by the same clock.
    let believing = std::thread::spawn(move || {
        let mut last = Instant::now();
        loop {
            let now = Instant::now();
            if !believer.is_held() {
                return last;
            }
            last = now;
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    for (direction, flow) in flows {
        proxy.set(*direction, *flow);
    }
    let stalled = Instant::now();
    let next = take(&other, "k", AGES).await;
    let given = Instant::now();
    assert!(!guard.is_held(), "two hold it");
    assert!(next.token() > guard.token());
    let believed = believing.join().unwrap();
    assert!(believed < given, "it was believed to be held {:?} too long", believed - given);
    println!("believed until {:?}, given at {:?}", believed - stalled, given - stalled);
    let reason = soon("the loss is told", lost).await;
    assert_eq!(reason.kind(), ErrorKind::LockLost, "{reason}");
    proxy.set_both(Flow::Pass);
    let guard = std::sync::Arc::into_inner(guard).unwrap();
    assert_eq!(guard.unlock().await.unwrap_err().kind(), ErrorKind::LockLost);
    assert!(next.is_held());
    next.unlock().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_behind_a_silent_connection_is_lost_before_it_is_given_away() {
    let both = [(Direction::ToServer, Flow::Stall), (Direction::ToClient, Flow::Stall)];
    assert_lost_before_it_is_given_away(&both).await;
}

/// The server is asked for renewals and grants them, and its word does not come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_whose_renewals_are_not_confirmed_is_lost_before_it_is_given_away() {
    let one_way = [(Direction::ToClient, Flow::Stall)];
    assert_lost_before_it_is_given_away(&one_way).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lost_future_is_ready_when_somebody_else_has_the_lock() {
    let (server, proxy) = server_and_proxy().await;
    let store = open_plain(&[proxy.addr()]).await;
    let other = open_plain(&[server.endpoint()]).await;
    let guard = take(&store, "k", SHORT).await;
    let lost = guard.lost();
    let told = tokio::spawn(async move { (lost.await, Instant::now()) });
    proxy.set_both(Flow::Stall);
    let stalled = Instant::now();
    let next = take(&other, "k", AGES).await;
    let given = Instant::now();
    let (reason, at) = soon("the loss is told", told).await.unwrap();
    assert_eq!(reason.kind(), ErrorKind::LockLost);
    // The deadline is counted from when a renewal was sent, and at the server from when it came.
    assert!(at < given, "told after {:?}, given after {:?}", at - stalled, given - stalled);
    next.unlock().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_fails_is_tried_again_until_the_deadline() {
    integration_tests::collect_lines();
    let (server, proxy) = server_and_proxy().await;
    let store = open_plain(&[proxy.addr()]).await;
    let truth = Truth::at(&server.endpoint()).await;
    let name = "renewed/in/time";
    let guard = take(&store, name, LONG).await;
    let mut losing = Box::pin(guard.lost());
    // Long enough that a renewal is given up, and others after it, and shorter than it lives.
    proxy.set_both(Flow::Stall);
    let failed = async || {
        let about = |line: &String| line.contains("lease not renewed") && line.contains("etcd");
        lines_about(name).iter().filter(|line| about(line)).count() >= 2
    };
    until("two renewals fail", failed).await;
    assert!(guard.is_held(), "there is time left");
    proxy.set_both(Flow::Pass);
    // It lives on, for longer than it would have without a renewal.
    let lives = tokio::time::timeout(LONG + SHORT, &mut losing).await;
    assert!(lives.is_err(), "{lives:?}");
    assert!(guard.is_held());
    assert_eq!(truth.below(&format!("{name}/")).await.len(), 1);
    guard.unlock().await.unwrap();
}

/// How many transactions the server has answered since it started.
async fn transactions(server: &Server) -> u64 {
    calls(server).await.get("Txn").copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_outlives_a_restart_of_the_server_and_tokens_grow_over_it() {
    let server = Server::start(Options::default()).await;
    let store = open_plain(&[server.endpoint()]).await;
    let other = open_plain(&[server.endpoint()]).await;
    let mut tokens = Vec::new();
    for restarts in 0..2 {
        let guard = take(&store, "k", AGES).await;
        tokens.push(guard.token());
        let before = transactions(&server).await;
        let waiting = {
            let lock = other.new_lock("k", LockOptions::default().with_ttl(AGES)).unwrap();
            tokio::spawn(async move { lock.lock().await })
        };
        // It has joined the queue and looked who is in front, and asks no more.
        until("somebody waits for it", async || transactions(&server).await == before + 2).await;
        server.restart().await;
        assert!(guard.is_held(), "the server was away for less than the lock lives");
        // The server knows the lock, and who waits for it.
        let fenced = WriteOptions::default().with_fence(guard.fence());
        until("a fenced write happens", async || {
            let written = store.put_opts(&key("x"), "v".into(), fenced.clone()).await;
            written.is_ok()
        })
        .await;
        assert!(!waiting.is_finished(), "{:?}", waiting.await);
        guard.unlock().await.unwrap();
        let next = soon("the next one gets it", waiting).await.unwrap().unwrap();
        tokens.push(next.token());
        next.unlock().await.unwrap();
        if restarts == 0 {
            server.restart().await;
        }
    }
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
}

/// Holds a lock, and says what it believes when it comes to itself after a pause.
pub(super) fn hold(endpoint: &str) {
    child::run(async {
        let store = open_plain(&[endpoint.to_owned()]).await;
        let guard = take(&store, "k", SHORT).await;
        let fence = guard.fence();
        let mut losing = Box::pin(guard.lost());
        let token = guard.token();
        // A thread, since tasks need not be first to run after the pause.
        let looking = std::thread::spawn(move || {
            let mut last = Instant::now();
            // Whoever pauses this waits for it.
            say(token);
            loop {
                let held = guard.is_held();
                let now = Instant::now();
                if now - last > SHORT / 2 {
                    return (held, guard);
                }
                last = now;
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let (held, guard) = tokio::task::spawn_blocking(|| looking.join().unwrap()).await.unwrap();
        say(format_args!("held: {held}"));
        let fenced = WriteOptions::default().with_fence(fence.clone());
        let put = store.put_opts(&key("fenced"), "v".into(), fenced).await;
        say(format_args!("put: {:?}", put.unwrap_err().kind()));
        let txn = Txn::new().fence(fence).put("fenced", "v").unwrap();
        say(format_args!("txn: {:?}", store.txn(txn).await.unwrap_err().kind()));
        say(format_args!("lost: {:?}", (&mut losing).await.kind()));
        say(format_args!("unlock: {:?}", guard.unlock().await.unwrap_err().kind()));
        hear();
    });
}

/// Sends a signal to a process.
fn signal(name: &str, process: u32) {
    let sent = std::process::Command::new("sh")
        .args(["-c", &format!("kill -{name} {process}")])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_paused_knows_at_once_that_its_lock_is_lost() {
    let server = Server::start(Options::default()).await;
    let mut child = child::start("hold-a-lock", &server.endpoint());
    let token: u64 = child.line().parse().unwrap();
    signal("STOP", child.id());
    let other = open_plain(&[server.endpoint()]).await;
    let next = take(&other, "k", LONG).await;
    assert!(next.token().get() > token);
    other.put_opts(&key("fenced"), "ours".into(), Expect::Absent.into()).await.unwrap();
    signal("CONT", child.id());
    assert_eq!(child.line(), "held: false");
    assert_eq!(child.line(), "put: LockLost");
    assert_eq!(child.line(), "txn: LockLost");
    assert_eq!(child.line(), "lost: LockLost");
    assert_eq!(child.line(), "unlock: LockLost");
    assert_eq!(other.get("fenced").await.unwrap().value, "ours");
    assert!(next.is_held());
    child.tell("enough");
}

/// What is tried meanwhile has its own limit, and does not wait for the lock's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_a_lock_behind_a_silent_connection_is_a_timeout() {
    let (server, proxy) = server_and_proxy().await;
    let truth = Truth::at(&server.endpoint()).await;
    let hurried = |config: &mut libkv_core::Config| config.operation_timeout = SHORT / 2;
    let store = open(&[Proxy::addr(&proxy)], hurried).await;
    // Nobody answers from the beginning on, or while it waits for its turn.
    proxy.set_both(Flow::Stall);
    let lock = store.new_lock("k", LockOptions::default().with_ttl(SHORT)).unwrap();
    let error = soon("it ends", lock.lock()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    proxy.set_both(Flow::Pass);
    let holder = take(&open_plain(&[server.endpoint()]).await, "k", LONG).await;
    let waiting = tokio::spawn(async move { lock.lock().await });
    until("it waits", async || truth.below("k/").await.len() == 2).await;
    proxy.set_both(Flow::Stall);
    let error = soon("it ends", waiting).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(holder.is_held());
    holder.unlock().await.unwrap();
}
