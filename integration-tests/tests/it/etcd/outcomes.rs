//! What a write claims is what happened, wherever its bytes are cut off.

mod locks;
mod writes;

use std::time::Duration;

use libkv_core::{Config, ErrorKind, Lifetime, PemSource, Store, StoreExt, TlsConfig};
use libkv_etcd::EtcdStore;

use self::writes::{Attempt, Step};
use super::disturbed::{Truth, open, open_plain, server_and_proxy, until};
use crate::harness::certificates::Authority;
use crate::harness::proxy::{Direction, Flow};

/// More bytes than ever pass, for a cut that never comes.
const NEVER: u64 = u64::MAX;

/// Has all connections there, after those of before were cut.
async fn connect(step: Step, store: &EtcdStore, truth: &Truth) {
    until("the connections are there", async || {
        Attempt::prepare(step, "warm", truth).await.run(store).await.error().is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_write_claims_is_true_wherever_it_is_cut() {
    let (server, proxy) = server_and_proxy().await;
    let (store, truth) = (open_plain(&[proxy.addr()]).await, Truth::at(&server.endpoint()).await);
    let mut attempts = Vec::new();
    for step in Step::ALL {
        for direction in Direction::BOTH {
            // What it takes where it is not cut, on connections that are there.
            connect(step, &store, &truth).await;
            let before = proxy.bytes(direction);
            Attempt::prepare(step, "measured", &truth).await.run(&store).await.expect_ok();
            let length = proxy.bytes(direction) - before;
            // A little more than that: the last byte may be cut too, and none at all.
            for bytes in (1..length + length / 4).step_by(step.stride(length)) {
                let name = format!("{direction:?}/{bytes}");
                let attempt = Attempt::prepare(step, &name, &truth).await;
                connect(step, &store, &truth).await;
                proxy.cut_after(direction, bytes);
                attempts.push(attempt.run(&store).await);
                proxy.cut_after(direction, NEVER);
            }
        }
    }
    // What was on its way has come by now, and is behind this.
    truth.put("marker", "").await;
    let mut counts = writes::Counts::default();
    for attempt in &attempts {
        counts.add(attempt.judge(&truth).await);
    }
    println!("{} cuts: {counts:?}", attempts.len());
    // All there is to be mistaken about was there.
    assert!(counts.done > 20 && counts.unknown_and_done > 20 && counts.unknown_and_not > 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_write_claims_is_true_where_its_connection_is_cut_while_it_is_made() {
    let (server, proxy) = server_and_proxy().await;
    let (store, truth) = (open_plain(&[proxy.addr()]).await, Truth::at(&server.endpoint()).await);
    let mut attempts = Vec::new();
    for direction in Direction::BOTH {
        for bytes in (1..500).step_by(9) {
            let name = format!("made/{direction:?}/{bytes}");
            let attempt = Attempt::prepare(Step::Put, &name, &truth).await;
            // The handle knows that its connection is gone once a read has found out.
            proxy.refuse().await;
            proxy.reset();
            store.get("x").await.unwrap_err();
            proxy.accept().await;
            proxy.cut_after(direction, bytes);
            attempts.push(attempt.run(&store).await);
            proxy.cut_after(direction, NEVER);
        }
    }
    truth.put("marker", "").await;
    let mut counts = writes::Counts::default();
    for attempt in &attempts {
        counts.add(attempt.judge(&truth).await);
    }
    println!("{} cuts: {counts:?}", attempts.len());
    assert!(counts.done > 0 && counts.unknown_and_not > 0 && counts.unknown_and_done > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_means_that_nothing_was_sent() {
    let (server, proxy) = server_and_proxy().await;
    let (store, truth) = (open_plain(&[proxy.addr()]).await, Truth::at(&server.endpoint()).await);
    let mut attempts = Vec::new();
    for step in Step::ALL {
        attempts.push(Attempt::prepare(step, "refused", &truth).await);
    }
    proxy.refuse().await;
    proxy.reset();
    let error = store.get("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotReachable, "{error}");
    let sent = proxy.bytes(Direction::ToServer);
    let mut tried = Vec::new();
    for attempt in attempts {
        let attempt = attempt.run(&store).await;
        let error = attempt.error().expect("nobody is there");
        assert_eq!(error.kind(), ErrorKind::NotReachable, "{error}");
        assert!(error.changed_nothing() && error.is_transient());
        tried.push(attempt);
    }
    proxy.accept().await;
    assert_eq!(proxy.bytes(Direction::ToServer), sent);
    for attempt in tried {
        attempt.judge(&truth).await;
    }
}

/// With TLS a server that takes the connection and says nothing is noticed before anything is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_before_there_is_a_connection_means_that_nothing_was_sent() {
    let (_server, proxy) = server_and_proxy().await;
    proxy.set_both(Flow::Stall);
    let tls = |config: &mut Config| {
        let ca = PemSource::Bytes(Authority::new().pem().into());
        let mut tls = TlsConfig::default();
        tls.ca = Some(ca);
        config.tls = Some(tls);
        config.lazy = true;
        config.operation_timeout = Duration::from_millis(500);
    };
    let store = open(&[proxy.addr()], tls).await;
    let (late, ephemeral) = (ErrorKind::Timeout, Lifetime::Ephemeral.into());
    let key = integration_tests::key("k");
    for error in [
        store.put("k", "v").await.unwrap_err(),
        store.put_opts(&key, "v".into(), ephemeral).await.unwrap_err(),
        store.delete("k").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), late, "{error}");
        assert!(error.changed_nothing());
    }
    assert!(proxy.accepted() > 0);
    assert_eq!(proxy.bytes(Direction::ToServer), 0);
}
