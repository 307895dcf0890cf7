//! etcd servers.

mod members;
mod options;

use std::time::Duration;

use tokio::sync::OnceCell;

pub(crate) use self::options::Options;
pub(crate) use super::certificates::Tls;
use super::exec::Output;
use super::server::{self, Kind};
use super::{cluster, http, image, on_harness};

/// Names the image that etcd is started from.
pub(super) const IMAGE: &str = "LIBKV_TEST_IMAGE_ETCD";
/// Names a running server, as host and port, to be used instead of the shared one.
const RUNNING: &str = "LIBKV_TEST_ETCD";

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

/// etcd, as a kind of server.
#[derive(Debug)]
pub(crate) struct Etcd;

/// A server of a test's own.
pub(crate) type Server = server::Server<Etcd>;

/// Several servers that are one store.
pub(crate) type Cluster = cluster::Cluster<Etcd>;

impl Kind for Etcd {
    const NAME: &'static str = "etcd";
    const PATIENCE: Duration = Duration::from_secs(30);

    /// It says that it is well, which needs a majority of its members. A full database does not
    /// count: reads and deletions work then.
    async fn is_ready(server: &Server) -> bool {
        let aside = server.aside();
        let asking = async move { http::get(&aside, "/health?exclude=NOSPACE").await };
        on_harness(asking).await.is_ok_and(|(status, _)| status == 200)
    }

    async fn leads(server: &Server) -> bool {
        server.metrics().await.lines().any(|line| line == "etcd_server_is_leader 1")
    }
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub(crate) async fn start(options: Options) -> Self {
        let server = Self::begin(options).await;
        server.wait_ready().await;
        server
    }

    async fn begin(options: Options) -> Self {
        let image = on_harness(image::named(IMAGE)).await;
        Self::start_unready(options.into_recipe(image), |_| Etcd).await
    }

    /// What the server tells of itself, in the text form of its metrics.
    pub(crate) async fn metrics(&self) -> String {
        metrics(self.aside()).await
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
