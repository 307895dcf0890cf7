use futures_util::future::join_all;

use super::options::Member;
use super::{Cluster, Options, Server};
use crate::harness::container::{At, unique_name};
use crate::harness::network;

impl Cluster {
    /// Starts a cluster and waits until every member is ready.
    pub(crate) async fn start(members: usize) -> Self {
        Self::start_with(members, Options::default()).await
    }

    /// Starts a cluster of such members. What is agreed on among them names members by their
    /// addresses.
    pub(crate) async fn start_with(members: usize, options: Options) -> Self {
        let network = unique_name("peers");
        let addresses = network::make_with_addresses(network.clone(), members).await;
        let starting = addresses.iter().map(|address| {
            let (network, address) = (network.clone(), address.clone());
            let name = unique_name("consul");
            let member = Member { name, address: address.clone(), cluster: addresses.clone() };
            let options = options.clone().with_member(member);
            async move {
                let server = Server::begin(options).await;
                // Until it is there it does not find the others, and tries again.
                server.container.connect(&network, &At::Address(address)).await;
                server
            }
        });
        let members = join_all(starting).await;
        Self::of(network, addresses.into_iter().map(At::Address).collect(), members).await
    }
}
