use futures_util::future::join_all;

use super::options::Member;
use super::{Cluster, Options, Server};
use crate::harness::container::{At, unique_name};
use crate::harness::network::{self, OUTSIDE};

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
                let server = Server::begin(options).await;
                // Its ports are published where it first has a way out.
                server.container.connect(OUTSIDE, &At::Any).await;
                server
            }
        });
        let members = join_all(starting).await;
        Self::of(network, names.into_iter().map(At::Name).collect(), members).await
    }
}
