//! The server's history goes back, as when a backup is restored.

use integration_tests::key;
use libkv_core::{ErrorKind, Lifetime, LockOptions, ResyncReason, SessionState, Store, StoreExt};

use super::disturbed::{Truth, open_plain, server_and_proxy, soon, until};

use crate::faults::follower::Follower;
use crate::faults::writer::{DIR, mark};
use crate::harness::etcd::{Options, Server};
use crate::harness::proxy::Proxy;

/// A key that was put and changed: its value now says which history it is of.
async fn fill(truth: &Truth, what: &str, writes: usize) {
    for number in 0..writes {
        truth.put(&format!("{DIR}/{}", number % 5), format!("{what} {number}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_loses_the_locks_and_is_told_to_watches() {
    let (server, proxy) = server_and_proxy().await;
    let truth = Truth::at(&server.endpoint()).await;
    fill(&truth, "old", 20).await;
    let save = "etcdctl snapshot save /libkv/backup && etcdutl snapshot restore /libkv/backup \
                --data-dir /libkv/restored";
    server.exec(&["sh", "-c", save]).await.text();
    fill(&truth, "new", 33).await;
    truth.put(&format!("{DIR}/later"), "new").await;

    let store = open_plain(&[proxy.addr()]).await;
    let follower = Follower::watch(&store);
    follower.until_begun().await;
    follower.assert_converged(&truth).await;
    store.put_opts(&key("e"), "v".into(), Lifetime::Ephemeral.into()).await.unwrap();
    let guard = store.new_lock("k", LockOptions::default()).unwrap().lock().await.unwrap();
    let lost = guard.lost();

    server.exec(&["sh", "-c", "cd /libkv && mv data away && mv restored data"]).await.text();
    server.restart().await;
    let reason = soon("the lock is lost", lost).await;
    assert_eq!(reason.kind(), ErrorKind::LockLost);
    assert!(reason.to_string().contains("history"), "{reason}");
    assert!(!guard.is_held());
    assert_eq!(guard.unlock().await.unwrap_err().kind(), ErrorKind::LockLost);
    follower.until("the rewind is told", |told| !told.resyncs.is_empty()).await;
    let direct = open_plain(&[server.endpoint()]).await;
    follower.until_marked(&mark(&direct).await).await;
    let truth = Truth::at(&server.endpoint()).await;
    follower.assert_converged(&truth).await;
    follower.look(|told| {
        assert_eq!(told.resyncs, [(ResyncReason::HistoryRewound, false)]);
        assert!(!told.state.contains_key(&key(&format!("{DIR}/later"))));
    });
    // The backup knows nothing of the session.
    assert!(truth.get("e").await.is_none());
    store.state().wait_for(SessionState::Connected).await;
    until("there is a new session", async || {
        let again = store.put_opts(&key("e"), "v".into(), Lifetime::Ephemeral.into()).await;
        again.is_ok() && truth.get("e").await.is_some()
    })
    .await;
}

/// Another history under the same address: a watch and a lock hear of it.
async fn assert_noticed(options: Options, writes: usize) {
    let (server, other) = (Server::start(Options::default()).await, Server::start(options).await);
    let (truth, theirs) = (Truth::at(&server.endpoint()).await, Truth::at(&other.endpoint()).await);
    fill(&truth, "old", 30).await;
    fill(&theirs, "new", writes).await;
    let proxy = Proxy::start(server.endpoint()).await;
    let store = open_plain(&[proxy.addr()]).await;
    let follower = Follower::watch(&store);
    follower.until_begun().await;
    let guard = store.new_lock("k", LockOptions::default()).unwrap().lock().await.unwrap();
    proxy.set_target(other.endpoint());
    proxy.reset();
    let reason = soon("the lock is lost", guard.lost()).await;
    assert_eq!(reason.kind(), ErrorKind::LockLost);
    assert!(!guard.is_held());
    // Nothing is written until then: a longer history of the same cluster would look like its own.
    follower.until("it is told", |told| !told.resyncs.is_empty()).await;
    let direct = open_plain(&[other.endpoint()]).await;
    follower.until_marked(&mark(&direct).await).await;
    follower.assert_converged(&theirs).await;
    follower.look(|told| {
        assert_eq!(told.resyncs, [(ResyncReason::HistoryRewound, false)]);
    });
}

/// Revisions mean something else there, also where they are the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_history_is_noticed_although_its_revisions_look_the_same() {
    assert_noticed(Options::default(), 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cluster_is_noticed_although_its_history_is_longer() {
    let other = Options::default().with_flag("--initial-cluster-token=another");
    assert_noticed(other, 90).await;
}
