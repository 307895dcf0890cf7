//! A connection that is being made while the way to the server is not there yet.

use futures_util::FutureExt;
use libkv_core::{ErrorKind, LockOptions, StoreExt};
use libkv_etcd::EtcdStore;

use super::disturbed::{open, soon, until};
use crate::harness::etcd;
use crate::harness::proxy::{Flow, Proxy};

/// A way to the server on which connections of now are taken and get no answer, ever. Those that
/// are made after [`mend`](Self::mend) get one.
struct Way {
    proxy: Proxy,
    _silent: Proxy,
}

impl Way {
    async fn broken() -> Self {
        let silent = Proxy::start(etcd::shared().await.endpoint()).await;
        silent.set_both(Flow::Stall);
        Self { proxy: Proxy::start(silent.addr()).await, _silent: silent }
    }

    async fn mend(&self) {
        self.proxy.set_target(etcd::shared().await.endpoint());
    }

    async fn store(&self) -> EtcdStore {
        open(&[self.proxy.addr()], |config| config.lazy = true).await
    }

    /// Waits until somebody tries to connect.
    async fn is_tried(&self) {
        until("it is tried to connect", async || self.proxy.accepted() > 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_to_connect_that_stays_silent_is_not_all_there_is() {
    let top = format!("connecting/{:016x}", fastrand::u64(..));
    for what in ["put", "list", "lock"] {
        let way = Way::broken().await;
        let (store, top, key) = (way.store().await, top.clone(), format!("{top}/{what}"));
        let calling = tokio::spawn(async move {
            match what {
                "put" => store.put(key, "").await.map(drop),
                "list" => store.list(top).await.map(drop),
                _ => {
                    let lock = store.new_lock(key, LockOptions::default())?;
                    lock.lock().await?.unlock().await
                }
            }
        });
        way.is_tried().await;
        way.mend().await;
        soon("it ends", calling).await.unwrap().expect(what);
    }
}

/// A call that comes while others wait for a connection is not told what they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_does_not_end_with_a_try_to_connect_from_before_it() {
    let way = Way::broken().await;
    let store = way.store().await;
    let early = tokio::spawn({
        let store = store.clone();
        async move { store.get("x").await }
    });
    way.is_tried().await;
    let key = format!("connecting/{:016x}", fastrand::u64(..));
    let mut late = Box::pin(store.put(key, ""));
    assert!((&mut late).now_or_never().is_none(), "it waits for the same connection");
    let error = soon("the first call ends", early).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    way.mend().await;
    late.await.expect("the server is there, and there is time left");
}
