use rustix::process::Signal;

use super::{Place, is_one_line};

/// Says that it has the lock, and ends with 3 when it is asked to.
const HOLDER: &str = "trap 'echo asked; exit 3' TERM; echo in; sleep 60 >/dev/null 2>&1 & wait";

#[tokio::test]
async fn the_command_knows_its_lock_and_its_token_grows() {
    for place in Place::all().await {
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
    }
}

#[tokio::test]
async fn a_lock_that_another_process_holds_exits_with_5() {
    for place in Place::all().await {
        let args = ["lock", "k", "--value", "me", "--", "sh", "-c", HOLDER];
        let mut holder = place.home.start(&args);
        assert_eq!(holder.line(), "in");
        assert_eq!(place.home.ok(&["get", "k"]).text(), "me");
        for patience in [&["--try"][..], &["--wait", "200ms"]] {
            let run = place.home.run(&[&["lock", "k"], patience, &["--", "true"]].concat());
            is_one_line(&run, 5, &place.endpoint());
            let words = format!("{} lock k: cannot lock", place.server.scheme());
            assert!(run.err.contains(&words), "{}", run.err);
        }
        holder.signal(Signal::TERM);
        assert_eq!(holder.end().code, 3);
        place.home.ok(&["lock", "k", "--try", "--", "true"]);
    }
}

#[tokio::test]
async fn a_lock_whose_node_is_deleted_ends_the_command_and_exits_with_6() {
    for place in Place::all().await {
        let mut lock = place.home.start(&["lock", "k", "--", "sh", "-c", HOLDER]);
        assert_eq!(lock.line(), "in");
        let nodes = place.nodes("k").await;
        assert_eq!(nodes.len(), 1);
        place.delete(&nodes[0]).await;
        assert_eq!(lock.line(), "asked");
        let run = lock.end();
        is_one_line(&run, 6, &place.endpoint());
        let words = format!("{} lock k: lock lost", place.server.scheme());
        assert!(run.err.contains(&words), "{}", run.err);
    }
}

#[tokio::test]
async fn the_servers_client_and_the_program_shut_each_other_out() {
    for place in Place::all().await {
        let mut theirs = place.lock("k").await;
        assert!(theirs.line().await.is_some());
        assert_eq!(place.home.run(&["lock", "k", "--try", "--", "true"]).code, 5);
        let mut ours = place.home.start(&["lock", "k", "--", "sh", "-c", HOLDER]);
        ours.wait_for_words("waiting for the lock k");
        theirs.interrupt().await;
        assert_eq!(ours.line(), "in");
        let mut theirs = place.lock("k").await;
        ours.signal(Signal::TERM);
        assert_eq!(ours.end().code, 3);
        assert!(theirs.line().await.is_some());
        assert_eq!(place.home.run(&["lock", "k", "--try", "--", "true"]).code, 5);
        theirs.interrupt().await;
    }
}
