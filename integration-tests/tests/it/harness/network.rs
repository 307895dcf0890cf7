//! Networks, for servers that are cut off from each other.

use testcontainers::bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};

use super::container::run;
use super::reaper::LABEL;
use super::{docker, on_harness};

/// The network that every machine with Docker has. It knows no names, and nothing passes between it
/// and the others, so that members which are cut off from each other do not meet by this way.
pub(super) const OUTSIDE: &str = "bridge";

/// How often a range of addresses is tried, where somebody else was faster to take it.
const TRIES: usize = 10;
/// The first of the addresses given to members; Docker has those before it.
const FIRST: usize = 11;

/// Makes a network without a way out of it.
pub(super) async fn make(name: String) {
    on_harness(async move { create(&name, None).await.expect("a network can be made") }).await;
}

/// Makes a network without a way out of it, and gives so many addresses in it. Docker lets a
/// container choose its address only where the network's range was chosen too, and which range is
/// free here only Docker knows: it makes the network twice.
pub(super) async fn make_with_addresses(name: String, members: usize) -> Vec<String> {
    on_harness(async move {
        for _ in 0..TRIES {
            create(&name, None).await.expect("a network can be made");
            let made = docker().await.inspect_network(&name, None).await;
            let ipam = made.expect("a network can be looked at").ipam.unwrap_or_default();
            let range = ipam.config.unwrap_or_default().into_iter().find_map(|one| one.subnet);
            let range = range.expect("a network has a range of addresses");
            docker().await.remove_network(&name).await.expect("a network can be removed");
            if create(&name, Some(range.clone())).await.is_ok() {
                return addresses(&range, members);
            }
        }
        panic!("no network could be made in {TRIES} tries");
    })
    .await
}

async fn create(
    name: &str,
    range: Option<String>,
) -> Result<(), testcontainers::bollard::errors::Error> {
    let config =
        range.map(|subnet| vec![IpamConfig { subnet: Some(subnet), ..Default::default() }]);
    let network = NetworkCreateRequest {
        name: name.to_owned(),
        internal: Some(true),
        labels: Some([(LABEL.to_owned(), run().to_owned())].into()),
        ipam: config.map(|config| Ipam { config: Some(config), ..Default::default() }),
        ..Default::default()
    };
    docker().await.create_network(network).await.map(drop)
}

/// Addresses in a range that ends in a zero, as Docker's do.
fn addresses(range: &str, count: usize) -> Vec<String> {
    let (start, _) = range.rsplit_once(".0/").expect("a range of Docker's");
    (FIRST..FIRST + count).map(|last| format!("{start}.{last}")).collect()
}
