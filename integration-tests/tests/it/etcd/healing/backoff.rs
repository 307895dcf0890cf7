//! Who lost a server does not storm it, nor come back in the same moment as everybody else.

use std::time::{Duration, Instant};

use super::super::disturbed::{PATIENCE, open_plain, until};
use super::super::history::{Follower, mark};
use crate::harness::etcd::{Options, Server};
use crate::harness::proxy::Proxy;

const HANDLES: usize = 12;
/// How long nobody is there, at least.
const AWAY: Duration = Duration::from_secs(4);
/// Nobody tries more often in that time.
const MOST: usize = 40;
/// Attempts by which the waits have become much longer than a clock's inaccuracy.
const LATER: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_come_back_with_pauses_that_differ() {
    let server = Server::start(Options::default()).await;
    let mut proxies = Vec::new();
    for _ in 0..HANDLES {
        proxies.push(Proxy::start(server.endpoint()).await);
    }
    let mut followers = Vec::new();
    for proxy in &proxies {
        let store = open_plain(&[proxy.addr()]).await;
        let follower = Follower::watch(&store);
        follower.until("the watch begins", |told| told.begun.is_some()).await;
        followers.push(follower);
    }
    // Connections are accepted, to be counted, and lead nowhere.
    let nowhere = Proxy::start("127.0.0.1:1").await;
    nowhere.refuse().await;
    let before: Vec<_> = proxies.iter().map(Proxy::accepted).collect();
    for proxy in &proxies {
        proxy.set_target(nowhere.addr());
        proxy.reset();
    }
    let (gone, mut attempts) = (Instant::now(), vec![Vec::new(); HANDLES]);
    let mut late = true;
    while gone.elapsed() < AWAY || late {
        for (handle, proxy) in proxies.iter().enumerate() {
            let count = usize::try_from(proxy.accepted() - before[handle]).unwrap();
            attempts[handle].resize(count, gone.elapsed());
        }
        late = gone.elapsed() < PATIENCE && attempts.iter().any(|attempts| attempts.len() <= LATER);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for attempts in &attempts {
        let soon = attempts.iter().filter(|after| **after < AWAY).count();
        assert!(attempts.len() > LATER && soon <= MOST, "{attempts:?}");
    }
    // All lost the server in one moment; those who wait equally long come back in one moment too.
    let mut later: Vec<_> = attempts.iter().map(|attempts| attempts[LATER]).collect();
    later.sort();
    println!("attempts: {:?}, number {LATER} after {later:?}", attempts.iter().map(Vec::len));
    assert!(later[HANDLES - 1] - later[0] > Duration::from_millis(50), "{later:?}");
    for proxy in &proxies {
        proxy.set_target(server.endpoint());
    }
    let marker = mark(&open_plain(&[server.endpoint()]).await).await;
    for follower in &followers {
        follower.until_marked(&marker).await;
    }
    until("every connection is there", async || proxies.iter().all(|proxy| proxy.accepted() > 0))
        .await;
}
