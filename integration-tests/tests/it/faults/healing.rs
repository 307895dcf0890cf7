//! A watch goes on, whatever happens to its server and its connection.

use std::time::{Duration, Instant};

use super::follower::Follower;
use super::writer::{Account, Writer, mark};
use super::{Backend, PATIENCE, open_plain, server_and_proxy, until};
use crate::harness::cluster::Cluster;
use crate::harness::proxy::{Direction, Flow, Proxy};
use crate::harness::server::Server;
use crate::soak::Soak;

/// How often each fault comes in a test run.
pub(crate) const ROUNDS: usize = 5;
/// How many come back side by side.
const HANDLES: usize = 12;
/// How long nobody is there, at least.
const AWAY: Duration = Duration::from_secs(4);
/// Nobody tries more often in that time.
const MOST: usize = 40;
/// Attempts by which the waits have become much longer than a clock's inaccuracy.
const LATER: usize = 4;

/// A server that is written to, and what watches it by way of a proxy.
pub(crate) struct Scene<B: Backend> {
    pub(crate) server: Server<B>,
    pub(crate) proxy: Proxy,
    /// Writes and marks, past the proxy.
    pub(crate) direct: B::Store,
    /// Watches, through the proxy.
    pub(crate) store: B::Store,
    pub(crate) writer: Writer,
    /// Watches from the beginning on.
    pub(crate) follower: Follower,
}

impl<B: Backend> Scene<B> {
    pub(crate) async fn set(soak: &mut Soak) -> Self {
        let (server, proxy) = server_and_proxy::<B>().await;
        let direct = open_plain::<B>(&[server.endpoint()]).await;
        let store = open_plain::<B>(&[proxy.addr()]).await;
        let follower = Follower::watch(&store);
        let writer = Writer::start(direct.clone(), soak.random.u64(..));
        follower.until_begun().await;
        Self { server, proxy, direct, store, writer, follower }
    }

    /// Waits until both were told all, one of which began to watch during the disturbance.
    pub(crate) async fn catch_up(&self, late: &Follower) -> Account {
        self.writer.account(&self.direct, &[&self.follower, late]).await
    }

    /// The same, and looks at what they were told.
    async fn check(&self, late: &Follower) {
        let account = self.catch_up(late).await;
        for follower in [&self.follower, late] {
            B::assert_told(&self.server, follower, &account).await;
        }
    }

    /// Ends the writing, and compares all states. Returns how much was written.
    pub(crate) async fn compare(&mut self, late: &Follower) -> u64 {
        let count = self.writer.end().await;
        let marker = mark(&self.direct).await;
        let there = B::below(&self.server, &format!("{}/", super::writer::DIR)).await;
        for follower in [&self.follower, late] {
            follower.until_marked(&marker).await;
            follower.assert_state(&there);
        }
        count
    }
}

/// A watch goes on when its server is killed and comes back.
pub(crate) async fn restarts<B: Backend>() {
    let (mut soak, begun) = (Soak::of("restarts", ROUNDS), Instant::now());
    let mut scene = Scene::<B>::set(&mut soak).await;
    let mut late = None;
    for _ in 0..soak.rounds {
        scene.writer.more(soak.random.u64(1..100)).await;
        scene.server.kill().await;
        let watch = Follower::watch(&scene.store);
        scene.server.start_again().await;
        scene.check(&watch).await;
        late = Some(watch);
    }
    let late = late.expect("there was a round");
    let count = scene.compare(&late).await;
    scene.check(&late).await;
    let (rounds, told) = (soak.rounds, B::TOLD);
    let took = begun.elapsed();
    println!("soak: restarts: {rounds} kills during {count} writes, {told}, in {took:.0?}");
}

