use rustix::process::Signal;
use serde_json::Value;

use super::Place;

fn event(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is no event"))
}

#[tokio::test]
async fn a_watch_sees_what_the_servers_client_does_and_ends_on_ctrl_c() {
    for place in Place::all().await {
        place.home.ok(&["put", "d/a", "1"]);
        let mut watch = place.home.start(&["watch", "d/", "--output", "jsonl"]);
        assert_eq!(event(&watch.line())["value"], "1");
        assert_eq!(event(&watch.line())["event"], "synced");
        place.put("d/ä b", b"2").await;
        let put = event(&watch.line());
        assert_eq!((&put["event"], &put["key"]), (&"put".into(), &"d/ä b".into()));
        let version = format!("{}:{}", place.server.scheme(), put["index"]);
        assert_eq!((&put["value"], put["version"].as_str()), (&"2".into(), Some(&*version)));
        place.put("apart", b"x").await;
        place.delete("d/a").await;
        let gone = event(&watch.line());
        assert_eq!((&gone["event"], &gone["key"]), (&"delete".into(), &"d/a".into()));
        // Others are not shut out, and so nothing is said.
        place.home.ok(&["put", "d/c", "3"]);
        assert_eq!(event(&watch.line())["key"], "d/c");
        watch.signal(Signal::INT);
        let run = watch.end();
        assert_eq!((run.code, run.text(), &*run.err), (130, "", ""));
        from_the_past(&place, &put["index"].to_string());
    }
}

/// What was missed is in the history of a server that has one.
fn from_the_past(place: &Place, index: &str) {
    let run = place.home.run(&["watch", "d/", "--from", index, "--count", "2"]);
    match place.server.scheme() {
        "etcd" => assert_eq!((run.code, run.text()), (0, "delete  d/a\nput     d/c  3\n")),
        _ => {
            super::is_one_line(&run, 1, &place.endpoint());
            assert!(run.err.contains("keeps no history"), "{}", run.err);
        }
    }
}

#[tokio::test]
async fn a_command_is_run_for_each_change_of_others() {
    for place in Place::all().await {
        place.home.ok(&["put", "d/a", "1"]);
        let script = "echo \"$LIBKV_KEY $LIBKV_EVENT\"";
        let args = ["watch", "d/", "--count", "2", "--exec", "--", "sh", "-c", script];
        let mut watch = place.home.start(&args);
        assert!(watch.line().starts_with("d/a {\"event\":\"put\""));
        place.delete("d/a").await;
        assert!(watch.line().starts_with("d/a {\"event\":\"delete\""));
        let run = watch.end();
        assert_eq!((run.code, &*run.err), (0, ""));
    }
}
