use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::certificates::Authority;
use crate::harness::consul::{self, Cluster, Options, Server, Tls};

/// Nothing that is waited for here takes this long.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

async fn put(server: &Server, key: &str, value: &str) {
    server.exec_with(&["consul", "kv", "put", key, "-"], value.to_owned()).await.text();
}

async fn get(server: &Server, key: &str) -> String {
    server.exec(&["consul", "kv", "get", key]).await.text()
}

/// Waits until there are so many of something.
async fn wait_for(count: usize, what: &str, look: impl AsyncFn() -> usize) {
    let start = Instant::now();
    loop {
        let there = look().await;
        if there == count {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{there} {what} instead of {count}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks on a connection that stays, and returns what comes, at most a piece of it.
async fn ask(server: &Server, path: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(server.endpoint()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut piece = vec![0; 1024];
    // A connection that the server does not want may be reset in the midst of either.
    let read = match stream.write_all(request.as_bytes()).await {
        Ok(()) => stream.read(&mut piece).await.unwrap_or_default(),
        Err(_) => 0,
    };
    (stream, String::from_utf8_lossy(&piece[..read]).into_owned())
}

#[tokio::test]
async fn the_shared_server_is_one() {
    let first = consul::shared().await;
    let second = std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(consul::shared())
    });
    assert_eq!(first.endpoint(), second.join().unwrap().endpoint());
    let about = first.api().get("/v1/agent/self").await.json();
    assert_eq!(about["Config"]["Server"], true, "{about}");
    if std::env::var_os("LIBKV_TEST_CONSUL").is_none() {
        assert!(first.exec(&["consul", "version"]).await.text().contains("Consul v"));
    }
}

#[tokio::test]
async fn a_server_comes_back_with_its_data_and_address() {
    let server =
        Server::start(Options::default().with_hcl("limits { kv_max_value_size = 20 }")).await;
    let endpoint = server.endpoint();
    put(&server, "a key", "its value").await;
    let too_long = server.exec_with(&["consul", "kv", "put", "a", "-"], [b'a'; 21].to_vec()).await;
    assert!(too_long.code != 0 && !too_long.stderr.is_empty(), "{too_long:?}");
    server.restart().await;
    assert_eq!(get(&server, "a key").await, "its value\n");
    server.stop().await;
    assert!(TcpStream::connect(&endpoint).await.is_err());
    server.start_again().await;
    assert_eq!(
        (get(&server, "a key").await, server.endpoint()),
        ("its value\n".to_owned(), endpoint)
    );
    assert_ne!(server.exec(&["consul", "kv", "get", "another"]).await.code, 0);
}

#[tokio::test]
async fn a_paused_server_takes_connections_and_does_not_answer() {
    let server = Server::start(Options::default()).await;
    server.pause().await;
    TcpStream::connect(server.endpoint()).await.unwrap();
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
    // The server refuses after the handshake, so that a client may find its connection broken.
    let without = ["env", "-u", "CONSUL_CLIENT_CERT", "-u", "CONSUL_CLIENT_KEY"];
    let refused = server.exec(&[&without[..], &["consul", "kv", "get", "a"]].concat()).await;
    assert!(refused.code != 0 && refused.stdout.is_empty(), "{refused:?}");
    let (_, plain) = ask(&server, "/v1/status/leader").await;
    assert!(plain.contains(" 400 "), "{plain}");
}

#[tokio::test]
async fn a_server_with_acls_refuses_who_may_not() {
    let server = Server::start(Options::default().with_acls()).await;
    put(&server, "a/b", "1").await;
    let token = server.make_token(r#"key_prefix "a/" { policy = "read" }"#).await;
    let api = |token: &str| server.api().with_token(token);
    let status = async |token: &str| api(token).get("/v1/kv/a/b").await.status;
    assert_eq!(status(&token.secret).await, 200);
    assert_eq!(api(&token.secret).put("/v1/kv/a/b", "2").await.status, 403);
    // Somebody without a token is nobody in particular, and reads of nobody find nothing.
    assert_eq!(status("").await, 403);
    assert_eq!(status(server.management_token()).await, 200);

    server.set_rules(&token, r#"key_prefix "c/" { policy = "write" }"#).await;
    assert_eq!(status(&token.secret).await, 403);
    assert_eq!(api(&token.secret).put("/v1/kv/c/d", "2").await.status, 200);
    server.revoke(&token).await;
    let unknown = api(&token.secret).get("/v1/kv/c/d").await;
    assert_eq!((unknown.status, &*unknown.text()), (403, "ACL not found"));
}

#[tokio::test]
async fn what_waits_and_what_is_connected_is_counted() {
    let server = Server::start(Options::default()).await;
    put(&server, "a", "1").await;
    let index = server.api().get("/v1/kv/a").await;
    let path = format!("/v1/kv/a?wait=60s&index={}", index.header("X-Consul-Index").unwrap());
    let asking = (0..3).map(|_| ask(&server, &path));
    let all = futures_util::future::join_all(asking);
    let mut all = std::pin::pin!(all);
    tokio::select! {
        early = &mut all => panic!("they do not wait: {early:?}"),
        () = wait_for(3, "requests wait", async || server.api().waiting().await) => {}
    }
    wait_for(3, "connections", async || server.connections().await).await;
    put(&server, "a", "2").await;
    let answers = all.await;
    assert!(answers.iter().all(|(_, answer)| answer.contains(" 200 ")), "{answers:?}");
    assert_eq!(server.api().waiting().await, 0);
    drop(answers);
    wait_for(0, "connections", async || server.connections().await).await;
}

/// How many connections one client may have at a time.
async fn allowed(server: &Server) -> usize {
    wait_for(0, "connections", async || server.connections().await).await;
    let mut streams = Vec::new();
    loop {
        let (stream, answer) = ask(server, "/v1/status/leader").await;
        if !answer.contains(" 200 ") {
            return streams.len();
        }
        streams.push(stream);
    }
}

#[tokio::test]
async fn a_client_has_as_many_connections_as_consul_allows_by_itself() {
    let few = Options::default().with_hcl("limits { http_max_conns_per_client = 5 }");
    let (usual, few) = tokio::join!(Server::start(Options::default()), Server::start(few));
    assert_eq!(allowed(&usual).await, 200);
    assert_eq!(allowed(&few).await, 5);
}

#[tokio::test]
async fn sessions_are_as_short_as_an_option_allows() {
    let brief = Options::default().with_session_ttl_min(1);
    let (usual, brief) = tokio::join!(Server::start(Options::default()), Server::start(brief));
    let second = r#"{ "TTL": "1s", "Checks": [] }"#;
    let refused = usual.api().put("/v1/session/create", second).await;
    assert!(refused.status != 200 && refused.text().contains("Session TTL"), "{refused:?}");
    brief.api().put("/v1/session/create", second).await.json();
    let sessions = async || {
        let sessions = brief.api().get("/v1/session/list").await.json();
        sessions.as_array().map_or(0, Vec::len)
    };
    assert_eq!(sessions().await, 1);
    wait_for(0, "sessions", sessions).await;
}

#[tokio::test]
async fn an_isolated_member_is_reached_by_clients_only() {
    let cluster = Cluster::start(3).await;
    assert_eq!(cluster.endpoints().len(), 3);
    put(cluster.member(0), "a", "0").await;
    let cut = cluster.leader().await;
    cluster.isolate(cut).await;
    let others = cluster.leader().await;
    assert_ne!(cut, others);
    put(cluster.member(others), "a", "1").await;
    assert!(!cluster.member(cut).is_ready().await);
    let local = ["consul", "kv", "get", "-stale", "a"];
    assert_eq!(cluster.member(cut).exec(&local).await.text(), "0\n");
    cluster.rejoin(cut).await;
    cluster.member(cut).wait_ready().await;
    assert_eq!(get(cluster.member(cut), "a").await, "1\n");
}

#[tokio::test]
async fn a_cluster_goes_on_without_a_member_that_was_killed() {
    let cluster = Cluster::start(3).await;
    put(cluster.member(0), "a", "1").await;
    let killed = cluster.leader().await;
    cluster.member(killed).kill().await;
    let leader = cluster.leader().await;
    assert_ne!(leader, killed);
    assert_eq!(get(cluster.member(leader), "a").await, "1\n");
    put(cluster.member(leader), "a", "2").await;
    cluster.member(killed).start_again().await;
    assert_eq!(get(cluster.member(killed), "a").await, "2\n");
}
