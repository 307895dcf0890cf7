use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::home::Home;

#[test]
fn the_command_knows_its_lock_and_gives_its_exit_code() {
    let home = Home::new();
    let script = "echo \"$LIBKV_LOCK_KEY\" \"$LIBKV_LOCK_TOKEN\"; cat; exit 42";
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let run = home.run_with(&["lock", "a/b", "--", "sh", "-c", script], b"our input");
        assert_eq!(run.code, 42);
        let (first, input) = run.text().split_once('\n').unwrap();
        assert_eq!(input, "our input");
        let (key, token) = first.split_once(' ').unwrap();
        assert_eq!(key, "a/b");
        tokens.push(token.parse::<u64>().unwrap());
        assert_eq!(
            run.err,
            "libkv: no other process can use file:store.redb until this one ends\n"
        );
    }
    assert!(tokens[0] < tokens[1], "{tokens:?}");
}

#[test]
fn a_value_is_there_while_the_lock_is_and_the_key_is_alone_otherwise() {
    let home = Home::new();
    home.ok(&["put", "k", "mine"]);
    home.ok(&["lock", "k", "--", "true"]);
    assert_eq!(home.ok(&["get", "k"]).text(), "mine");
    home.ok(&["lock", "k", "--value", "holder", "--try", "--", "true"]);
    assert_eq!(home.run(&["get", "k"]).code, 3);
    home.ok(&["lock", "k", "--wait", "1s", "--ttl", "1m", "--", "true"]);
}

#[test]
fn a_command_that_cannot_be_run_frees_the_lock_and_has_a_shells_code() {
    let home = Home::new();
    home.file("no-program", "");
    let lines: &[&[&str]] = &[
        &["-q", "lock", "k", "--value", "x", "--", "no-such-command", "arg"],
        &["-q", "lock", "k", "--value", "x", "--", "./no-program"],
        &["-q", "lock", "k", "--try", "--", "true"],
        &["-q", "get", "k"],
    ];
    insta::assert_snapshot!("no-command", home.transcript(lines));
}

#[test]
fn a_command_that_dies_of_a_signal_is_told_as_a_shell_does() {
    let home = Home::new();
    assert_eq!(home.run(&["lock", "k", "--", "sh", "-c", "kill -9 $$"]).code, 137);
    assert_eq!(home.run(&["lock", "k", "--", "sh", "-c", "kill -TERM $$"]).code, 143);
}

#[test]
fn signals_are_passed_on_and_the_command_decides() {
    let home = Home::new();
    for (signal, name) in [
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ] {
        let script = format!(
            "trap 'echo got {name}; kill $!; exit 7' {name}; sleep 60 >/dev/null 2>&1 & echo in; wait"
        );
        let mut lock = home.start(&["lock", "k", "--", "sh", "-c", &script]);
        assert_eq!(lock.line(), "in");
        lock.signal(signal);
        assert_eq!(lock.line(), format!("got {name}"));
        assert_eq!(lock.end().code, 7);
    }
    // Free again, whatever came.
    home.ok(&["lock", "k", "--try", "--", "true"]);
}

#[test]
fn what_the_command_started_gets_the_signal_too() {
    let home = Home::new();
    let script = "sh -c 'trap \"echo inner; exit\" TERM; echo in; sleep 60 >/dev/null 2>&1 & wait'; echo never";
    let mut lock = home.start(&["lock", "k", "--", "sh", "-c", script]);
    assert_eq!(lock.line(), "in");
    lock.signal(Signal::TERM);
    assert_eq!(lock.line(), "inner");
    let run = lock.end();
    assert_eq!((run.code, run.text()), (143, ""));
}

/// Lets the time to live of a lock end: whoever is stopped does not renew it.
fn lose(lock: &crate::home::Running) {
    lock.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(900));
    lock.signal(Signal::CONT);
}

#[test]
fn when_the_lock_is_lost_the_command_is_asked_to_end() {
    let home = Home::new();
    let script = "trap 'echo asked; exit 0' TERM; echo in; sleep 60 >/dev/null 2>&1 & wait";
    let mut lock = home.start(&["-q", "lock", "k", "--ttl", "300ms", "--", "sh", "-c", script]);
    assert_eq!(lock.line(), "in");
    lose(&lock);
    assert_eq!(lock.line(), "asked");
    let run = lock.end();
    assert_eq!((run.code, run.err.lines().count()), (6, 1), "{}", run.err);
    assert!(run.err.contains("lock k: lock lost"), "{}", run.err);
    assert!(run.err.contains("file:store.redb"), "{}", run.err);
}

#[test]
fn a_command_that_does_not_want_to_end_is_ended_after_the_grace() {
    let home = Home::new();
    let script = "trap '' TERM; echo in; while :; do sleep 0.05; done";
    let args = ["lock", "k", "--ttl", "300ms", "--grace", "400ms", "--", "sh", "-c", script];
    let mut lock = home.start(&args);
    assert_eq!(lock.line(), "in");
    lose(&lock);
    let lost = Instant::now();
    lock.wait_for_words("lock lost");
    let run = lock.end();
    assert_eq!(run.code, 6);
    assert!(lost.elapsed() >= Duration::from_millis(400));
    home.ok(&["lock", "k", "--try", "--", "true"]);
}

#[test]
fn a_command_that_ended_while_the_lock_was_lost_does_not_hide_it() {
    let home = Home::new();
    let args = ["lock", "k", "--ttl", "300ms", "--", "sh", "-c", "echo in; sleep 0.3"];
    let mut lock = home.start(&args);
    assert_eq!(lock.line(), "in");
    lose(&lock);
    let run = lock.end();
    assert_eq!(run.code, 6, "{}", run.err);
    assert!(run.err.contains("lock lost"), "{}", run.err);
}
