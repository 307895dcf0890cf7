//! Locks that are held while the connection stands still, the server restarts or the process does.

use std::time::{Duration, Instant};

use integration_tests::{key, lines_about};
use libkv_core::{
    Config, ErrorKind, Expect, LockGuard, LockOptions, SessionState, Store, StoreExt, Txn,
    WriteOptions,
};

use super::process;
use super::sessions::{owner_of, put_ephemeral};
use super::{Backend, open_plain, server_and_proxy, soon, until};
use crate::child::{hear, say};
use crate::harness::proxy::{Direction, Flow};

/// Longer than anything takes here.
const AGES: Duration = Duration::from_secs(300);

/// Takes a lock that is free, or soon will be.
pub(crate) async fn take(store: &impl Store, name: &str, ttl: Duration) -> LockGuard {
    let lock = store.new_lock(name, LockOptions::default().with_ttl(ttl)).unwrap();
    soon("the lock is free", lock.lock()).await.unwrap()
}

/// Somebody else gets the lock of a holder who does not hear of the server, and never while that one
/// still believes to hold it.
async fn assert_lost_before_it_is_given_away<B: Backend>(flows: &[(Direction, Flow)]) {
    let (server, proxy) = server_and_proxy::<B>().await;
    let store = open_plain::<B>(&[proxy.addr()]).await;
    let other = open_plain::<B>(&[server.endpoint()]).await;
    let guard = std::sync::Arc::new(take(&store, "k", B::SHORT).await);
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

/// A lock behind a silent connection is lost before it is given away.
pub(crate) async fn silent<B: Backend>() {
    let both = [(Direction::ToServer, Flow::Stall), (Direction::ToClient, Flow::Stall)];
    assert_lost_before_it_is_given_away::<B>(&both).await;
}

/// A lock whose renewals are not confirmed is lost before it is given away: the server is asked for
/// them and grants them, and its word does not come back.
pub(crate) async fn unconfirmed<B: Backend>() {
    let one_way = [(Direction::ToClient, Flow::Stall)];
    assert_lost_before_it_is_given_away::<B>(&one_way).await;
}

/// The lost future is ready when somebody else has the lock.
pub(crate) async fn told<B: Backend>() {
    let (server, proxy) = server_and_proxy::<B>().await;
    let store = open_plain::<B>(&[proxy.addr()]).await;
    let other = open_plain::<B>(&[server.endpoint()]).await;
    let guard = take(&store, "k", B::SHORT).await;
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

/// A renewal that fails is tried again until the deadline.
pub(crate) async fn renewed<B: Backend>() {
    integration_tests::collect_lines();
    let (server, proxy) = server_and_proxy::<B>().await;
    let store = open_plain::<B>(&[proxy.addr()]).await;
    let name = "renewed/in/time";
    let guard = take(&store, name, B::LONG).await;
    let mut losing = Box::pin(guard.lost());
    // Long enough that a renewal is given up, and others after it, and shorter than it lives.
    proxy.set_both(Flow::Stall);
    let failed = async || {
        let lines = lines_about(name);
        lines.iter().filter(|line| line.contains(B::NOT_RENEWED)).count() >= 2
    };
    until("two renewals fail", failed).await;
    assert!(guard.is_held(), "there is time left");
    proxy.set_both(Flow::Pass);
    // It lives on, for longer than it would have without a renewal.
    let lives = tokio::time::timeout(B::LONG + B::SHORT, &mut losing).await;
    assert!(lives.is_err(), "{lives:?}");
    assert!(guard.is_held());
    assert_eq!(B::below(&server, &format!("{name}/")).await.len(), 1);
    guard.unlock().await.unwrap();
}

/// A lock outlives a restart of the server and tokens grow over it.
pub(crate) async fn restarted<B: Backend>() {
    let server = B::start().await;
    let lasting = |config: &mut Config| config.ephemeral_ttl = Some(AGES);
    let store = B::open(&[server.endpoint()], lasting).await;
    let other = open_plain::<B>(&[server.endpoint()]).await;
    put_ephemeral(&store, "e").await.unwrap();
    let owner = owner_of(&server, "e").await;
    let mut tokens = Vec::new();
    for restarts in 0..2 {
        let guard = take(&store, "k", AGES).await;
        tokens.push(guard.token());
        let before = B::before_waiting(&server).await;
        let waiting = {
            let lock = other.new_lock("k", LockOptions::default().with_ttl(AGES)).unwrap();
            tokio::spawn(async move { lock.lock().await })
        };
        until("somebody waits for it", async || B::waits(&server, before).await).await;
        server.restart().await;
        assert!(guard.is_held(), "the server was away for less than the lock lives");
        assert_eq!(owner_of(&server, "e").await, owner);
        // The server knows the lock, and who waits for it.
        let fenced = WriteOptions::default().with_fence(guard.fence());
        until("a fenced write happens", async || {
            store.put_opts(&key("x"), "v".into(), fenced.clone()).await.is_ok()
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
    // What is bound to the handle lives on with it.
    assert_eq!(store.state().get(), SessionState::Connected);
    assert_eq!(owner_of(&server, "e").await, owner);
}

/// Holds a lock, and says what it believes when it comes to itself after a pause.
pub(crate) fn hold<B: Backend>(endpoint: &str) {
    process::run(async {
        let store = open_plain::<B>(&[endpoint.to_owned()]).await;
        let guard = take(&store, "k", B::SHORT).await;
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
                if now - last > B::SHORT / 2 {
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

/// A process that was paused knows at once that its lock is lost.
pub(crate) async fn paused<B: Backend>() {
    let server = B::start().await;
    let mut child = B::child("hold-a-lock", &server.endpoint());
    let token: u64 = child.line().parse().unwrap();
    signal("STOP", child.id());
    let other = open_plain::<B>(&[server.endpoint()]).await;
    let next = take(&other, "k", B::LONG).await;
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

/// Taking a lock behind a silent connection is a timeout: what is tried meanwhile has its own limit,
/// and does not wait for the lock's.
pub(crate) async fn not_taken<B: Backend>() {
    let (server, proxy) = server_and_proxy::<B>().await;
    let hurried = |config: &mut Config| config.operation_timeout = B::SHORT / 2;
    let store = B::open(&[proxy.addr()], hurried).await;
    // Nobody answers from the beginning on, or while it waits for its turn.
    proxy.set_both(Flow::Stall);
    let lock = store.new_lock("k", LockOptions::default().with_ttl(B::SHORT)).unwrap();
    let error = soon("it ends", lock.lock()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    proxy.set_both(Flow::Pass);
    let holder = take(&open_plain::<B>(&[server.endpoint()]).await, "k", B::LONG).await;
    let before = B::before_waiting(&server).await;
    let waiting = tokio::spawn(async move { lock.lock().await });
    until("it waits", async || B::waits(&server, before).await).await;
    proxy.set_both(Flow::Stall);
    let error = soon("it ends", waiting).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(holder.is_held());
    holder.unlock().await.unwrap();
}
