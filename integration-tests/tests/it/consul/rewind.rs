//! The server's history goes back, as when a backup is restored.

use integration_tests::key;
use libkv_core::{ErrorKind, Lifetime, LockOptions, ResyncReason, SessionState, Store, StoreExt};

use super::cli::Cli;
use crate::faults::follower::Follower;
use crate::faults::writer::{DIR, mark};
use crate::faults::{Backend, open_plain, soon, stored, timed, until};
use crate::harness::consul::{Consul, Options, Server};

const BACKUP: &str = "/libkv/backup";

async fn fill(cli: &Cli<'_>, what: &str, writes: usize) {
    for number in 0..writes {
        cli.set(&format!("{DIR}/{}", number % 5), format!("{what} {number}").as_bytes()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_loses_the_locks_and_is_told_to_watches() {
    let server = Server::start(Options::default()).await;
    let (cli, store) = (Cli::of(&server), open_plain::<Consul>(&[server.endpoint()]).await);
    fill(&cli, "old", 20).await;
    server.exec(&["consul", "snapshot", "save", BACKUP]).await.text();
    fill(&cli, "new", 33).await;
    cli.set(&format!("{DIR}/later"), b"new").await;

    let follower = Follower::watch(&store);
    follower.until_begun().await;
    follower.assert_state(&Consul::below(&server, &format!("{DIR}/")).await);
    store.put_opts(&key("e"), "v".into(), Lifetime::Ephemeral.into()).await.unwrap();
    let guard = store.new_lock("k", LockOptions::default()).unwrap().lock().await.unwrap();
    let lost = guard.lost();

    // The server goes on while its state is replaced.
    server.exec(&["consul", "snapshot", "restore", BACKUP]).await.text();
    let (reason, took) = timed(soon("the lock is lost", lost)).await;
    println!("the lock was lost after {took:?}: {reason}");
    assert_eq!(reason.kind(), ErrorKind::LockLost);
    assert!(!guard.is_held());
    assert_eq!(guard.unlock().await.unwrap_err().kind(), ErrorKind::LockLost);
    let told = follower.until("the rewind is told", |told| !told.resyncs.is_empty());
    println!("and the watch was told {:?} later", timed(told).await.1);
    follower.until_marked(&mark(&store).await).await;
    follower.assert_state(&Consul::below(&server, &format!("{DIR}/")).await);
    follower.look(|told| {
        assert_eq!(told.resyncs, [(ResyncReason::HistoryRewound, false)]);
        assert!(!told.state.contains_key(&key(&format!("{DIR}/later"))));
    });
    // The backup knows nothing of the session.
    until("there is a new session", async || {
        let again = store.put_opts(&key("e"), "v".into(), Lifetime::Ephemeral.into()).await;
        again.is_ok() && stored(&server, "e").await.is_some()
    })
    .await;
    assert_eq!(store.state().get(), SessionState::Connected);
}
