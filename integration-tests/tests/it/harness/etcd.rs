//! etcd servers.

mod cluster;
mod options;

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::OnceCell;

pub(crate) use self::cluster::Cluster;
pub(crate) use self::options::Options;
pub(crate) use super::certificates::Tls;
use super::container::Container;
use super::exec::{Output, Running};
use super::{http, image, on_harness};

/// Names the image that etcd is started from.
pub(super) const IMAGE: &str = "LIBKV_TEST_IMAGE_ETCD";
/// Names a running server, as host and port, to be used instead of the shared one.
const RUNNING: &str = "LIBKV_TEST_ETCD";

/// No server takes this long to be ready.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// The one server of this process for whoever disturbs nobody. It is plain: no TLS, no password.
#[derive(Debug)]
pub(crate) struct Shared {
    endpoint: String,
    server: Option<Server>,
}

/// Gives the shared server, and starts it if this is the first to ask.
pub(crate) async fn shared() -> &'static Shared {
    static SHARED: OnceCell<Shared> = OnceCell::const_new();
    let starting = || async {
        if let Ok(endpoint) = std::env::var(RUNNING) {
            return Shared { endpoint, server: None };
        }
        let server = Server::start(Options::default().in_memory()).await;
        Shared { endpoint: server.endpoint(), server: Some(server) }
    };
    SHARED.get_or_init(starting).await
}

impl Shared {
    /// The host and port that clients connect to.
    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// What the server tells of itself, in the text form of its metrics.
    pub(crate) async fn metrics(&self) -> String {
        metrics(self.endpoint()).await
    }

    /// Runs a program in the server's container.
    pub(crate) async fn exec(&self, command: &[&str]) -> Output {
        self.server().exec(command).await
    }

    /// The server, for its programs; nobody stops what everybody uses.
    pub(crate) fn server(&self) -> &Server {
        let server = self.server.as_ref();
        server.unwrap_or_else(|| panic!("{RUNNING} names a server that no program can be run in"))
    }
}

/// A server of a test's own, which is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    container: Container,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub(crate) async fn start(options: Options) -> Self {
        let server = Self::start_unready(options).await;
        server.wait_ready().await;
        server
    }

    async fn start_unready(options: Options) -> Self {
        let image = on_harness(image::named(IMAGE)).await;
        Self { container: Container::start(options.into_recipe(image)).await }
    }

    /// The host and port that clients connect to. It stays the same.
    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.container.port(0))
    }

    /// Kills the server and starts it again with its data.
    pub(crate) async fn restart(&self) {
        self.kill().await;
        self.start_again().await;
    }

    /// Ends the server's process at once. Connections are refused then.
    pub(crate) async fn kill(&self) {
        self.container.kill().await;
    }

    /// Ends the server in an orderly way.
    pub(crate) async fn stop(&self) {
        self.container.stop().await;
    }

    /// Starts a server that was stopped or killed, with its data, and waits until it is ready.
    pub(crate) async fn start_again(&self) {
        self.container.start_again().await;
        self.wait_ready().await;
    }

    /// Lets the server stand still: it takes connections and never answers.
    pub(crate) async fn pause(&self) {
        self.container.pause().await;
    }

    /// Lets a paused server go on.
    pub(crate) async fn unpause(&self) {
        self.container.unpause().await;
    }

    /// Runs a program to its end. `etcdctl` finds the server by itself.
    pub(crate) async fn exec(&self, command: &[&str]) -> Output {
        self.exec_with(command, Bytes::new()).await
    }

    /// Runs a program to its end, and gives it `input`.
    pub(crate) async fn exec_with(&self, command: &[&str], input: impl Into<Bytes>) -> Output {
        self.container.exec(command, input.into()).await
    }

    /// Starts a program that runs on, such as `etcdctl lock`.
    pub(crate) async fn spawn(&self, command: &[&str]) -> Running {
        self.container.spawn(command).await
    }

    /// What the server tells of itself, in the text form of its metrics.
    pub(crate) async fn metrics(&self) -> String {
        metrics(self.aside()).await
    }

    /// Whether the server says that it is well, which needs a majority of its members. A full
    /// database does not count: reads and deletions work then.
    pub(crate) async fn is_ready(&self) -> bool {
        let aside = self.aside();
        let asking = async move { http::get(&aside, "/health?exclude=NOSPACE").await };
        on_harness(asking).await.is_ok_and(|(status, _)| status == 200)
    }

    /// Waits until the server says that it is well.
    pub(crate) async fn wait_ready(&self) {
        let start = Instant::now();
        while !self.is_ready().await {
            if start.elapsed() > PATIENCE || !self.container.is_running().await {
                panic!("etcd did not become ready:\n{}", self.container.logs().await);
            }
            on_harness(tokio::time::sleep(PAUSE)).await;
        }
    }

    /// Where the server speaks of its health and metrics, without TLS or password.
    fn aside(&self) -> String {
        format!("127.0.0.1:{}", self.container.port(1))
    }
}

async fn metrics(addr: String) -> String {
    let asking = async move { http::get(&addr, "/metrics").await };
    let (status, body) = on_harness(asking).await.expect("the server gives its metrics");
    assert_eq!(status, 200, "{body}");
    body
}
