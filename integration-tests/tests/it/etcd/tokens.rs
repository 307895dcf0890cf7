//! Tokens end every few seconds, and nothing else does.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use integration_tests::{Watcher, key};
use libkv_core::{
    Event, Key, Lifetime, LockOptions, SessionState, Store, StoreExt, Txn, WriteOptions,
};
use libkv_etcd::EtcdStore;

use super::config;
use super::etcdctl::PATIENCE;
use super::users::{make_user, root, start_with_users};
use crate::harness::etcd::Options;

/// How long a token lives, and how often it ends.
const LIFE: Duration = Duration::from_secs(2);
const LIVES: u32 = 4;

/// The server looks for what is over every so often, and a token ends a moment late.
const MARGIN: Duration = Duration::from_millis(1_200);

/// A token of the simple kind ends when it was not used for its life.
#[tokio::test]
async fn everything_goes_on_over_several_lives_of_unused_tokens() {
    goes_on(Options::default().with_flag("--auth-token-ttl=2"), LIFE + MARGIN).await;
}

/// A signed token ends when its time is over, and when the server's users are changed.
#[tokio::test]
async fn everything_goes_on_over_several_lives_of_signed_tokens() {
    let signed = "--auth-token=jwt,priv-key=/etc/hostname,sign-method=HS256,ttl=2s";
    goes_on(Options::default().with_flag(signed), LIFE / 2).await;
}

async fn goes_on(options: Options, idle: Duration) {
    let server = start_with_users(options).await;
    make_user(&server, "ann", "secret", &["ann/"]).await;
    let config = config(&[server.endpoint()]);
    let common = config.common.clone().with_root(key("ann")).with_ephemeral_ttl(LIFE);
    let common = common.with_credentials(libkv_core::Credentials::new("ann", "secret"));
    let store = EtcdStore::open(config.with_common(common)).await.unwrap();
    let mut watch = Watcher::new(store.watch_tree(Key::root()).unwrap(), PATIENCE);
    watch.until_synced().await;

    let ephemeral = || WriteOptions::from(Lifetime::Ephemeral);
    store.put_opts(&key("session"), "1".into(), ephemeral()).await.unwrap();
    let session = root(&server).get("ann/session").await.unwrap().lease;
    let mut state = store.state();
    // From here on it changes no more.
    assert!(state.wait_for(SessionState::Connected).await);
    let _ = state.changed().now_or_never();
    let long = WriteOptions::default().with_ttl(Duration::from_secs(60));
    store.put_opts(&key("ttl"), "1".into(), long).await.unwrap();
    let short = LockOptions::default().with_ttl(LIFE);
    let guard = store.new_lock("held", short.clone()).unwrap().lock().await.unwrap();
    let mut lost = Box::pin(guard.lost());
    let mut expected = vec!["session".to_owned(), "ttl".to_owned()];

    let begun = Instant::now();
    for round in 0.. {
        if begun.elapsed() > LIVES * LIFE {
            break;
        }
        // Only time ends a token.
        tokio::time::sleep(idle).await;
        if round % 2 == 1 {
            // Every token is older than the users now.
            root(&server).run(&["role", "add", &format!("role{round}")]).await;
        }
        // In each round another is the first to find that the token is gone.
        let name = format!("round{round}");
        for step in 0..5 {
            match (round + step) % 5 {
                0 => drop(store.put(&name, "1").await.unwrap()),
                1 => drop(store.list(Key::root()).await.unwrap()),
                2 => {
                    let mut second = Watcher::new(store.watch("ttl").unwrap(), PATIENCE);
                    assert_eq!(second.until_synced().await.1.len(), 1);
                }
                3 => {
                    let lock = store.new_lock("taken", short.clone()).unwrap();
                    lock.lock().await.unwrap().unlock().await.unwrap();
                }
                _ => {
                    let key = key("session");
                    store.put_opts(&key, name.clone().into(), ephemeral()).await.unwrap();
                }
            }
        }
        let pair = store.get(&name).await.unwrap();
        let pair = store.atomic_put(&name, "2", Some(&pair)).await.unwrap();
        let txn = Txn::new().require_version(&name, pair.version).unwrap();
        store.txn(txn.fence(guard.fence()).put(&name, "3").unwrap()).await.unwrap();
        expected.push(name.clone());
        let done = |pair: &libkv_core::KvPair| pair.value == "3";
        while !watch.state.get(&key(&name)).is_some_and(done) {
            let event = watch.next().await;
            assert!(!matches!(event, Event::Delete { .. } | Event::Resync { .. }), "{event:?}");
        }
        assert!(guard.is_held());
        assert_eq!(state.get(), SessionState::Connected);
    }
    assert!((&mut lost).now_or_never().is_none());
    assert_eq!(state.changed().now_or_never(), None);
    assert_eq!(root(&server).get("ann/session").await.unwrap().lease, session);
    let listed = store.list(Key::root()).await.unwrap();
    let mut listed: Vec<_> = listed.iter().map(|pair| pair.key.to_string()).collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    guard.unlock().await.unwrap();
    store.close().await.unwrap();
}
