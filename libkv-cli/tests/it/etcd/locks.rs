use rustix::process::Signal;

use super::place;

#[tokio::test]
async fn a_lock_is_a_node_for_each_who_waits_and_none_afterwards() {
    let place = place().await;
    let script = "trap 'exit 0' TERM; echo in; sleep 60 >/dev/null 2>&1 & wait";
    let mut ours = place.home.start(&["lock", "k", "--", "sh", "-c", script]);
    assert_eq!(ours.line(), "in");
    // While etcdctl runs its command, its node must be alone: ours is gone.
    let name = place.name("k");
    let look = ["--", "etcdctl", "get", "--prefix", "--keys-only", &format!("{name}/")];
    let lock = [&["etcdctl", "lock", &name], &look[..]].concat();
    let mut theirs = place.server.spawn(&lock).await;
    let start = std::time::Instant::now();
    while place.nodes("k").await.len() != 2 {
        assert!(start.elapsed() < crate::home::PATIENCE, "etcdctl never waits");
    }
    ours.signal(Signal::TERM);
    assert_eq!(ours.end().code, 0);
    let mut held = Vec::new();
    while let Some(line) = theirs.line().await {
        held.extend(Some(line).filter(|line| !line.is_empty()));
    }
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!(place.nodes("k").await, Vec::<String>::new());
}
