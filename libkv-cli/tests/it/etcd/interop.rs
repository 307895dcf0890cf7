use super::place;
use crate::home::Home;

#[tokio::test]
async fn names_that_are_no_keys_are_reached_by_a_prefix() {
    let place = place().await;
    let name = format!("/{}", place.name("pods"));
    place.client(&["etcdctl", "put", &name, "one"], b"").await;
    let endpoint = place.endpoint();
    let raw = Home::with_store(format!("etcd://{endpoint}?prefix=/{}/", place.root));
    assert_eq!(raw.ok(&["ls"]).text(), "pods\n");
    assert_eq!(raw.ok(&["get", "pods"]).text(), "one");
    place.client(&["etcdctl", "del", &name], b"").await;
}
