//! A handle's session while the connection stands still for a short and for a long time.

use std::time::Duration;

use integration_tests::{key, lines_about};
use libkv_core::{Config, ErrorKind, Lifetime, SessionState, Store, StoreExt};
use libkv_etcd::EtcdStore;
use tokio::sync::mpsc;

use super::disturbed::{Truth, open, open_plain, server_and_proxy, soon, until};
use crate::harness::proxy::{Flow, Proxy};

/// How long the session outlives a silent handle.
const LIFE: Duration = Duration::from_secs(3);

async fn open_through(proxy: &Proxy) -> EtcdStore {
    let brief = |config: &mut Config| {
        config.ephemeral_ttl = Some(LIFE);
        config.operation_timeout = LIFE / 2;
    };
    open(&[proxy.addr()], brief).await
}

/// Hears of each state from now on.
fn states(store: &EtcdStore) -> mpsc::UnboundedReceiver<SessionState> {
    let (mut state, (tell, told)) = (store.state(), mpsc::unbounded_channel());
    tokio::spawn(async move {
        while let Some(state) = state.changed().await {
            let _ = tell.send(state);
        }
    });
    told
}

async fn next(states: &mut mpsc::UnboundedReceiver<SessionState>) -> SessionState {
    soon("the state changes", states.recv()).await.expect("the handle is there")
}

async fn put_ephemeral(store: &EtcdStore, name: &str) -> libkv_core::Result<()> {
    store.put_opts(&key(name), "v".into(), Lifetime::Ephemeral.into()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_unsure_says_so_and_recovers() {
    use SessionState::{Connected, Suspended};
    let (server, proxy) = server_and_proxy().await;
    let (store, truth) = (open_through(&proxy).await, Truth::at(&server.endpoint()).await);
    let mut states = states(&store);
    put_ephemeral(&store, "e").await.unwrap();
    assert_eq!(next(&mut states).await, Connected);
    let lease = truth.get("e").await.unwrap().lease;
    proxy.set_both(Flow::Stall);
    assert_eq!(next(&mut states).await, Suspended);
    proxy.set_both(Flow::Pass);
    assert_eq!(next(&mut states).await, Connected);
    // It is the same session, and lives on.
    tokio::time::sleep(LIFE + LIFE / 3).await;
    assert_eq!(store.state().get(), Connected);
    assert_eq!(truth.get("e").await.unwrap().lease, lease);
    assert!(states.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_session_is_told_and_nothing_of_it_comes_back() {
    use SessionState::{Connected, Lost, Suspended};
    let (server, proxy) = server_and_proxy().await;
    let (store, truth) = (open_through(&proxy).await, Truth::at(&server.endpoint()).await);
    let other = open_plain(&[server.endpoint()]).await;
    let mut states = states(&store);
    put_ephemeral(&store, "e").await.unwrap();
    assert_eq!(next(&mut states).await, Connected);
    let lease = truth.get("e").await.unwrap().lease;
    proxy.set_both(Flow::Stall);
    assert_eq!(next(&mut states).await, Suspended);
    assert!(truth.get("e").await.is_some(), "it is not told too late");
    assert_eq!(next(&mut states).await, Lost);
    // What is tried meanwhile says that nothing was done.
    let error = put_ephemeral(&store, "meanwhile").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    until("the server ends it too", async || truth.get("e").await.is_none()).await;
    proxy.set_both(Flow::Pass);
    assert_eq!(next(&mut states).await, Connected);
    assert!(truth.get("e").await.is_none() && truth.get("meanwhile").await.is_none());
    // Somebody else may have it now, and keeps it.
    other.put("e", "theirs").await.unwrap();
    put_ephemeral(&store, "new").await.unwrap();
    let new = truth.get("new").await.unwrap().lease;
    assert!(new != lease && new != 0);
    tokio::time::sleep(LIFE + LIFE / 3).await;
    assert_eq!(truth.get("e").await.unwrap().value, b"theirs");
    assert_eq!(truth.get("new").await.unwrap().lease, new);
    assert_eq!(store.state().get(), Connected);
    assert!(states.try_recv().is_err());
}

/// The server comes back before it has ended the session that the handle gave up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_given_up_is_ended_before_there_is_another() {
    use SessionState::{Connected, Lost};
    let (server, proxy) = server_and_proxy().await;
    let (store, truth) = (open_through(&proxy).await, Truth::at(&server.endpoint()).await);
    put_ephemeral(&store, "e").await.unwrap();
    let lease = truth.get("e").await.unwrap().lease;
    let mut states = states(&store);
    proxy.set_both(Flow::Stall);
    // Somebody keeps it alive at the server, so that it does not end there by itself.
    let mut client = truth.client();
    let keeping = tokio::spawn(async move {
        loop {
            let (mut keeper, mut kept) = client.lease_keep_alive(lease).await.unwrap();
            if keeper.keep_alive().await.is_err() || kept.message().await.is_err() {
                return;
            }
            tokio::time::sleep(LIFE / 6).await;
        }
    });
    while next(&mut states).await != Lost {}
    assert!(truth.get("e").await.is_some());
    proxy.set_both(Flow::Pass);
    while next(&mut states).await != Connected {}
    assert!(truth.get("e").await.is_none(), "what the lost session owned is gone");
    keeping.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnections_and_failed_renewals_are_logged() {
    integration_tests::collect_lines();
    let (server, proxy) = server_and_proxy().await;
    let store = open_through(&proxy).await;
    put_ephemeral(&store, "e").await.unwrap();
    let mut watch = store.watch("logged/key").unwrap();
    watch.next().await.unwrap().unwrap();
    let logged = async |words: &[&str]| {
        until(&format!("{words:?} is logged"), async || {
            let lines = lines_about(&proxy.addr());
            lines.iter().any(|line| words.iter().all(|word| line.contains(word)))
        })
        .await;
    };
    proxy.reset();
    logged(&["WARN", "the stream of watches broke", "backend=etcd"]).await;
    proxy.set_both(Flow::Stall);
    logged(&["WARN", "lease not renewed", "backend=etcd"]).await;
    store.state().wait_for(SessionState::Lost).await;
    logged(&["WARN", "no new session yet", "backend=etcd"]).await;
    proxy.set_both(Flow::Pass);
    let gone = open_plain(&[server.endpoint()]).await;
    gone.put("logged/key", "a value").await.unwrap();
    while !matches!(watch.next().await.unwrap().unwrap(), libkv_core::Event::Put(_)) {}
    assert!(lines_about(&proxy.addr()).iter().all(|line| !line.contains("a value")));
}
