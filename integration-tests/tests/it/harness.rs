//! Real servers for the tests: containers, one for all undisturbed cases and one of its own for each
//! case that disturbs, and a proxy to stand before them.
//!
//! Everything here may be called from any runtime. The work is done on a runtime of the harness's
//! own, because a shared server outlives the test that was the first to ask for it. What goes wrong
//! is a panic: a test without its server has failed.

#![allow(clippy::unwrap_used, reason = "this is for tests")]

pub(crate) mod certificates;
pub(crate) mod cluster;
pub(crate) mod consul;
pub(crate) mod container;
pub(crate) mod etcd;
pub(crate) mod exec;
mod http;
mod image;
mod network;
mod ports;
pub(crate) mod proxy;
mod reaper;
pub(crate) mod server;

use std::sync::LazyLock;

use testcontainers::bollard::Docker;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(2).thread_name("harness").enable_all();
    runtime.build().expect("a runtime starts")
});

/// Does something on the harness's own runtime.
async fn on_harness<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match RUNTIME.spawn(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The connection to the Docker Engine, on the harness's runtime only.
async fn docker() -> &'static Docker {
    static DOCKER: OnceCell<Docker> = OnceCell::const_new();
    let connecting = || async {
        let docker = testcontainers::core::client::docker_client_instance().await;
        let docker = docker.unwrap_or_else(|error| panic!("{NO_DOCKER}: {error}"));
        docker.ping().await.unwrap_or_else(|error| panic!("{NO_DOCKER}: {error}"));
        docker
    };
    DOCKER.get_or_init(connecting).await
}

const NO_DOCKER: &str = "these tests need a server, and no Docker Engine answers. Run `cargo xtask \
    test`, which prepares what is missing, or name running servers, as the README says";
