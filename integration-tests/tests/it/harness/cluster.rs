use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::container::At;
use super::on_harness;
use super::server::{Kind, Server};

const PAUSE: Duration = Duration::from_millis(20);

/// Several servers that are one store. Members reach each other by a network of their own, where
/// they keep their places.
#[derive(Debug)]
pub(crate) struct Cluster<K> {
    network: String,
    /// Where each member is in the network.
    places: Vec<At>,
    members: Vec<Server<K>>,
}

impl<K: Kind> Cluster<K> {
    /// Waits until every member is ready.
    pub(super) async fn of(network: String, places: Vec<At>, members: Vec<Server<K>>) -> Self {
        join_all(members.iter().map(Server::wait_ready)).await;
        Self { network, places, members }
    }

    /// Where clients reach each member.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Server::endpoint).collect()
    }

    /// A member, to be stopped or paused.
    pub(crate) fn member(&self, index: usize) -> &Server<K> {
        &self.members[index]
    }

    /// Cuts a member off from the others. Clients still reach it.
    pub(crate) async fn isolate(&self, index: usize) {
        self.members[index].container.disconnect(&self.network).await;
    }

    /// Lets a member that was cut off reach the others again.
    pub(crate) async fn rejoin(&self, index: usize) {
        self.members[index].container.connect(&self.network, &self.places[index]).await;
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
            assert!(start.elapsed() < K::PATIENCE, "no member says that it leads");
            on_harness(tokio::time::sleep(PAUSE)).await;
        }
    }
}
