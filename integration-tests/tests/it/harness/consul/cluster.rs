use std::time::Instant;

use futures_util::future::join_all;

use super::options::Member;
use super::{Options, PATIENCE, PAUSE, Server};
use crate::harness::container::{At, unique_name};
use crate::harness::{network, on_harness};

/// Several servers that are one store. Members reach each other by a network of their own, where
/// they keep their addresses: what is agreed on among them names members by these.
#[derive(Debug)]
pub(crate) struct Cluster {
    network: String,
    addresses: Vec<String>,
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
        let addresses = network::make_with_addresses(network.clone(), members).await;
        let starting = addresses.iter().map(|address| {
            let (network, address) = (network.clone(), address.clone());
            let name = unique_name("consul");
            let member = Member { name, address: address.clone(), cluster: addresses.clone() };
            let options = options.clone().with_member(member);
            async move {
                let server = Server::start_unready(options).await;
                // Until it is there it does not find the others, and tries again.
                server.container.connect(&network, At::Address(&address)).await;
                server
            }
        });
        let members = join_all(starting).await;
        join_all(members.iter().map(Server::wait_ready)).await;
        Self { network, addresses, members }
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
        let address = At::Address(&self.addresses[index]);
        self.members[index].container.connect(&self.network, address).await;
    }

    /// Waits until some member that answers says that it leads, and says which.
    pub(crate) async fn leader(&self) -> usize {
        let start = Instant::now();
        loop {
            for (index, member) in self.members.iter().enumerate() {
                if member.is_ready().await && member.leads().await {
                    return index;
                }
            }
            assert!(start.elapsed() < PATIENCE, "no member says that it leads");
            on_harness(tokio::time::sleep(PAUSE)).await;
        }
    }
}
