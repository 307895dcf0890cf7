//! Containers: how they are started, stopped, cut off and removed.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::StreamExt;
use testcontainers::bollard::models::{
    EndpointIpamConfig, EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest,
};
use testcontainers::bollard::query_parameters::{LogsOptionsBuilder, StopContainerOptionsBuilder};
use testcontainers::core::{IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::sync::oneshot;

use super::reaper::{LABEL, Reaper};
use super::{docker, on_harness, ports};

static REAPER: LazyLock<Reaper> = LazyLock::new(Reaper::start);

/// How often another port is tried, where Docker says that one is taken.
const TRIES: usize = 10;

/// What to start.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    pub(super) image: String,
    pub(super) program: &'static str,
    /// Its arguments, where `{0}` stands for the port here that leads to the first of `ports`.
    pub(super) args: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// The ports inside that are to be reached from here.
    pub(super) ports: &'static [u16],
    /// The network that it is in at first, and its name there; otherwise it is in the usual one.
    pub(super) network: Option<(String, String)>,
    /// A folder in memory, which is empty again after a stop.
    pub(super) in_memory: Option<&'static str>,
}

/// Where a container is to be found in a network.
#[derive(Debug, Clone)]
pub(super) enum At {
    Any,
    Name(String),
    Address(String),
}

/// A container, which is removed when this is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    id: String,
    ports: Vec<u16>,
    /// Whoever removes it waits for the end of this.
    _kept: Arc<oneshot::Sender<()>>,
}

/// The name of a network or container, unique on this machine.
pub(super) fn unique_name(what: &str) -> String {
    format!("libkv-{}-{what}-{:08x}", run(), fastrand::u32(..))
}

/// The name of this run, which everything is labelled with.
pub(super) fn run() -> &'static str {
    REAPER.run()
}

impl Container {
    /// Starts a container, on ports that it keeps while it is stopped and started.
    pub(super) async fn start(recipe: Recipe) -> Self {
        on_harness(async move {
            docker().await;
            for _ in 0..TRIES {
                let mut ports = Vec::new();
                for _ in recipe.ports {
                    ports.push(ports::free().await);
                }
                match recipe.request(&ports).start().await {
                    Ok(container) => return Self::keep(container, ports),
                    Err(error) if is_taken(&format!("{error:?}")) => {}
                    Err(error) => panic!("a container of {} does not start: {error}", recipe.image),
                }
            }
            panic!("no port could be published in {TRIES} tries");
        })
        .await
    }

    fn keep(container: ContainerAsync<GenericImage>, ports: Vec<u16>) -> Self {
        let id = container.id().to_owned();
        let (kept, dropped) = oneshot::channel();
        tokio::spawn(async move {
            let _ = dropped.await;
            // Where this fails, the reaper removes it.
            let _ = container.rm().await;
        });
        Self { id, ports, _kept: Arc::new(kept) }
    }

