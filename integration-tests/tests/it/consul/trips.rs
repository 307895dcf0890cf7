//! How often an agent is asked, by what passed on the way to it, and how much it answers.

use std::time::Duration;

use integration_tests::key;
use libkv_consul::ConsulStore;
use libkv_core::{DeleteOptions, Expect, Lifetime, Store, StoreExt, Txn, WriteOptions};

use super::config;
use super::requests::requests;
use crate::harness::consul;
use crate::harness::proxy::Proxy;
use crate::servers::{trips, unique};

/// One exchange that writes.
const WRITE: [&str; 1] = ["PUT /v1/txn"];

/// A store of a place of its own, which reaches the shared server by a proxy.
async fn store() -> (ConsulStore, Proxy, String) {
    let proxy = Proxy::start(consul::shared().await.endpoint()).await;
    let top = unique();
    let config = config(&[proxy.addr()]);
    let common = config.common.clone().with_root(key(&top));
    (ConsulStore::open(config.with_common(common)).await.unwrap(), proxy, top)
}

/// What the agent was asked meanwhile.
async fn asked<T>(proxy: &Proxy, doing: impl Future<Output = T>) -> (T, Vec<String>) {
    proxy.record();
    let done = doing.await;
    (done, requests(&proxy.recorded()))
}

#[tokio::test]
async fn each_operation_is_one_exchange() {
    let (store, proxy, top) = store().await;
    let read = |rest: &str| [format!("GET /v1/kv/{top}/{rest}")];
    store.put("a", "1").await.unwrap();

    let (put, by) = asked(&proxy, store.put("a", "2")).await;
    assert_eq!(by, WRITE);
    let version = put.unwrap();
    let (pair, by) = asked(&proxy, store.get("a")).await;
    assert_eq!(by, read("a?consistent"));
    assert_eq!(pair.unwrap().version, version);
    let (there, by) = asked(&proxy, store.exists("a")).await;
    assert_eq!((there.unwrap(), by), (true, vec!["PUT /v1/txn?consistent".to_owned()]));
    let (absent, by) = asked(&proxy, store.get("absent")).await;
    assert!(absent.is_err());
    assert_eq!(by, read("absent?consistent"));

    let pair = store.get("a").await.unwrap();
    let (replaced, by) = asked(&proxy, store.atomic_put("a", "3", Some(&pair))).await;
    assert_eq!(by, WRITE);
    replaced.unwrap();
    // Why one failed comes with its answer.
    let (stale, by) = asked(&proxy, store.atomic_put("a", "4", Some(&pair))).await;
    assert!(stale.is_err());
    assert_eq!(by, WRITE);
    let (created, by) = asked(&proxy, store.atomic_put("b", "1", None)).await;
    assert_eq!(by, WRITE);
    let created = created.unwrap();
    let (present, by) = asked(&proxy, store.atomic_put("b", "1", None)).await;
    assert!(present.is_err());
    assert_eq!(by, WRITE);
    let expected = DeleteOptions::default().with_expect(Expect::Version(created.version));
    let (deleted, by) = asked(&proxy, store.delete_opts(&key("b"), expected)).await;
    assert_eq!(by, WRITE);
    deleted.unwrap();
    let (deleted, by) = asked(&proxy, store.delete("a")).await;
    assert_eq!(by, WRITE);
    deleted.unwrap();
    let (absent, by) = asked(&proxy, store.delete("a")).await;
    assert!(absent.is_err());
    assert_eq!(by, WRITE);

    for at in 0..10 {
        store.put(format!("d/{at}"), "1").await.unwrap();
    }
    let (listed, by) = asked(&proxy, store.list("d")).await;
    assert_eq!(listed.unwrap().len(), 10);
    assert_eq!(by, read("d/?recurse&consistent"));
    let (deleted, by) = asked(&proxy, store.delete_tree("d")).await;
    assert_eq!(by, WRITE);
    deleted.unwrap();
}

#[tokio::test]
async fn a_transaction_is_one_exchange() {
    let (store, proxy, _) = store().await;
    let lock = store.new_lock("lock", Default::default()).unwrap();
    let guard = lock.lock().await.unwrap();
    let version = store.put("a", "1").await.unwrap();
    let full = || {
        let txn = Txn::new().require_version("a", version)?.require_absent("b")?;
        let txn = txn.require_exists("a")?.fence(guard.fence()).delete("absent")?;
        (0..10).try_fold(txn.put("a", "2")?, |txn, at| txn.put(format!("k{at}"), "1"))
    };
    let (done, by) = asked(&proxy, store.txn(full().unwrap())).await;
    assert_eq!(by, WRITE);
    assert_eq!(done.unwrap().versions.len(), 11);
    // One that is refused says which compare failed, without asking again.
    let (refused, by) = asked(&proxy, store.txn(full().unwrap())).await;
    assert_eq!(by, WRITE);
    assert_eq!(refused.unwrap_err().key(), Some(&key("a")));
    guard.unlock().await.unwrap();
    store.delete_tree(libkv_core::Key::root()).await.unwrap();
}

/// The session of a handle is made once; a key with a time of its own has one of its own. Who takes a
/// key from a session has to look at it.
#[tokio::test]
async fn a_lifetime_costs_a_session_and_leaving_it_a_look() {
    let (store, proxy, top) = store().await;
    let ephemeral = || WriteOptions::from(Lifetime::Ephemeral);
    let made = ["PUT /v1/session/create", "PUT /v1/txn"];
    let (put, by) = asked(&proxy, store.put_opts(&key("e"), "1".into(), ephemeral())).await;
    assert_eq!(by, made);
    put.unwrap();
    let (put, by) = asked(&proxy, store.put_opts(&key("e"), "2".into(), ephemeral())).await;
    assert_eq!(by, WRITE);
    put.unwrap();
    let bound = Txn::new().put_with("e2", "3", Lifetime::Ephemeral).unwrap();
    let (done, by) = asked(&proxy, store.txn(bound)).await;
    assert_eq!(by, WRITE);
    done.unwrap();
    let ttl = WriteOptions::default().with_ttl(Duration::from_secs(60));
    let (put, by) = asked(&proxy, store.put_opts(&key("t"), "1".into(), ttl)).await;
    assert_eq!(by, made);
    put.unwrap();
    let (put, by) = asked(&proxy, store.put("e", "4")).await;
    // What becomes of the session is nobody's business who waits for the put.
    assert_eq!(by[..3], ["PUT /v1/txn", &*format!("GET /v1/kv/{top}/e?consistent"), "PUT /v1/txn"]);
    put.unwrap();
    store.delete_tree(libkv_core::Key::root()).await.unwrap();
}

#[tokio::test]
async fn exists_moves_no_value() {
    let (store, proxy, _) = store().await;
    trips::exists_moves_no_value(&store, &proxy).await;
    store.delete("large").await.unwrap();
}
