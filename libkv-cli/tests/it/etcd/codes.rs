use std::time::{Duration, Instant};

use libkv::{Event, StoreExt as _};

use super::Place;
use crate::harness::etcd::{self, Options, Server};
use crate::harness::proxy::{Direction, Flow, Proxy};
use crate::home::{Home, Run};

fn is_one_line(run: &Run, code: i32, endpoint: &str) {
    assert_eq!((run.code, run.err.lines().count()), (code, 1), "{}", run.err);
    assert!(run.err.contains(endpoint), "{}", run.err);
    assert!(run.out.is_empty());
}

#[tokio::test]
async fn what_is_not_there_and_what_was_modified_have_their_codes() {
    let place = Place::new().await;
    let endpoint = place.server.endpoint();
    for (args, code) in [
        (&["get", "none"][..], 3),
        (&["del", "none"], 3),
        (&["ls", "none"], 3),
        (&["put", "k", "1", "--create"], 0),
        (&["put", "k", "1", "--create"], 4),
        (&["put", "k", "1", "--if-version", "etcd:1"], 4),
        (&["del", "k", "--if-version", "etcd:1"], 4),
        (&["put", "k", "1", "--if-version", "file:1"], 2),
        (&["put", "k", "1", "--ttl", "1s"], 1),
    ] {
        match code {
            0 => drop(place.home.ok(args)),
            code => is_one_line(&place.home.run(args), code, &endpoint),
        }
    }
}

#[tokio::test]
async fn nobody_there_exits_with_7() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = Home::with_store(format!("etcd://{gone}"));
    for args in [
        &["get", "a"][..],
        &["put", "a", "1"],
        &["ls"],
        &["watch", "/"],
        &["lock", "a", "--", "true"],
    ] {
        is_one_line(&home.run(args), 7, &gone.to_string());
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_exits_with_7_after_the_timeout() {
    let proxy = Proxy::start(etcd::shared().await.endpoint()).await;
    proxy.set_both(Flow::Stall);
    let home = Home::with_store(format!("etcd://{}", proxy.addr()));
    let begun = Instant::now();
    is_one_line(&home.run(&["get", "a", "--timeout", "300ms"]), 7, &proxy.addr());
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn who_has_no_right_exits_with_8_and_no_password_is_told() {
    let server = Server::start(Options::default()).await;
    for command in [
        &["user", "add", "root:rootpw"][..],
        &["user", "grant-role", "root", "root"],
        &["put", "app/x", "1"],
        &["put", "other", "1"],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "--prefix=true", "read", "app/"],
        &["user", "add", "ann:hunter2"],
        &["user", "grant-role", "ann", "reader"],
        &["auth", "enable"],
    ] {
        server.exec(&[&["etcdctl"], command].concat()).await.text();
    }
    let endpoint = server.endpoint();
    let url = |login: &str| format!("etcd://{login}{endpoint}");
    for (login, args, code) in [
        ("ann:hunter2@", &["get", "app/x"][..], 0),
        ("ann:hunter2@", &["ls", "app"], 0),
        ("ann:hunter2@", &["put", "app/x", "2"], 8),
        ("ann:hunter2@", &["get", "other"], 8),
        ("ann:hunter2@", &["ls"], 8),
        ("ann:hunter2@", &["export"], 8),
        ("ann:hunter2@", &["watch", "other"], 8),
        ("ann:hunter2@", &["lock", "app/x", "--", "true"], 8),
        ("ann:hunter3@", &["get", "app/x"], 8),
        ("bob:hunter2@", &["get", "app/x"], 8),
        ("", &["get", "app/x"], 8),
        ("root:rootpw@", &["put", "app/x", "3"], 0),
    ] {
        let run = Home::with_store(url(login)).run(args);
        assert_eq!(run.code, code, "{login} {args:?}: {}", run.err);
        assert!(!run.err.contains("hunter"), "{}", run.err);
        if code != 0 {
            is_one_line(&run, code, &endpoint);
        }
    }
    // The same by the variables, which the URL's own user comes before.
    let home = Home::with_store(url(""));
    for (variables, code) in [
        (&[("ETCDCTL_USER", "ann:hunter2")][..], 0),
        (&[("ETCDCTL_USER", "ann"), ("ETCDCTL_PASSWORD", "hunter2")], 0),
        (&[("ETCDCTL_USER", "ann:hunter3")], 8),
        (&[("ETCDCTL_USER", "ann")], 2),
    ] {
        let run = home.run_where(variables, &["-v", "get", "app/x"]);
        assert_eq!(run.code, code, "{}", run.err);
        assert!(!run.err.contains("hunter"), "{}", run.err);
    }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_exits_with_9() {
    let place = Place::new().await;
    let url = format!("etcd://{}/{}", place.server.endpoint(), place.root);
    let store = libkv::open(&url).await.unwrap();
    let mut events = store.watch("k").unwrap();
    while !matches!(events.next().await.unwrap().unwrap(), Event::Synced { .. }) {}
    let proxy = Proxy::start(place.server.endpoint()).await;
    // The write is at the server long before its answer is back.
    proxy.set(Direction::ToClient, Flow::Delay(Duration::from_secs(2)));
    let home = Home::with_store(format!("etcd://{}/{}", proxy.addr(), place.root));
    let writer = home.start(&["put", "k", "1", "--timeout", "30s"]);
    let event = events.next().await.unwrap().unwrap();
    assert!(matches!(event, Event::Put(_)), "{event:?}");
    proxy.reset();
    is_one_line(&writer.end(), 9, &proxy.addr());
    assert_eq!(place.home.ok(&["get", "k"]).text(), "1");
}
