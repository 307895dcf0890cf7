use std::time::Instant;

use futures_util::future::join_all;

use super::options::Member;
use super::{Options, PATIENCE, PAUSE, Server};
use crate::harness::container::{At, unique_name};
use crate::harness::network::{self, OUTSIDE};
use crate::harness::on_harness;

/// Several servers that are one store. Members reach each other by a network of their own.
#[derive(Debug)]
pub(crate) struct Cluster {
    network: String,
    names: Vec<String>,
    members: Vec<Server>,
}

impl Cluster {
    /// Starts a cluster and waits until every member is ready.
    pub(crate) async fn start(members: usize) -> Self {
        Self::start_with(members, Options::default()).await
    }

    /// Starts a cluster of such members.
    pub(crate) async fn start_with(members: usize, options: Options) -> Self {
        let network = unique_name("peers");
        network::make(network.clone()).await;
        let names: Vec<_> = (0..members).map(|_| unique_name("etcd")).collect();
        let urls: Vec<_> = names.iter().map(|name| format!("{name}=http://{name}:2380")).collect();
        let starting = names.iter().map(|name| {
            let (network, name) = (network.clone(), name.clone());
            let member = Member { network, name, cluster: urls.join(",") };
            let options = options.clone().with_member(member);
            async move {
                let server = Server::start_unready(options).await;
                // Its ports are published where it first has a way out.
                server.container.connect(OUTSIDE, At::Any).await;
                server
            }
        });
        let members = join_all(starting).await;
        join_all(members.iter().map(Server::wait_ready)).await;
        Self { network, names, members }
    }

    /// Where clients reach each member.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Server::endpoint).collect()
    }

    /// A member, to be stopped or paused.
    pub(crate) fn member(&self, index: usize) -> &Server {
        &self.members[index]
    }

    /// Cuts a member off from the others. Clients still reach it.
    pub(crate) async fn isolate(&self, index: usize) {
        self.members[index].container.disconnect(&self.network).await;
    }

    /// Lets a member that was cut off reach the others again.
    pub(crate) async fn rejoin(&self, index: usize) {
        let name = At::Name(&self.names[index]);
        self.members[index].container.connect(&self.network, name).await;
    }

    /// Waits until some member that answers says that it leads, and says which.
    pub(crate) async fn leader(&self) -> usize {
        let start = Instant::now();
        loop {
            for (index, member) in self.members.iter().enumerate() {
                if member.is_ready().await
                    && says(&member.metrics().await, "etcd_server_is_leader 1")
                {
                    return index;
                }
            }
            assert!(start.elapsed() < PATIENCE, "no member says that it leads");
            on_harness(tokio::time::sleep(PAUSE)).await;
        }
    }
}

fn says(metrics: &str, line: &str) -> bool {
    metrics.lines().any(|there| there == line)
}
