//! Callers side by side, more than a server takes connections of one machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use libkv_consul::ConsulStore;
use libkv_core::{Lifetime, SessionState, Store, StoreExt};

use super::{begin, most};
use crate::consul::config;
use crate::harness::consul::{Options, Server};

const CALLERS: usize = 256;
const CALLS: usize = 6;
/// Waiting in line is no failure.
const PATIENT: Duration = Duration::from_secs(60);

/// Calls by all callers, each of which must go well, and returns how many connections there were.
async fn call_much(server: &Server, max_connections: usize) -> usize {
    let mut config = config(&[server.endpoint()]).with_max_connections(max_connections);
    config.common.operation_timeout = PATIENT;
    let store = ConsulStore::open(config).await.unwrap();
    // A session is renewed meanwhile, and a watch hears.
    let ephemeral = Lifetime::Ephemeral.into();
    store.put_opts(&integration_tests::key("e"), "v".into(), ephemeral).await.unwrap();
    let mut events = begin(store.watch_tree("last").unwrap()).await;
    let enough = Arc::new(AtomicBool::new(false));
    let calling = async {
        join_all((0..CALLERS).map(|caller| call(store.clone(), caller))).await;
        enough.store(true, Ordering::Relaxed);
    };
    let counting = most(enough.clone(), async || server.connections().await);
    let ((), connections) = tokio::join!(calling, counting);
    for _ in 0..CALLERS {
        events.next().await.unwrap().unwrap();
    }
    assert_eq!(store.list("k").await.unwrap().len(), CALLERS * CALLS / 2);
    assert_eq!(store.state().get(), SessionState::Connected);
    println!("{CALLERS} callers by {connections} connections");
    connections
}

/// Reads and writes, each other key deleted again.
async fn call(store: ConsulStore, caller: usize) {
    for number in 0..CALLS {
        let key = format!("k/{caller:03}/{number}");
        let version = store.put(&*key, "v").await.unwrap();
        assert_eq!(store.get(&*key).await.unwrap().version, version);
        if number % 2 == 0 {
            store.delete(&*key).await.unwrap();
            assert!(!store.exists(&*key).await.unwrap());
        }
    }
    store.put(format!("last/{caller:03}"), "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_where_there_are_more_callers_than_connections() {
    let server = Server::start(Options::default()).await;
    let connections = call_much(&server, 32).await;
    assert!(connections <= 100, "{connections}");
}

/// Also the connections of the harness count, which has a few at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_where_the_server_takes_few_connections() {
    let few = Options::default().with_hcl("limits { http_max_conns_per_client = 20 }");
    let server = Server::start(few).await;
    let connections = call_much(&server, 12).await;
    assert!(connections < 20, "{connections}");
}
