use rustix::process::Signal;
use serde_json::Value;

use super::Place;

fn event(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is no event"))
}

#[tokio::test]
async fn a_watch_sees_what_etcdctl_does_and_ends_on_ctrl_c() {
    let place = Place::new().await;
    place.home.ok(&["put", "d/a", "1"]);
    let mut watch = place.home.start(&["watch", "d/", "--output", "jsonl"]);
    assert_eq!(event(&watch.line())["value"], "1");
    assert_eq!(event(&watch.line())["event"], "synced");
    place.etcdctl(&["put", &place.name("d/ä b"), "2"]).await;
    let put = event(&watch.line());
    assert_eq!((&put["event"], &put["key"]), (&"put".into(), &"d/ä b".into()));
    assert_eq!(
        (&put["value"], put["version"].as_str()),
        (&"2".into(), Some(&*format!("etcd:{}", put["index"])))
    );
    place.etcdctl(&["put", &place.name("apart"), "x"]).await;
    place.etcdctl(&["del", &place.name("d/a")]).await;
    let gone = event(&watch.line());
    assert_eq!((&gone["event"], &gone["key"]), (&"delete".into(), &"d/a".into()));
    // Others are not shut out, and so nothing is said.
    place.home.ok(&["put", "d/c", "3"]);
    assert_eq!(event(&watch.line())["key"], "d/c");
    watch.signal(Signal::INT);
    let run = watch.end();
    assert_eq!((run.code, run.text(), &*run.err), (130, "", ""));
    // What was missed is in the history.
    let index = put["index"].to_string();
    let rest = place.home.ok(&["watch", "d/", "--from", &index, "--count", "2"]);
    assert_eq!(rest.text(), "delete  d/a\nput     d/c  3\n");
}

#[tokio::test]
async fn a_command_is_run_for_each_change_of_others() {
    let place = Place::new().await;
    place.home.ok(&["put", "d/a", "1"]);
    let script = "echo \"$LIBKV_KEY $LIBKV_EVENT\"";
    let args = ["watch", "d/", "--count", "2", "--exec", "--", "sh", "-c", script];
    let mut watch = place.home.start(&args);
    assert!(watch.line().starts_with("d/a {\"event\":\"put\""));
    place.etcdctl(&["del", &place.name("d/a")]).await;
    assert!(watch.line().starts_with("d/a {\"event\":\"delete\""));
    let run = watch.end();
    assert_eq!((run.code, &*run.err), (0, ""));
}
