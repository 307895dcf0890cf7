//! What is the same for servers of every kind.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::container::{Container, Recipe};
use super::exec::{Output, Running};
use super::on_harness;

const PAUSE: Duration = Duration::from_millis(20);

/// A kind of server, and what one of them needs besides its container.
pub(crate) trait Kind: Debug + Send + Sync + Sized + 'static {
    const NAME: &'static str;
    /// No server takes this long to be ready.
    const PATIENCE: Duration;

    /// Whether the server does all that it is for.
    fn is_ready(server: &Server<Self>) -> impl Future<Output = bool> + Send;

    /// Whether the server says that it leads the others.
    fn leads(server: &Server<Self>) -> impl Future<Output = bool> + Send;
}

/// A server of a test's own, which is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server<K> {
    pub(super) container: Container,
    pub(super) kind: K,
}

impl<K: Kind> Server<K> {
    /// Starts a server that need not be ready; its `kind` may depend on where it is reached.
    pub(super) async fn start_unready(
        recipe: Recipe,
        kind: impl FnOnce(&Container) -> K + Send,
    ) -> Self {
        let container = Container::start(recipe).await;
        let kind = kind(&container);
        Self { container, kind }
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

    /// Runs a program to its end. The server's own client finds the server by itself, and has every
    /// right.
    pub(crate) async fn exec(&self, command: &[&str]) -> Output {
        self.exec_with(command, Bytes::new()).await
    }

    /// Runs a program to its end, and gives it `input`.
    pub(crate) async fn exec_with(&self, command: &[&str], input: impl Into<Bytes>) -> Output {
        self.container.exec(command, input.into()).await
    }

    /// Starts a program that runs on, such as `etcdctl lock` or `consul lock`.
    pub(crate) async fn spawn(&self, command: &[&str]) -> Running {
        self.container.spawn(command).await
    }

    /// Whether the server does all that it is for.
    pub(crate) async fn is_ready(&self) -> bool {
        K::is_ready(self).await
    }

    /// Whether the server says that it leads the others, and so is the one that decides.
    pub(crate) async fn leads(&self) -> bool {
        K::leads(self).await
    }

    /// Waits until the server does all that it is for.
    pub(crate) async fn wait_ready(&self) {
        let (start, name) = (Instant::now(), K::NAME);
        while !self.is_ready().await {
            if start.elapsed() > K::PATIENCE || !self.container.is_running().await {
                panic!("{name} did not become ready:\n{}", self.container.logs().await);
            }
            on_harness(tokio::time::sleep(PAUSE)).await;
        }
    }
}
