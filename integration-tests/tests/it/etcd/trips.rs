//! How often the server is asked, by its own count, and how much it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use libkv_core::{
    DeleteOptions, Expect, Lifetime, LockOptions, Store, StoreExt, Txn, WriteOptions,
};
use libkv_etcd::EtcdStore;

use super::config;
use crate::harness::etcd::{Options, Server};
use crate::harness::proxy::Proxy;
use crate::servers::trips;
use integration_tests::key;

/// How many calls of each method the server has ended, of those that are a request and an answer,
/// and how many requests it got on the others.
pub(super) async fn calls(server: &Server) -> BTreeMap<String, u64> {
    let metrics = server.metrics().await;
    let mut calls = BTreeMap::new();
    for line in metrics.lines() {
        let unary = line.starts_with("grpc_server_handled_total{") && line.contains("\"unary\"");
        let streamed =
            line.starts_with("grpc_server_msg_received_total{") && !line.contains("\"unary\"");
        if !(unary || streamed) {
            continue;
        }
        let (_, method) = line.split_once("grpc_method=\"").expect("a method");
        let (method, _) = method.split_once('"').expect("a method");
        let (_, count) = line.rsplit_once(' ').expect("a count");
        *calls.entry(method.to_owned()).or_default() += count.parse::<u64>().expect("a count");
    }
    calls
}

/// What the server was asked meanwhile.
async fn asked<T>(server: &Server, doing: impl Future<Output = T>) -> (T, Vec<(String, u64)>) {
    let before = calls(server).await;
    let done = doing.await;
    let after = calls(server).await;
    let more = |(method, count): (String, u64)| {
        let more = count - before.get(&method).copied().unwrap_or_default();
        (more > 0).then_some((method, more))
    };
    (done, after.into_iter().filter_map(more).collect())
}

fn once(method: &str) -> Vec<(String, u64)> {
    vec![(method.to_owned(), 1)]
}

#[tokio::test]
async fn each_operation_is_one_exchange() {
    let server = Server::start(Options::default()).await;
    let store = EtcdStore::open(config(&[server.endpoint()])).await.unwrap();
    // Connections are made once.
    store.put("a", "1").await.unwrap();
    store.list("d").await.unwrap_err();

    let (put, by) = asked(&server, store.put("a", "2")).await;
    assert_eq!(by, once("Put"));
    let version = put.unwrap();
    let (pair, by) = asked(&server, store.get("a")).await;
    assert_eq!(by, once("Range"));
    assert_eq!(pair.unwrap().version, version);
    let (there, by) = asked(&server, store.exists("a")).await;
    assert_eq!((there.unwrap(), by), (true, once("Range")));
    let (absent, by) = asked(&server, store.get("absent")).await;
    assert!(absent.is_err());
    assert_eq!(by, once("Range"));

    let pair = store.get("a").await.unwrap();
    let (replaced, by) = asked(&server, store.atomic_put("a", "3", Some(&pair))).await;
    assert_eq!(by, once("Txn"));
    replaced.unwrap();
    // Why one failed comes with its answer.
    let (stale, by) = asked(&server, store.atomic_put("a", "4", Some(&pair))).await;
    assert!(stale.is_err());
    assert_eq!(by, once("Txn"));
    let (created, by) = asked(&server, store.atomic_put("b", "1", None)).await;
    assert_eq!(by, once("Txn"));
    let created = created.unwrap();
    let (present, by) = asked(&server, store.atomic_put("b", "1", None)).await;
    assert!(present.is_err());
    assert_eq!(by, once("Txn"));
    let expected = DeleteOptions::default().with_expect(Expect::Version(created.version));
    let (deleted, by) = asked(&server, store.delete_opts(&key("b"), expected)).await;
    assert_eq!(by, once("Txn"));
    deleted.unwrap();
    let (deleted, by) = asked(&server, store.delete("a")).await;
    assert_eq!(by, once("DeleteRange"));
    deleted.unwrap();
    let (absent, by) = asked(&server, store.delete("a")).await;
    assert!(absent.is_err());
    assert_eq!(by, once("DeleteRange"));

    for at in 0..10 {
        store.put(format!("d/{at}"), "1").await.unwrap();
    }
    let (listed, by) = asked(&server, store.list("d")).await;
    assert_eq!((listed.unwrap().len(), by), (10, once("Range")));
    let (deleted, by) = asked(&server, store.delete_tree("d")).await;
    assert_eq!(by, once("Txn"));
    deleted.unwrap();
}

#[tokio::test]
async fn a_transaction_is_one_exchange() {
    let server = Server::start(Options::default()).await;
    let store = EtcdStore::open(config(&[server.endpoint()])).await.unwrap();
    let lock = store.new_lock("lock", LockOptions::default().with_ttl(Duration::from_secs(600)));
    let guard = lock.unwrap().lock().await.unwrap();
    let version = store.put("a", "1").await.unwrap();
    let full = || {
        let txn = Txn::new().require_version("a", version)?.require_absent("b")?;
        let txn = txn.require_exists("a")?.fence(guard.fence()).delete("absent")?;
        (0..100).try_fold(txn.put("a", "2")?, |txn, at| txn.put(format!("k{at}"), "1"))
    };
    let (done, by) = asked(&server, store.txn(full().unwrap())).await;
    assert_eq!(by, once("Txn"));
    assert_eq!(done.unwrap().versions.len(), 101);
    // One that is refused says which compare failed, without asking again.
    let (refused, by) = asked(&server, store.txn(full().unwrap())).await;
    assert_eq!(by, once("Txn"));
    assert_eq!(refused.unwrap_err().key(), Some(&key("a")));
    let compares = Txn::new().require_exists("a").unwrap();
    let (done, by) = asked(&server, store.txn(compares)).await;
    assert_eq!(by, once("Txn"));
    done.unwrap();

    // Once there is a session, its keys cost no more; a time to live is a lease and so a second one.
    let ephemeral = || WriteOptions::from(Lifetime::Ephemeral);
    store.put_opts(&key("e"), "1".into(), ephemeral()).await.unwrap();
    let bound = Txn::new().put_with("e", "2", Lifetime::Ephemeral).unwrap();
    let (done, by) = asked(&server, store.txn(bound)).await;
    assert_eq!(by, once("Txn"));
    done.unwrap();
    let (done, by) = asked(&server, store.put_opts(&key("e"), "3".into(), ephemeral())).await;
    assert_eq!(by, once("Put"));
    done.unwrap();
    let ttl = WriteOptions::default().with_ttl(Duration::from_secs(60));
    let (done, by) = asked(&server, store.put_opts(&key("t"), "1".into(), ttl)).await;
    assert_eq!(by, [("LeaseGrant".to_owned(), 1), ("Put".to_owned(), 1)]);
    done.unwrap();
}

#[tokio::test]
async fn exists_moves_no_value() {
    let server = Server::start(Options::default()).await;
    let proxy = Proxy::start(server.endpoint()).await;
    let store = EtcdStore::open(config(&[proxy.addr()])).await.unwrap();
    trips::exists_moves_no_value(&store, &proxy).await;
}
