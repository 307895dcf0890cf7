use rustix::process::Signal;
use serde_json::Value;

use crate::home::Home;

#[test]
fn each_change_runs_the_command_with_the_event() {
    let home = Home::new();
    home.ok(&["put", "d/a", "1"]);
    home.ok(&["put", "d/b", "2", "--ttl", "1s"]);
    let script = "echo \"$LIBKV_KEY\"; echo \"$LIBKV_EVENT\"; cat; echo";
    let run = home.ok(&["watch", "d/", "--count", "3", "--exec", "--", "sh", "-c", script]);
    let lines: Vec<_> = run.text().lines().collect();
    let seen: Vec<_> = lines
        .chunks(3)
        .map(|lines| {
            assert_eq!(lines[1], lines[2], "variable and input are the same");
            let event: Value = serde_json::from_str(lines[1]).unwrap();
            assert_eq!(event["key"], lines[0]);
            format!("{} {}", event["event"].as_str().unwrap(), lines[0])
        })
        .collect();
    assert_eq!(seen, ["put d/a", "put d/b", "delete d/b"]);
}

#[test]
fn a_command_that_reads_nothing_and_a_value_that_fits_no_variable_are_fine() {
    let home = Home::new();
    let long = "x".repeat(1 << 20);
    assert_eq!(home.run_with(&["put", "long"], long.as_bytes()).code, 0);
    home.ok(&["watch", "long", "--count", "1", "--exec", "--", "true"]);
    let script = "echo \"$LIBKV_EVENT\"; wc -c";
    let run = home.ok(&["watch", "long", "--count", "1", "--exec", "--", "sh", "-c", script]);
    let (variable, input) = run.text().split_once('\n').unwrap();
    let event: Value = serde_json::from_str(variable).unwrap();
    assert_eq!((&event["event"], event.get("value")), (&"put".into(), None));
    assert!(input.trim().parse::<usize>().unwrap() > long.len());
}

#[test]
fn a_command_that_fails_is_told_and_the_watch_goes_on() {
    let home = Home::new();
    home.ok(&["put", "a", "1"]);
    home.ok(&["put", "b", "1"]);
    let script = "echo \"$LIBKV_KEY\"; test \"$LIBKV_KEY\" = b || exit 3";
    let run = home.run(&["watch", "/", "--count", "2", "--exec", "--", "sh", "-c", script]);
    assert_eq!((run.code, run.text()), (1, "a\nb\n"));
    assert!(run.err.contains("the command for a ended with 3"), "{}", run.err);
}

#[test]
fn a_command_that_is_not_there_ends_the_watch() {
    let home = Home::new();
    home.ok(&["put", "a", "1"]);
    let run = home.run(&["watch", "/", "-q", "--exec", "--", "no-such-command"]);
    assert_eq!(run.code, 127);
    assert_eq!(
        run.err,
        "libkv: the command no-such-command cannot be run: no such file or directory\n"
    );
}

#[test]
fn a_signal_reaches_the_command_that_runs() {
    let home = Home::new();
    home.ok(&["put", "a", "1"]);
    let script = "trap 'echo told; exit 0' TERM; echo in; sleep 60 >/dev/null 2>&1 & wait";
    let mut watch = home.start(&["watch", "/", "--exec", "--", "sh", "-c", script]);
    assert_eq!(watch.line(), "in");
    watch.signal(Signal::TERM);
    assert_eq!(watch.line(), "told");
    assert_eq!(watch.end().code, 143);
}
