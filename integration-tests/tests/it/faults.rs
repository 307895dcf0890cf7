//! Servers and connections that fail, and what must be true all the same, for every backend that has
//! servers. What is here is run by a backend's own tests.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is for tests")]

pub(crate) mod bounds;
pub(crate) mod failover;
pub(crate) mod follower;
pub(crate) mod healing;
pub(crate) mod holding;
pub(crate) mod process;
pub(crate) mod sessions;
pub(crate) mod writer;

use std::time::{Duration, Instant};

use libkv_core::{Config, Store};

use self::follower::Follower;
use self::writer::Account;
use crate::child::Child;
use crate::harness::cluster::Cluster;
use crate::harness::proxy::Proxy;
use crate::harness::server::{Kind, Server};
pub(crate) use crate::servers::{PATIENCE, soon, until};

/// How many members a cluster has here.
pub(crate) const MEMBERS: usize = 3;

/// A backend, and the truth about its servers, told by somebody who knows nothing of libkv.
pub(crate) trait Backend: Kind {
    type Store: Store + Clone;

    /// The shortest that a lock lives without its holder.
    const SHORT: Duration;
    /// One that lives longer than a server is away.
    const LONG: Duration;
    /// How long a session outlives a silent handle that is soon to lose it.
    const LIFE: Duration;
    /// A watch notices a connection without an answer within this time.
    const NOTICED: Duration;
    /// What is said of the changes that a watch told.
    const TOLD: &'static str;
    /// What is logged when a watch lost its connection, and when a session could not be renewed.
    const WATCH_BROKE: &'static str;
    const NOT_RENEWED: &'static str;

    /// Starts a server.
    fn start() -> impl Future<Output = Server<Self>> + Send;

    /// Starts a cluster.
    fn start_cluster() -> impl Future<Output = Cluster<Self>> + Send;

    /// Opens a store at these endpoints, with a changed configuration.
    fn open(
        endpoints: &[String],
        with: impl FnOnce(&mut Config) + Send,
    ) -> impl Future<Output = Self::Store> + Send;

    /// All keys whose names begin so.
    fn below(server: &Server<Self>, prefix: &str) -> impl Future<Output = Vec<Stored>> + Send;

    /// What the server says before somebody begins to wait for the only lock that is held.
    fn before_waiting(server: &Server<Self>) -> impl Future<Output = u64> + Send;

    /// Whether somebody waits for it since then, and asks for nothing more.
    fn waits(server: &Server<Self>, before: u64) -> impl Future<Output = bool> + Send;

    /// Keeps alive what keys are bound to, as its owner does.
    fn renew(server: &Server<Self>, owner: &str) -> impl Future<Output = ()> + Send;

    /// Compares what a watch told with what happened.
    fn assert_told(
        server: &Server<Self>,
        follower: &Follower,
        account: &Account,
    ) -> impl Future<Output = ()> + Send;

    /// Starts a process of its own, with what it is to do there.
    fn child(role: &str, endpoint: &str) -> Child;
}

/// A key as a server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) value: Vec<u8>,
    /// The index at which it was made, and that of its newest state.
    pub(crate) created: u64,
    pub(crate) changed: u64,
    /// What it is bound to.
    pub(crate) owner: Option<String>,
}

/// A key, if it is there.
pub(crate) async fn stored<B: Backend>(server: &Server<B>, name: &str) -> Option<Stored> {
    B::below(server, name).await.into_iter().find(|stored| stored.name == name)
}

/// Opens a store as it is by default.
pub(crate) async fn open_plain<B: Backend>(endpoints: &[String]) -> B::Store {
    B::open(endpoints, |_| ()).await
}

/// A server with a proxy before it.
pub(crate) async fn server_and_proxy<B: Backend>() -> (Server<B>, Proxy) {
    let server = B::start().await;
    let proxy = Proxy::start(server.endpoint()).await;
    (server, proxy)
}

/// Runs `work`, and says what came of it and how long it took.
pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    (work.await, begun.elapsed())
}
