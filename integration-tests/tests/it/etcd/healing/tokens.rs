//! The server forgets who a client is after a short while of silence.

use std::time::{Duration, Instant};

use etcd_client::{Client, ConnectOptions};
use libkv_core::{Config, Credentials};

use super::super::disturbed::{Truth, open};

use crate::faults::follower::Follower;
use crate::faults::healing::ROUNDS;
use crate::faults::writer::{Writer, mark};
use crate::harness::etcd::{Options, Server};
use crate::harness::proxy::Proxy;
use crate::soak::Soak;

const PASSWORD: &str = "a password";
/// How long the server keeps a token that is not used, in seconds, and how often it looks.
const LIFE: u64 = 2;
const LOOKS: u64 = 1;
/// How late it may be. Nobody can ask whether it has forgotten, since that uses the token.
const LATE: Duration = Duration::from_millis(1_500);

/// A server that asks who everybody is.
async fn server() -> Server {
    let life = format!("--auth-token-ttl={LIFE}");
    let server = Server::start(Options::default().with_flag(&life)).await;
    for command in [
        &["user", "add", "root", "--new-user-password", PASSWORD][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "all"],
        &["role", "grant-permission", "all", "--prefix=true", "readwrite", ""],
        &["user", "add", "ann", "--new-user-password", PASSWORD],
        &["user", "grant-role", "ann", "all"],
        &["auth", "enable"],
    ] {
        server.exec(&[&["etcdctl"], command].concat()).await.text();
    }
    server
}

fn ann(config: &mut Config) {
    config.credentials = Some(Credentials::new("ann", PASSWORD));
}

/// A client that does not log in again.
async fn log_in_once(server: &Server, user: &str) -> Client {
    let options = ConnectOptions::new().with_user(user, PASSWORD);
    Client::connect([server.endpoint()], Some(options)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_its_token_expires() {
    let (mut soak, begun) = (Soak::of("tokens", ROUNDS), Instant::now());
    let server = server().await;
    let proxy = Proxy::start(server.endpoint()).await;
    let direct = open(&[server.endpoint()], ann).await;
    let store = open(&[proxy.addr()], ann).await;
    let follower = Follower::watch(&store);
    let mut writer = Writer::start(direct.clone(), soak.random.u64(..));
    follower.until_begun().await;
    let mut last = None;
    for round in 0..soak.rounds {
        writer.more(soak.random.u64(1..50)).await;
        let mut witness = log_in_once(&server, "ann").await;
        // The watch uses its token when it begins, and so does the witness.
        witness.get("x", None).await.unwrap();
        tokio::time::sleep(Duration::from_secs(LIFE + LOOKS) + LATE).await;
        let error = witness.get("x", None).await.unwrap_err();
        assert!(error.to_string().contains("invalid auth token"), "{error}");
        // The stream breaks, or a further watch asks for it with the token of before.
        if round % 2 == 1 {
            proxy.reset();
        }
        let watch = Follower::watch(&store);
        let marker = mark(&direct).await;
        follower.until_marked(&marker).await;
        watch.until_marked(&marker).await;
        follower.assert_all_told(&Truth::of(log_in_once(&server, "root").await)).await;
        last = Some(watch);
    }
    let count = writer.end().await;
    let marker = mark(&direct).await;
    let truth = Truth::of(log_in_once(&server, "root").await);
    for follower in [&follower, last.as_ref().unwrap()] {
        follower.until_marked(&marker).await;
        follower.assert_converged(&truth).await;
        follower.assert_all_told(&truth).await;
    }
    println!(
        "soak: tokens: {} expired during {count} writes, each told once and in order, in {:.0?}",
        soak.rounds,
        begun.elapsed()
    );
}