    /// The port here that leads to one of the recipe's.
    pub(super) fn port(&self, index: usize) -> u16 {
        self.ports[index]
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Ends its process, as a machine does that is switched off.
    pub(super) async fn kill(&self) {
        let id = self.id.clone();
        let killing = async move { docker().await.kill_container(&id, None).await };
        on_harness(killing).await.expect("a container can be killed");
    }

    /// Ends its process in an orderly way.
    pub(super) async fn stop(&self) {
        let id = self.id.clone();
        let patience = StopContainerOptionsBuilder::new().t(10).build();
        let stopping = async move { docker().await.stop_container(&id, Some(patience)).await };
        on_harness(stopping).await.expect("a container can be stopped");
    }

    /// Starts it again, with what it had written.
    pub(super) async fn start_again(&self) {
        let id = self.id.clone();
        let starting = async move { docker().await.start_container(&id, None).await };
        on_harness(starting).await.expect("a container can be started again");
    }

    pub(super) async fn pause(&self) {
        let id = self.id.clone();
        let pausing = async move { docker().await.pause_container(&id).await };
        on_harness(pausing).await.expect("a container can be paused");
    }

    pub(super) async fn unpause(&self) {
        let id = self.id.clone();
        let going_on = async move { docker().await.unpause_container(&id).await };
        on_harness(going_on).await.expect("a container can go on");
    }

    /// Whether its process runs.
    pub(super) async fn is_running(&self) -> bool {
        let id = self.id.clone();
        let looking = async move { docker().await.inspect_container(&id, None).await };
        let state = on_harness(looking).await.expect("a container can be looked at").state;
        state.and_then(|state| state.running).unwrap_or(false)
    }

    /// Joins a network, by a name there or at an address of its own.
    pub(super) async fn connect(&self, network: &str, at: &At) {
        let mut endpoint = EndpointSettings::default();
        match at {
            At::Any => {}
            At::Name(name) => endpoint.aliases = Some(vec![name.clone()]),
            At::Address(address) => {
                let config = EndpointIpamConfig {
                    ipv4_address: Some(address.clone()),
                    ..Default::default()
                };
                endpoint.ipam_config = Some(config);
            }
        }
        let request =
            NetworkConnectRequest { container: self.id.clone(), endpoint_config: Some(endpoint) };
        let network = network.to_owned();
        let connecting = async move { docker().await.connect_network(&network, request).await };
        on_harness(connecting).await.expect("a container can be connected");
    }

    pub(super) async fn disconnect(&self, network: &str) {
        let request = NetworkDisconnectRequest { container: self.id.clone(), force: Some(true) };
        let network = network.to_owned();
        let disconnecting =
            async move { docker().await.disconnect_network(&network, request).await };
        on_harness(disconnecting).await.expect("a container can be disconnected");
    }

    /// The end of what it has written to its output.
    pub(super) async fn logs(&self) -> String {
        let id = self.id.clone();
        on_harness(async move {
            let which = LogsOptionsBuilder::new().stdout(true).stderr(true).tail("30").build();
            let mut lines = docker().await.logs(&id, Some(which));
            let mut text = String::new();
            while let Some(Ok(line)) = lines.next().await {
                text += &line.to_string();
            }
            text
        })
        .await
    }
}

impl Recipe {
    fn request(&self, ports: &[u16]) -> ContainerRequest<GenericImage> {
        let (name, tag) = split(&self.image);
        let image = GenericImage::new(name, tag).with_entrypoint(self.program);
        let mut request = image
            .with_cmd(self.args.iter().map(|arg| fill(arg, ports)))
            .with_label(LABEL, run())
            .with_startup_timeout(Duration::from_secs(60))
            .with_host_config_modifier(|host| {
                // Servers without a password are for this machine only.
                let published = host.port_bindings.iter_mut().flat_map(|ports| ports.values_mut());
                for binding in published.flatten().flatten() {
                    binding.host_ip = Some("127.0.0.1".to_owned());
                }
            });
        for (inside, outside) in self.ports.iter().zip(ports) {
            request = request.with_mapped_port(*outside, inside.tcp());
        }
        for (name, value) in &self.environment {
            request = request.with_env_var(name, value);
        }
        for (path, content) in &self.files {
            request = request.with_copy_to(path, content.clone());
        }
        if let Some((network, name)) = &self.network {
            request = request.with_network(network).with_container_name(name);
        }
        match self.in_memory {
            Some(folder) => request.with_mount(Mount::tmpfs_mount(folder)),
            None => request,
        }
    }
}

fn fill(arg: &str, ports: &[u16]) -> String {
    let filled = |arg: String, (index, port): (usize, &u16)| {
        arg.replace(&format!("{{{index}}}"), &port.to_string())
    };
    ports.iter().enumerate().fold(arg.to_owned(), filled)
}

/// Splits an image's name from its tag; a registry may have a port too.
fn split(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

fn is_taken(error: &str) -> bool {
    error.contains("port is already allocated") || error.contains("address already in use")
}
