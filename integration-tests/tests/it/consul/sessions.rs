//! A handle's session while the connection stands still for a short and for a long time.

use std::collections::BTreeMap;
use std::time::Duration;

use integration_tests::key;
use libkv_consul::ConsulStore;
use libkv_core::{Config, ErrorKind, Lifetime, LockGuard, SessionState, Store};

use super::cli::{Cli, Session};
use crate::faults::holding::take;
use crate::faults::sessions::{self, next, owner_of, put_ephemeral, states};
use crate::faults::{Backend, soon, timed, until};
use crate::harness::consul::{Consul, Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_unsure_says_so_and_recovers() {
    sessions::unsure::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_session_is_told_and_nothing_of_it_comes_back() {
    sessions::lost::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_given_up_is_ended_before_there_is_another() {
    sessions::given_up::<Consul>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnections_and_failed_renewals_are_logged() {
    sessions::logged::<Consul>().await;
}

/// What the server has of a handle's sessions, by their names.
async fn sessions_of(server: &Server) -> BTreeMap<String, Session> {
    let all = Cli::of(server).sessions().await.into_iter();
    all.map(|session| (session.name.clone(), session)).collect()
}

const HANDLE: &str = "libkv session";
const LOCK: &str = "libkv lock";
const KEY: &str = "libkv ttl";

/// A handle that has an ephemeral key and a lock, both as brief as they get.
async fn owner(server: &Server) -> (ConsulStore, LockGuard) {
    let brief = |config: &mut Config| config.ephemeral_ttl = Some(Consul::LIFE);
    let store = Consul::open(&[server.endpoint()], brief).await;
    put_ephemeral(&store, "e").await.unwrap();
    let guard = take(&store, "l", Consul::SHORT).await;
    (store, guard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_what_a_session_is_for_and_it_hangs_on_no_check() {
    let server = Consul::start().await;
    let (store, guard) = owner(&server).await;
    let brief = Lifetime::Ttl(Duration::from_secs(20));
    store.put_opts(&key("t"), "v".into(), brief.into()).await.unwrap();
    let sessions = sessions_of(&server).await;
    let names: Vec<_> = sessions.keys().map(String::as_str).collect();
    assert_eq!(names, [LOCK, HANDLE, KEY]);
    for (name, node) in [(HANDLE, "e"), (LOCK, "l/.lock"), (KEY, "t")] {
        let session = &sessions[name];
        assert_eq!((&*session.behavior, &*session.checks), ("delete", &[][..]), "{name}");
        assert!(session.lock_delay <= Duration::from_millis(1), "{session:?}");
        assert_eq!(owner_of(&server, node).await.as_deref(), Some(&*session.id), "{name}");
    }
    guard.unlock().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_renewed_for_as_long_as_they_are_needed() {
    let server = Consul::start().await;
    let (store, guard) = owner(&server).await;
    let before = sessions_of(&server).await;
    // The server ends a session that was not renewed for twice its time.
    tokio::time::sleep(Consul::LIFE * 5 / 2).await;
    assert_eq!(sessions_of(&server).await, before);
    assert!(guard.is_held());
    assert_eq!(store.state().get(), SessionState::Connected);
    assert_eq!(owner_of(&server, "e").await.as_deref(), Some(&*before[HANDLE].id));
    guard.unlock().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_and_dropping_a_handle_end_its_sessions() {
    let server = Consul::start().await;
    let (store, guard) = owner(&server).await;
    store.close().await.unwrap();
    assert!(!guard.is_held());
    assert!(sessions_of(&server).await.is_empty());
    let cli = Cli::of(&server);
    assert!(cli.stored("e").await.is_none() && cli.stored("l/.lock").await.is_none());
    let (store, guard) = owner(&server).await;
    drop((store, guard));
    let nothing = async || sessions_of(&server).await.is_empty();
    // Sooner than they would end by themselves.
    let (ended, took) = timed(tokio::time::timeout(Consul::LIFE, until("all end", nothing))).await;
    assert!(ended.is_ok(), "{:?} after {took:?}", sessions_of(&server).await);
    assert!(cli.stored("e").await.is_none() && cli.stored("l/.lock").await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_others_end_is_told() {
    let server = Consul::start().await;
    let (store, guard) = owner(&server).await;
    let (cli, before) = (Cli::of(&server), sessions_of(&server).await);
    let mut states = states(&store);
    cli.destroy(&before[LOCK].id).await;
    let reason = soon("the loss is told", guard.lost()).await;
    assert_eq!(reason.kind(), ErrorKind::LockLost, "{reason}");
    assert!(!guard.is_held());
    assert_eq!(guard.unlock().await.unwrap_err().kind(), ErrorKind::LockLost);
    cli.destroy(&before[HANDLE].id).await;
    while next(&mut states).await != SessionState::Lost {}
    assert_eq!(next(&mut states).await, SessionState::Connected);
    assert!(cli.stored("e").await.is_none(), "nothing is taken back in silence");
    put_ephemeral(&store, "e").await.unwrap();
    let after = &sessions_of(&server).await[HANDLE].id;
    assert!(*after != before[HANDLE].id);
    assert_eq!(owner_of(&server, "e").await.as_ref(), Some(after));
}
