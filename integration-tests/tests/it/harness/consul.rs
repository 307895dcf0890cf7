//! Consul servers.

mod acl;
mod api;
mod load;
mod members;
mod options;

use std::time::Duration;

use tokio::sync::OnceCell;

pub(crate) use self::api::Api;
pub(crate) use self::options::Options;
pub(crate) use super::certificates::Tls;
use super::container::Container;
use super::exec::Output;
use super::server::{self, Kind};
use super::{cluster, image, on_harness};

/// Names the image that Consul is started from.
pub(super) const IMAGE: &str = "LIBKV_TEST_IMAGE_CONSUL";
/// Names a running server, as host and port, to be used instead of the shared one.
const RUNNING: &str = "LIBKV_TEST_CONSUL";

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

/// Consul, as a kind of server.
#[derive(Debug)]
pub(crate) struct Consul {
    api: Api,
}

/// A server of a test's own.
pub(crate) type Server = server::Server<Consul>;

/// Several servers that are one store.
pub(crate) type Cluster = cluster::Cluster<Consul>;

impl Kind for Consul {
    const NAME: &'static str = "Consul";
    const PATIENCE: Duration = Duration::from_secs(60);

    /// It knows a leader and writes by it, and it makes a session that is bound to its own health,
    /// which it cannot before the leader has heard of that. Where it asks for tokens, it also knows
    /// them.
    async fn is_ready(server: &Server) -> bool {
        let Some(leader) = server.answer("GET", "/v1/status/leader", "").await else {
            return false;
        };
        if leader == "\"\"" {
            return false;
        }
        if server.api().token().is_some()
            && server.answer("GET", "/v1/acl/policies", "").await.is_none()
        {
            return false;
        }
        // Should the second request not come through, the session ends by itself.
        let made = server.answer("PUT", "/v1/session/create", r#"{"TTL": "1h"}"#).await;
        let Some(session) = made.as_deref().and_then(|made| made.split('"').nth(3)) else {
            return false;
        };
        let ending = format!("/v1/session/destroy/{session}");
        server.answer("PUT", &ending, "").await.is_some()
    }

    async fn leads(server: &Server) -> bool {
        let about = server.api().try_ask("GET", "/v1/agent/self", "").await;
        about.is_ok_and(|about| {
            about.status == 200 && about.json()["Stats"]["consul"]["leader"] == "true"
        })
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
        let token = options.token();
        let recipe = options.into_recipe(image);
        let aside = recipe.ports.len() - 1;
        let addr = move |container: &Container| format!("127.0.0.1:{}", container.port(aside));
        Self::start_unready(recipe, |it| Consul { api: Api::new(addr(it), token) }).await
    }

    /// The server's HTTP interface, with every right.
    pub(crate) fn api(&self) -> &Api {
        &self.kind.api
    }

    /// What the server answers, if all goes well.
    async fn answer(&self, method: &'static str, path: &str, body: &'static str) -> Option<String> {
        let answer = self.api().try_ask(method, path, body).await.ok()?;
        (answer.status == 200).then(|| answer.text())
    }
}
