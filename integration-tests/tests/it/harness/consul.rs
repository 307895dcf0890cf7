//! Consul servers.

mod acl;
mod api;
mod cluster;
mod load;
mod options;

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::OnceCell;

pub(crate) use self::api::Api;
pub(crate) use self::cluster::Cluster;
pub(crate) use self::options::Options;
pub(crate) use super::certificates::Tls;
use super::container::Container;
use super::exec::{Output, Running};
use super::{image, on_harness};

/// Names the image that Consul is started from.
pub(super) const IMAGE: &str = "LIBKV_TEST_IMAGE_CONSUL";
/// Names a running server, as host and port, to be used instead of the shared one.
const RUNNING: &str = "LIBKV_TEST_CONSUL";

/// No server takes this long to be ready.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// The one server of this process for whoever disturbs nobody. It is plain: no TLS, no tokens.
#[derive(Debug)]
pub(crate) struct Shared {
    endpoint: String,
    api: Api,
    server: Option<Server>,
}

/// Gives the shared server, and starts it if this is the first to ask.
pub(crate) async fn shared() -> &'static Shared {
    static SHARED: OnceCell<Shared> = OnceCell::const_new();
    let starting = || async {
        if let Ok(endpoint) = std::env::var(RUNNING) {
            let api = Api::new(endpoint.clone(), None);
            return Shared { endpoint, api, server: None };
        }
        let server = Server::start(Options::default().in_memory()).await;
        Shared { endpoint: server.endpoint(), api: server.api().clone(), server: Some(server) }
    };
    SHARED.get_or_init(starting).await
}

impl Shared {
    /// The host and port that clients connect to.
    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// The server's HTTP interface.
    pub(crate) fn api(&self) -> &Api {
        &self.api
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
    api: Api,
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
        let token = options.token();
        let recipe = options.into_recipe(image);
        let aside = recipe.ports.len() - 1;
        let container = Container::start(recipe).await;
        let api = Api::new(format!("127.0.0.1:{}", container.port(aside)), token);
        Self { container, api }
    }

    /// The host and port that clients connect to. It stays the same.
    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.container.port(0))
    }

    /// The server's HTTP interface, with every right.
    pub(crate) fn api(&self) -> &Api {
        &self.api
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

    /// Runs a program to its end. `consul` finds the server by itself, and has every right.
    pub(crate) async fn exec(&self, command: &[&str]) -> Output {
        self.exec_with(command, Bytes::new()).await
    }

    /// Runs a program to its end, and gives it `input`.
    pub(crate) async fn exec_with(&self, command: &[&str], input: impl Into<Bytes>) -> Output {
        self.container.exec(command, input.into()).await
    }

    /// Starts a program that runs on, such as `consul lock`.
    pub(crate) async fn spawn(&self, command: &[&str]) -> Running {
        self.container.spawn(command).await
    }

    /// Whether the server says that it leads the others, and so is the one that decides.
    pub(crate) async fn leads(&self) -> bool {
        let about = self.api.try_ask("GET", "/v1/agent/self", "").await;
        about.is_ok_and(|about| {
            about.status == 200 && about.json()["Stats"]["consul"]["leader"] == "true"
        })
    }

    /// Whether the server does all that it is for. It knows a leader and writes by it, and it makes
    /// a session that is bound to its own health, which it cannot before the leader has heard of
    /// that. Where it asks for tokens, it also knows them.
    pub(crate) async fn is_ready(&self) -> bool {
        let Some(leader) = self.answer("GET", "/v1/status/leader", "").await else { return false };
        if leader == "\"\"" {
            return false;
        }
        if self.api.token().is_some() && self.answer("GET", "/v1/acl/policies", "").await.is_none()
        {
            return false;
        }
        // Should the second request not come through, the session ends by itself.
        let made = self.answer("PUT", "/v1/session/create", r#"{"TTL": "1h"}"#).await;
        let Some(session) = made.as_deref().and_then(|made| made.split('"').nth(3)) else {
            return false;
        };
        let ending = format!("/v1/session/destroy/{session}");
        self.answer("PUT", &ending, "").await.is_some()
    }

    /// What the server answers, if all goes well.
    async fn answer(&self, method: &'static str, path: &str, body: &'static str) -> Option<String> {
        let answer = self.api.try_ask(method, path, body).await.ok()?;
        (answer.status == 200).then(|| answer.text())
    }

    /// Waits until the server does all that it is for.
    pub(crate) async fn wait_ready(&self) {
        let start = Instant::now();
        while !self.is_ready().await {
            if start.elapsed() > PATIENCE || !self.container.is_running().await {
                panic!("Consul did not become ready:\n{}", self.container.logs().await);
            }
            on_harness(tokio::time::sleep(PAUSE)).await;
        }
    }
}
