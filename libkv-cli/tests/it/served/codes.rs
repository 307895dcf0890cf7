use std::time::{Duration, Instant};

use libkv::{Event, StoreExt as _};

use super::{Place, Server, is_one_line};
use crate::harness::proxy::{Direction, Flow, Proxy};
use crate::home::Home;

#[tokio::test]
async fn what_is_not_there_and_what_was_modified_have_their_codes() {
    for place in Place::all().await {
        let old = format!("{}:1", place.server.scheme());
        for (args, code) in [
            (&["get", "none"][..], 3),
            (&["del", "none"], 3),
            (&["ls", "none"], 3),
            (&["export", "none", "--format", "consul"], 3),
            (&["put", "k", "1", "--create"], 0),
            (&["put", "k", "1", "--create"], 4),
            (&["put", "k", "1", "--if-version", &old], 4),
            (&["del", "k", "--if-version", &old], 4),
            (&["put", "k", "1", "--if-version", "file:1"], 2),
            (&["put", "k", "1", "--ttl", "1s"], 1),
        ] {
            match code {
                0 => drop(place.home.ok(args)),
                code => is_one_line(&place.home.run(args), code, &place.endpoint()),
            }
        }
    }
}

#[tokio::test]
async fn nobody_there_exits_with_7() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for server in Server::all().await {
        let home = Home::with_store(format!("{}://{gone}", server.scheme()));
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
}

#[tokio::test]
async fn a_server_that_does_not_answer_exits_with_7_after_the_timeout() {
    for server in Server::all().await {
        let proxy = Proxy::start(server.endpoint()).await;
        proxy.set_both(Flow::Stall);
        let home = Home::with_store(format!("{}://{}", server.scheme(), proxy.addr()));
        let begun = Instant::now();
        is_one_line(&home.run(&["get", "a", "--timeout", "300ms"]), 7, &proxy.addr());
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(4), "{took:?}");
    }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_exits_with_9() {
    for place in Place::all().await {
        let scheme = place.server.scheme();
        let url = |addr: String| format!("{scheme}://{addr}/{}", place.root);
        let store = libkv::open(&url(place.endpoint())).await.unwrap();
        let mut events = store.watch("k").unwrap();
        while !matches!(events.next().await.unwrap().unwrap(), Event::Synced { .. }) {}
        let proxy = Proxy::start(place.endpoint()).await;
        // The write is at the server long before its answer is back.
        proxy.set(Direction::ToClient, Flow::Delay(Duration::from_secs(2)));
        let home = Home::with_store(url(proxy.addr()));
        let writer = home.start(&["put", "k", "1", "--timeout", "30s"]);
        let event = events.next().await.unwrap().unwrap();
        assert!(matches!(event, Event::Put(_)), "{event:?}");
        proxy.reset();
        is_one_line(&writer.end(), 9, &proxy.addr());
        assert_eq!(place.home.ok(&["get", "k"]).text(), "1");
    }
}
