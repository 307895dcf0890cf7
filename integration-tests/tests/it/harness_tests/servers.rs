use crate::harness::certificates::Authority;
use crate::harness::etcd::{self, Cluster, Options, Server, Tls};

async fn put(server: &Server, key: &str, value: &str) {
    server.exec_with(&["etcdctl", "put", key], value.to_owned()).await.text();
}

async fn get(server: &Server, key: &str) -> String {
    server.exec(&["etcdctl", "get", "--print-value-only", key]).await.text()
}

#[tokio::test]
async fn the_shared_server_is_one() {
    let first = etcd::shared().await;
    let second = std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(etcd::shared())
    });
    assert_eq!(first.endpoint(), second.join().unwrap().endpoint());
    assert!(first.metrics().await.contains("etcd_debugging_mvcc_watcher_total"));
    if std::env::var_os("LIBKV_TEST_ETCD").is_none() {
        assert!(first.exec(&["etcdctl", "version"]).await.text().contains("etcdctl version"));
    }
}

#[tokio::test]
async fn a_server_comes_back_with_its_data_and_address() {
    let server =
        Server::start(Options::default().with_flag("--quota-backend-bytes=16777216")).await;
    let endpoint = server.endpoint();
    put(&server, "a key", "its value").await;
    server.restart().await;
    assert_eq!(get(&server, "a key").await, "its value\n");
    server.stop().await;
    assert!(tokio::net::TcpStream::connect(&endpoint).await.is_err());
    server.start_again().await;
    assert_eq!(
        (get(&server, "a key").await, server.endpoint()),
        ("its value\n".to_owned(), endpoint)
    );
    let wrong = server.exec(&["etcdctl", "no-such-command"]).await;
    assert!(wrong.code != 0 && !wrong.stderr.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn a_paused_server_takes_connections_and_does_not_answer() {
    let server = Server::start(Options::default()).await;
    server.pause().await;
    tokio::net::TcpStream::connect(server.endpoint()).await.unwrap();
    assert!(!server.is_ready().await);
    server.unpause().await;
    server.wait_ready().await;
}

#[tokio::test]
async fn a_server_speaks_tls_to_who_has_a_certificate() {
    let authority = Authority::new();
    let tls = Tls {
        authority: authority.pem(),
        server: authority.issue("server", &["localhost", "127.0.0.1"]),
        client_certificates: true,
    };
    let server = Server::start(Options::default().with_tls(tls)).await;
    put(&server, "a", "1").await;
    assert_eq!(get(&server, "a").await, "1\n");
    for [flag, value] in [["--cert", ""], ["--endpoints", "http://localhost:2379"]] {
        let refused = ["etcdctl", "--command-timeout=1s", flag, value, "get", "a"];
        assert_ne!(server.exec(&refused).await.code, 0, "{flag}");
    }
}

#[tokio::test]
async fn a_program_that_runs_on_can_be_ended_both_ways() {
    let server = Server::start(Options::default()).await;
    let mut holder = server.spawn(&["etcdctl", "lock", "--ttl=60", "l"]).await;
    assert!(holder.line().await.unwrap().starts_with("l/"));
    holder.interrupt().await;
    assert_eq!(server.exec(&["etcdctl", "get", "--prefix", "l/"]).await.text(), "");
    let mut holder = server.spawn(&["etcdctl", "lock", "--ttl=60", "l"]).await;
    let key = holder.line().await.unwrap();
    assert_ne!(holder.crash().await, 0);
    assert!(server.exec(&["etcdctl", "get", "--prefix", "l/"]).await.text().starts_with(&key));
}

#[tokio::test]
async fn an_isolated_member_is_reached_by_clients_only() {
    let cluster = Cluster::start(3).await;
    assert_eq!(cluster.endpoints().len(), 3);
    let cut = cluster.leader().await;
    cluster.isolate(cut).await;
    let others = cluster.leader().await;
    assert_ne!(cut, others);
    put(cluster.member(others), "a", "1").await;
    assert!(!cluster.member(cut).is_ready().await);
    let local = ["etcdctl", "get", "a", "--consistency=s"];
    assert_eq!(cluster.member(cut).exec(&local).await.text(), "");
    cluster.rejoin(cut).await;
    cluster.member(cut).wait_ready().await;
    assert_eq!(get(cluster.member(cut), "a").await, "1\n");
}
