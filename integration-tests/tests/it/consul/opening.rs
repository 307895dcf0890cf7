//! Opening a store.

use libkv_core::{ErrorKind, Store, StoreExt};

use super::{Plain, open_url};
use crate::harness::consul::{Cluster, Options};
use crate::harness::{consul, etcd};
use crate::servers::{opening, until};

/// Consul has no users.
#[tokio::test]
async fn a_url_names_hosts_a_root_and_parameters() {
    opening::a_url_names_hosts_a_root_and_parameters::<Plain>("").await;
}

#[tokio::test]
async fn opening_looks_for_an_agent_within_its_time_unless_it_is_lazy() {
    opening::opening_looks_for_a_server_within_its_time_unless_it_is_lazy::<Plain>().await;
}

/// Something else that speaks HTTP is no Consul, and stays none.
#[tokio::test]
async fn what_is_not_consul_is_told_at_once() {
    let other = etcd::shared().await.endpoint();
    let error = open_url(&format!("consul://{other}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other, "{error}");
    assert!(error.to_string().contains("look whether it is Consul"), "{error}");
    assert!(!error.is_transient(), "{error}");
    let lazy = open_url(&format!("consul://{other}?lazy=true")).await.unwrap();
    for error in [
        lazy.get("a").await.unwrap_err(),
        lazy.list("a").await.unwrap_err(),
        lazy.put("a", "1").await.unwrap_err(),
    ] {
        assert!(error.changed_nothing() && !error.is_transient(), "{error}");
        assert!(error.to_string().contains("look whether it is Consul"), "{error}");
    }
}

#[tokio::test]
async fn a_datacenter_that_is_not_there_is_told_at_once() {
    let endpoint = consul::shared().await.endpoint();
    let error = open_url(&format!("consul://{endpoint}?dc=nowhere")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert!(error.to_string().contains("knows no such datacenter"), "{error}");
    assert!(!error.is_transient(), "{error}");
    let lazy = open_url(&format!("consul://{endpoint}?dc=nowhere&lazy=true")).await.unwrap();
    for error in [lazy.get("a").await.unwrap_err(), lazy.put("a", "1").await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert!(error.changed_nothing(), "{error}");
    }
    // That of the agent may be named as well as not.
    let here = open_url(&format!("consul://{endpoint}?dc=dc1")).await.unwrap();
    assert!(!here.exists("nothing at all").await.unwrap());
}

/// The one that is left knows no leader, until the other is back.
#[tokio::test]
async fn without_a_leader_a_store_is_not_opened_and_a_lazy_one_waits_for_it() {
    // An agent waits for a leader before it says that there is none.
    let hold = "performance { rpc_hold_timeout = \"10ms\" }";
    let cluster = Cluster::start_with(2, Options::default().with_hcl(hold)).await;
    let (left, gone) = (&cluster.endpoints()[0], cluster.member(1));
    gone.kill().await;
    let url = format!("consul://{left}?connection_timeout=1s&operation_timeout=2s");
    let says_so = async || match open_url(&url).await {
        // A leader notices only after a while that it leads nobody.
        Ok(_) => false,
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            error.kind() == ErrorKind::NotReachable && error.to_string().contains("has no leader")
        }
    };
    until("the agent says that it has no leader", says_so).await;
    let lazy = open_url(&format!("{url}&lazy=true")).await.unwrap();
    let says_so = async || {
        let error = lazy.put("a", "1").await.unwrap_err();
        // The last of its tries may have had no time for an answer.
        let known = error.kind() == ErrorKind::NotReachable;
        assert!(known || error.kind() == ErrorKind::OutcomeUnknown, "{error}");
        assert_eq!((error.changed_nothing(), error.is_transient()), (known, known), "{error}");
        known
    };
    until("a write is told that there is no leader", says_so).await;
    gone.start_again().await;
    until("the store is there", async || lazy.put("a", "2").await.is_ok()).await;
    assert_eq!(lazy.get("a").await.unwrap().value, "2");
    lazy.close().await.unwrap();
}