/// A watch goes on when its connection is cut or stands still.
pub(crate) async fn cuts<B: Backend>() {
    let (mut soak, begun) = (Soak::of("cuts", ROUNDS), Instant::now());
    let mut scene = Scene::<B>::set(&mut soak).await;
    let (mut late, mut cuts) = (None, 0);
    for round in 0..soak.rounds {
        // Cut at any byte, several times, sometimes after a while in which nothing passes.
        for _ in 0..soak.random.usize(1..6) {
            let bytes = soak.random.u64(1..3_000);
            scene.proxy.cut_after(Direction::BOTH[soak.random.usize(..2)], bytes);
            scene.writer.more(soak.random.u64(1..60)).await;
            if soak.random.bool() {
                scene.proxy.set_both(Flow::Stall);
                scene.writer.more(soak.random.u64(1..200)).await;
                scene.proxy.set_both(Flow::Pass);
            }
            scene.proxy.reset();
            cuts += 1;
        }
        let watch = Follower::watch(&scene.store);
        if round % 2 == 0 {
            scene.proxy.reset();
        }
        scene.check(&watch).await;
        late = Some(watch);
    }
    let late = late.expect("there was a round");
    let count = scene.compare(&late).await;
    scene.check(&late).await;
    let (told, took) = (B::TOLD, begun.elapsed());
    println!("soak: cuts: {cuts} cuts during {count} writes, {told}, in {took:.0?}");
}

/// Who lost a server does not storm it, nor come back in the same moment as everybody else.
pub(crate) async fn pauses_differ<B: Backend>() {
    let server = B::start().await;
    let mut proxies = Vec::new();
    for _ in 0..HANDLES {
        proxies.push(Proxy::start(server.endpoint()).await);
    }
    let mut followers = Vec::new();
    for proxy in &proxies {
        let follower = Follower::watch(&open_plain::<B>(&[proxy.addr()]).await);
        follower.until_begun().await;
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
    let marker = mark(&open_plain::<B>(&[server.endpoint()]).await).await;
    for follower in &followers {
        follower.until_marked(&marker).await;
    }
    until("every connection is there", async || proxies.iter().all(|proxy| proxy.accepted() > 0))
        .await;
}

/// A watch of a cluster that is written to.
pub(crate) struct Crowd<B: Backend> {
    pub(crate) cluster: Cluster<B>,
    pub(crate) direct: B::Store,
    pub(crate) writer: Writer,
    pub(crate) follower: Follower,
}

impl<B: Backend> Crowd<B> {
    pub(crate) async fn gather() -> Self {
        let cluster = B::start_cluster().await;
        let endpoints = cluster.endpoints();
        let direct = open_plain::<B>(&endpoints).await;
        let follower = Follower::watch(&open_plain::<B>(&endpoints).await);
        let writer = Writer::start(direct.clone(), fastrand::u64(..));
        follower.until_begun().await;
        Self { cluster, direct, writer, follower }
    }

    /// Waits until there is more, and all of it is told.
    pub(crate) async fn goes_on(&self) {
        self.writer.more(50).await;
        self.follower.until_marked(&mark(&self.direct).await).await;
    }

    /// Each member in turn goes and comes back, among them the leader and the one that the watch is
    /// at; then the leader; then all at once.
    pub(crate) async fn lose_members(mut self) {
        let cluster = &self.cluster;
        for member in 0..=super::MEMBERS {
            let leader = cluster.leader().await;
            let member = if member == super::MEMBERS { leader } else { member };
            println!("member {member} goes{}", if member == leader { ", which leads" } else { "" });
            cluster.member(member).kill().await;
            self.goes_on().await;
            cluster.member(member).start_again().await;
        }
        let all = || (0..super::MEMBERS).map(|member| cluster.member(member));
        futures_util::future::join_all(all().map(Server::kill)).await;
        futures_util::future::join_all(all().map(Server::start_again)).await;
        self.goes_on().await;
        self.writer.end().await;
        let account = self.writer.account(&self.direct, &[&self.follower]).await;
        let there = B::below(cluster.member(0), &format!("{}/", super::writer::DIR)).await;
        self.follower.assert_state(&there);
        B::assert_told(cluster.member(0), &self.follower, &account).await;
    }
}
