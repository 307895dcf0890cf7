//! What a write claims is what happened, wherever its bytes are cut off.

pub(crate) mod locks;
pub(crate) mod writes;

use std::time::Duration;

use libkv_core::{Config, ErrorKind, Lifetime, LockGuard, PemSource, Store, StoreExt, TlsConfig};

use self::writes::{Attempt, Counts, Step};
use super::{Backend, until};
use crate::harness::certificates::Authority;
use crate::harness::proxy::{Direction, Flow, Proxy};

/// More bytes than ever pass, for a cut that never comes.
const NEVER: u64 = u64::MAX;

/// What a server itself says of its keys, by a way of its own.
pub(crate) trait Truth {
    /// Puts a key, and returns its index.
    async fn put(&self, name: &str, value: &str) -> u64;

    async fn delete(&self, name: &str);

    async fn found(&self, name: &str) -> Option<Found>;

    async fn is_empty(&self, prefix: &str) -> bool;

    /// The lock on a key is held by this guard, with the value `holder`.
    async fn assert_held(&self, name: &str, guard: &LockGuard);
}

/// A key as the server has it.
#[derive(Debug)]
pub(crate) struct Found {
    /// How often it was put since it was made, as far as the server counts.
    pub(crate) puts: u64,
    pub(crate) index: u64,
}

/// Has all connections there, after those of before were cut.
async fn connect(step: Step, store: &dyn Store, truth: &impl Truth) {
    until("the connections are there", async || {
        Attempt::prepare(step, "warm", truth).await.run(store).await.error().is_none()
    })
    .await;
}

/// Judges all attempts, once what was on its way has come: it is before the marker.
async fn count(attempts: &[Attempt], truth: &impl Truth) -> Counts {
    truth.put("marker", "").await;
    let mut counts = Counts::default();
    for attempt in attempts {
        counts.add(attempt.judge(truth).await);
    }
    println!("{} cuts: {counts:?}", attempts.len());
    counts
}

/// `each` is called around each write, with whether it is over.
pub(crate) async fn what_a_write_claims_is_true_wherever_it_is_cut(
    store: &dyn Store,
    proxy: &Proxy,
    truth: &impl Truth,
    each: impl Fn(bool),
) {
    let mut attempts = Vec::new();
    for step in Step::ALL {
        for direction in Direction::BOTH {
            // What it takes where it is not cut, on connections that are there.
            connect(step, store, truth).await;
            let before = proxy.bytes(direction);
            Attempt::prepare(step, "measured", truth).await.run(store).await.expect_ok();
            let length = proxy.bytes(direction) - before;
            // A little more than that: the last byte may be cut too, and none at all.
            for bytes in (1..length + length / 4).step_by(step.stride(length)) {
                let name = format!("{direction:?}/{bytes}");
                let attempt = Attempt::prepare(step, &name, truth).await;
                connect(step, store, truth).await;
                each(false);
                proxy.cut_after(direction, bytes);
                attempts.push(attempt.run(store).await);
                proxy.cut_after(direction, NEVER);
                each(true);
            }
        }
    }
    let counts = count(&attempts, truth).await;
    // All there is to be mistaken about was there.
    assert!(counts.done > 20 && counts.unknown_and_done > 20 && counts.unknown_and_not > 20);
}

pub(crate) async fn what_a_write_claims_is_true_where_its_connection_is_cut_while_it_is_made(
    store: &dyn Store,
    proxy: &Proxy,
    truth: &impl Truth,
) {
    let mut attempts = Vec::new();
    for direction in Direction::BOTH {
        for bytes in (1..500).step_by(9) {
            let name = format!("made/{direction:?}/{bytes}");
            let attempt = Attempt::prepare(Step::Put, &name, truth).await;
            // The handle knows that its connection is gone once a read has found out.
            proxy.refuse().await;
            proxy.reset();
            store.get("x").await.unwrap_err();
            proxy.accept().await;
            proxy.cut_after(direction, bytes);
            attempts.push(attempt.run(store).await);
            proxy.cut_after(direction, NEVER);
        }
    }
    let counts = count(&attempts, truth).await;
    assert!(counts.done > 0 && counts.unknown_and_not > 0 && counts.unknown_and_done > 0);
}

pub(crate) async fn a_refused_connection_means_that_nothing_was_sent(
    store: &dyn Store,
    proxy: &Proxy,
    truth: &impl Truth,
) {
    let mut attempts = Vec::new();
    for step in Step::ALL {
        attempts.push(Attempt::prepare(step, "refused", truth).await);
    }
    proxy.refuse().await;
    proxy.reset();
    let error = store.get("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotReachable, "{error}");
    let sent = proxy.bytes(Direction::ToServer);
    let mut tried = Vec::new();
    for attempt in attempts {
        let attempt = attempt.run(store).await;
        let error = attempt.error().expect("nobody is there");
        assert_eq!(error.kind(), ErrorKind::NotReachable, "{error}");
        assert!(error.changed_nothing() && error.is_transient());
        tried.push(attempt);
    }
    proxy.accept().await;
    assert_eq!(proxy.bytes(Direction::ToServer), sent);
    for attempt in tried {
        attempt.judge(truth).await;
    }
}

/// With TLS a server that takes the connection and says nothing is noticed before anything is sent.
pub(crate) async fn a_timeout_before_there_is_a_connection_means_that_nothing_was_sent<
    B: Backend,
>() {
    let proxy = Proxy::start(B::shared().await).await;
    proxy.set_both(Flow::Stall);
    let tls = TlsConfig::default().with_ca(PemSource::Bytes(Authority::new().pem().into()));
    let common = Config::default().with_tls(tls).with_lazy();
    let common = common.with_operation_timeout(Duration::from_millis(500));
    let store = B::open(&proxy.addr(), common).await.unwrap();
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
