use rustix::process::Signal;

use super::Place;

#[tokio::test]
async fn the_command_knows_its_lock_and_its_token_grows() {
    let place = Place::new().await;
    let script = "echo \"$LIBKV_LOCK_KEY $LIBKV_LOCK_TOKEN\"; exit 42";
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let run = place.home.run(&["lock", "a b/ö", "--", "sh", "-c", script]);
        // Others are not shut out, and so nothing is said.
        assert_eq!((run.code, &*run.err), (42, ""));
        let (key, token) = run.text().trim_end().rsplit_once(' ').unwrap();
        assert_eq!(key, "a b/ö");
        tokens.push(token.parse::<u64>().unwrap());
    }
    assert!(tokens[0] < tokens[1], "{tokens:?}");
    assert_eq!(place.nodes("a b/ö").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_lock_that_another_process_holds_exits_with_5() {
    let place = Place::new().await;
    let held = "trap 'exit 3' TERM; echo in; sleep 60 >/dev/null 2>&1 & wait";
    let mut holder = place.home.start(&["lock", "k", "--value", "me", "--", "sh", "-c", held]);
    assert_eq!(holder.line(), "in");
    assert_eq!(place.home.ok(&["get", "k"]).text(), "me");
    for patience in [&["--try"][..], &["--wait", "200ms"]] {
        let run = place.home.run(&[&["lock", "k"], patience, &["--", "true"]].concat());
        assert_eq!((run.code, run.err.lines().count()), (5, 1), "{}", run.err);
        assert!(run.err.contains("etcd lock k: cannot lock"), "{}", run.err);
        assert!(run.err.contains(&place.server.endpoint()), "{}", run.err);
    }
    holder.signal(Signal::TERM);
    assert_eq!(holder.end().code, 3);
    place.home.ok(&["lock", "k", "--try", "--", "true"]);
}

#[tokio::test]
async fn a_lock_whose_node_is_deleted_ends_the_command_and_exits_with_6() {
    let place = Place::new().await;
    let script = "trap 'echo asked; exit 0' TERM; echo in; sleep 60 >/dev/null 2>&1 & wait";
    let mut lock = place.home.start(&["lock", "k", "--", "sh", "-c", script]);
    assert_eq!(lock.line(), "in");
    let nodes = place.nodes("k").await;
    assert_eq!(nodes.len(), 1);
    place.etcdctl(&["del", &nodes[0]]).await;
    assert_eq!(lock.line(), "asked");
    let run = lock.end();
    assert_eq!((run.code, run.err.lines().count()), (6, 1), "{}", run.err);
    assert!(run.err.contains("etcd lock k: lock lost"), "{}", run.err);
    assert!(run.err.contains(&place.server.endpoint()), "{}", run.err);
}

#[tokio::test]
async fn etcdctl_and_the_program_shut_each_other_out() {
    let place = Place::new().await;
    let name = place.name("k");
    let server = place.server.server();
    let mut theirs = server.spawn(&["etcdctl", "lock", &name]).await;
    assert!(theirs.line().await.unwrap().starts_with(&format!("{name}/")));
    assert_eq!(place.home.run(&["lock", "k", "--try", "--", "true"]).code, 5);
    let script = "trap 'exit 0' TERM; echo in; sleep 60 >/dev/null 2>&1 & wait";
    let mut ours = place.home.start(&["lock", "k", "--", "sh", "-c", script]);
    ours.wait_for_words("waiting for the lock k");
    theirs.interrupt().await;
    assert_eq!(ours.line(), "in");
    // While etcdctl runs its command, its node must be alone: ours is gone.
    let look = ["--", "etcdctl", "get", "--prefix", "--keys-only", &format!("{name}/")];
    let mut theirs = server.spawn(&[&["etcdctl", "lock", &name], &look[..]].concat()).await;
    place.wait_for_nodes("k", 2).await;
    ours.signal(Signal::TERM);
    assert_eq!(ours.end().code, 0);
    let mut held = Vec::new();
    while let Some(line) = theirs.line().await {
        held.extend(Some(line).filter(|line| !line.is_empty()));
    }
    assert_eq!(held.len(), 1, "{held:?}");
}
