//! Opening a store.

use std::time::{Duration, Instant};

use libkv_core::{ErrorKind, Key, StoreExt};

use super::{Backend, PATIENCE, unique};
use crate::harness::proxy::{Flow, Proxy};

/// A port of this machine where nobody listens.
const NOBODY: &str = "127.0.0.1:1";

/// `user` is what may stand before the hosts on a server that asks nobody.
pub(crate) async fn a_url_names_hosts_a_root_and_parameters<B: Backend>(user: &str) {
    let (scheme, endpoint, top) = (B::SCHEME, B::shared().await, unique());
    // The first host is not there.
    let url = format!("{scheme}://{user}{NOBODY},{endpoint}/{top}/y?operation_timeout=7s");
    let store = B::open_url(&url).await.unwrap();
    store.put("a", "1").await.unwrap();
    let above = B::open_url(&format!("{scheme}://{endpoint}/{top}")).await.unwrap();
    assert_eq!(above.get("y/a").await.unwrap().value, "1");
    assert_eq!(store.to_string(), format!("{scheme}://{NOBODY},{endpoint}/{top}/y"));
    above.delete_tree(Key::root()).await.unwrap();
    let error = B::open_url(&format!("{scheme}://{endpoint}/{top}?operation_timout=7s")).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
}

pub(crate) async fn opening_looks_for_a_server_within_its_time_unless_it_is_lazy<B: Backend>() {
    let limit = Duration::from_secs(2);
    let (name, proxy) = (B::SCHEME, Proxy::start(B::shared().await).await);
    let at = proxy.addr();
    for (stalls, kind) in [(false, ErrorKind::NotReachable), (true, ErrorKind::Timeout)] {
        if stalls {
            proxy.set_both(Flow::Stall);
        }
        let host = if stalls { &*at } else { NOBODY };
        for (scheme, hosts) in [
            (name.to_owned(), host.to_owned()),
            (format!("{name}s"), host.to_owned()),
            (name.to_owned(), format!("{host},{host}")),
        ] {
            let url = format!("{scheme}://{hosts}?connection_timeout=2s&operation_timeout=2s");
            let begun = Instant::now();
            let error = B::open_url(&url).await.expect_err(&url);
            let took = begun.elapsed();
            assert_eq!(error.kind(), kind, "{url}: {error}");
            assert!(error.is_transient(), "{url}: {error}");
            // Less than two hosts would take one after the other, and what a busy machine adds.
            assert!(took < limit * 2, "{url}: {took:?}");
            let lazy = B::open_url(&format!("{url}&lazy=true")).await.expect(&url);
            let error = lazy.get("a").await.expect_err(&url);
            assert_eq!(error.kind(), kind, "{url}: {error}");
        }
    }
    // A lazy store is there as soon as its server is.
    let lazy = B::open_url(&format!("{name}://{at}?lazy=true&operation_timeout=1s")).await.unwrap();
    assert_eq!(lazy.get("a").await.unwrap_err().kind(), ErrorKind::Timeout);
    proxy.set_both(Flow::Pass);
    let there = tokio::time::timeout(PATIENCE, lazy.exists("nothing at all")).await;
    assert!(!there.unwrap().unwrap());
    lazy.close().await.unwrap();
}
