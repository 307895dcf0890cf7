use std::fs::File;
use std::io::pipe;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::home::Home;

/// A pipe that nobody reads any more.
fn broken() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_left_is_a_quiet_exit_of_every_verb() {
    let home = Home::new();
    home.ok(&["put", "a", "1"]);
    let lines: &[&[&str]] = &[
        &["--help"],
        &["get", "--help"],
        &["--version"],
        &["completions", "bash"],
        &["get", "a"],
        &["put", "a", "1"],
        &["stat", "a"],
        &["ls"],
        &["ls", "--output", "table"],
        &["tree"],
        &["export"],
        &["del", "a", "--tree", "--dry-run"],
        &["-q", "watch", "/"],
    ];
    for args in lines {
        let output = home.command(args).stdout(broken()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{args:?}");
    }
}

#[test]
fn a_reader_may_leave_in_the_middle_of_much() {
    let home = Home::new();
    let lines: String =
        (0..4000).map(|i| format!("{{\"key\":\"k/{i}\",\"value\":\"{:0200}\"}}\n", i)).collect();
    assert_eq!(home.run_with(&["import", "-"], lines.as_bytes()).code, 0);
    for args in [&["export"][..], &["ls", "--output", "jsonl"], &["watch", "/"]] {
        let mut running = home.start(&[&["-q"], args].concat());
        assert!(!running.line().is_empty());
        running.leave();
        let run = running.end();
        assert_eq!((run.code, &*run.err), (0, ""), "{args:?}");
    }
}

#[test]
fn a_watch_that_nobody_reads_does_not_keep_the_store() {
    let home = Home::new();
    let mut watch = home.start(&["-q", "watch", "/"]);
    assert!(watch.line().starts_with("synced"));
    // No event comes that would tell it.
    watch.leave();
    assert_eq!(watch.end().code, 0);
    home.ok(&["ls", "--timeout", "2s"]);
}

#[test]
fn a_reader_that_does_not_read_does_not_keep_a_signal_away() {
    let home = Home::new();
    let long = "x".repeat(1 << 20);
    assert_eq!(home.run_with(&["put", "long"], long.as_bytes()).code, 0);
    let mut watch = home.start(&["watch", "/"]);
    watch.wait_for_words("no other process");
    // Time to fill the pipe; where that is too little, the signal comes at another good moment.
    std::thread::sleep(Duration::from_millis(500));
    watch.signal(Signal::TERM);
    // What was written before is still there to be read, and no more.
    let run = watch.end();
    assert_eq!(run.code, 143);
    assert!(run.out.len() < long.len());
}

#[test]
fn a_full_disk_behind_the_output_is_told() {
    let home = Home::new();
    home.ok(&["put", "a", "1"]);
    for args in [&["get", "a"][..], &["export"], &["--help"], &["watch", "/"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = home.command(&[&["-q"], args].concat()).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "libkv: standard output cannot be written: no space left on device\n",
            "{args:?}"
        );
    }
}

#[test]
fn words_that_nobody_can_hear_change_nothing() {
    let home = Home::new();
    let run = |args: &[&str]| home.command(args).stderr(broken()).output().unwrap();
    assert_eq!(run(&["get", "none"]).status.code(), Some(3));
    assert_eq!(run(&["nosuch"]).status.code(), Some(2));
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["-v", "put", "a", "1"]).status.code(), Some(0));
    let locked = run(&["lock", "k", "--", "echo", "x"]);
    assert_eq!((locked.status.code(), locked.stdout), (Some(0), b"x\n".to_vec()));
}

#[test]
fn nothing_is_asked_where_no_terminal_is() {
    let home = Home::new();
    home.ok(&["put", "a", "1"]);
    let run = home.run_with(&["del", "a", "--tree"], b"y\n");
    assert_eq!((run.code, run.err.lines().count()), (2, 1), "{}", run.err);
    assert!(run.err.contains("--yes"), "{}", run.err);
    assert_eq!(home.ok(&["get", "a"]).text(), "1");
}

#[test]
fn no_colours_go_into_a_pipe() {
    let home = Home::new();
    home.ok(&["put", "a/b", "1"]);
    for args in [&["ls", "--long"][..], &["tree"], &["watch", "/", "--count", "1"], &["--help"]] {
        let output = home.command(args).env("TERM", "xterm-256color").output().unwrap();
        assert!(!output.stdout.contains(&0x1b), "{args:?}");
    }
}
