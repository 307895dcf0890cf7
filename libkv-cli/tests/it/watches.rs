use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::home::Home;

fn event(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is no event"))
}

#[test]
fn a_watch_shows_the_state_then_changes_each_line_at_once() {
    let home = Home::new();
    home.ok(&["put", "d/a", "1"]);
    home.ok(&["put", "apart", "x"]);
    assert_eq!(home.run_with(&["put", "d/b", "--ttl", "1s"], b"\xff").code, 0);
    let mut watch = home.start(&["watch", "d/", "--output", "jsonl"]);
    let (first, second) = (event(&watch.line()), event(&watch.line()));
    assert_eq!((&first["event"], &first["key"]), (&"put".into(), &"d/a".into()));
    assert_eq!(first["value"], "1");
    assert_eq!(first["version"], format!("file:{}", first["index"]));
    assert_eq!(second["value"]["base64"], "/w==");
    assert_eq!(event(&watch.line())["event"], "synced");
    // Nobody else can write to a file: store, but time does.
    let gone = event(&watch.line());
    assert_eq!((&gone["event"], &gone["key"]), (&"delete".into(), &"d/b".into()));
    assert!(gone["index"].as_u64() > second["index"].as_u64());
    watch.signal(Signal::INT);
    let run = watch.end();
    assert_eq!(run.code, 130);
    assert_eq!(run.err, "libkv: no other process can use file:store.redb until this one ends\n");
}

#[test]
fn plain_events_are_one_line_each() {
    let home = Home::new();
    home.ok(&["put", "a", "two\nlines \u{1b}[31m"]);
    assert_eq!(home.run_with(&["put", "b"], b"\xff\xfe").code, 0);
    let run = home.ok(&["watch", "/", "--count", "2"]);
    insta::assert_snapshot!("plain-events", run.text());
}

#[test]
fn the_target_is_a_key_or_with_a_slash_a_tree() {
    let home = Home::new();
    home.ok(&["put", "a", "1"]);
    home.ok(&["put", "a/b", "2"]);
    let first = |target: &str| home.ok(&["watch", target, "--count", "1"]).text().to_owned();
    assert_eq!(first("a"), "put     a  1\n");
    assert_eq!(first("a/"), "put     a/b  2\n");
    assert_eq!(first("/"), "put     a  1\n");
}

#[test]
fn the_beginning_can_be_chosen() {
    let home = Home::new();
    home.ok(&["put", "a", "1"]);
    let index = home.ok(&["put", "b", "1", "--output", "jsonl"]);
    let index = event(index.text())["index"].to_string();
    home.ok(&["put", "c", "1"]);
    let from = home.ok(&["watch", "/", "--from", &index, "--count", "1"]);
    assert_eq!(from.text(), "put     c  1\n");
    let mut without = home.start(&["watch", "/", "--no-initial", "--output", "json"]);
    assert_eq!(event(&without.line())["event"], "synced");
    without.signal(Signal::TERM);
    let run = without.end();
    assert_eq!((run.code, run.text()), (143, ""));
}

#[test]
fn history_that_is_gone_is_told() {
    let home = Home::new();
    home.ok(&["put", "a", "1"]);
    // An index from the future is none of this store's.
    let run = home.start(&["watch", "/", "--from", "999999", "--count", "1", "--output", "jsonl"]);
    let run = {
        std::thread::sleep(Duration::from_millis(300));
        run.signal(Signal::TERM);
        run.end()
    };
    let first = event(run.text().lines().next().unwrap());
    assert_eq!(first["event"], "resync", "{}", run.text());
    assert!(first["reason"].is_string());
}

#[test]
fn nothing_is_left_behind_when_a_watch_is_interrupted() {
    let home = Home::new();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut watch = home.start(&["watch", "/"]);
        assert_eq!(watch.line().split(' ').next(), Some("synced"));
        watch.signal(signal);
        let run = watch.end();
        assert_eq!(run.code, 128 + signal.as_raw());
        assert!(run.err.lines().count() <= 1, "{}", run.err);
        home.ok(&["ls", "--timeout", "2s"]);
    }
}
