use crate::home::Home;

#[test]
fn wrong_usage_is_one_line_and_exits_with_2() {
    let home = Home::new();
    let lines: &[&[&str]] = &[
        &["nosuch"],
        &["gett", "a"],
        &["txn", "-"],
        &["get"],
        &["get", "a", "b"],
        &["get", "a", "--nosuch"],
        &["get", ""],
        &["get", "/"],
        &["get", "a/../b"],
        &["get", "a\nb"],
        &["get", "a", "--output", "xml"],
        &["get", "a", "--output", "table"],
        &["get", "a", "--output", "raw", "--meta"],
        &["get", "a", "--timeout", "0s"],
        &["get", "a", "--timeout", "5"],
        &["get", "a", "-q", "-v"],
        &["-q", "get", "a", "-v"],
        &["--store", "file:a", "--store", "file:b", "get", "a"],
        &["--store", "file:a", "get", "a", "--store=file:b"],
        &["--output", "json", "get", "a", "--output", "raw"],
        &["get", "a", "--store", ""],
        &["get", "a", "--store", "nothing"],
        &["get", "a", "--store", "redis://h"],
        &["get", "a", "--prefix"],
        &["get", "a", "--endpoints=h:2379"],
        &["get", "a", "--http-addr=h:8500"],
        &["get", "a", "-recurse"],
        &["get", "a", "-token=hunter2"],
        &["get", "a", "-detailed"],
        &["put", "a", "1", "-cas", "-modify-index=1"],
        &["get", "a", "--store", "mem:"],
        &["get", "a", "--store", "file:"],
        &["get", "a", "--store", "file:x?nosuch=1"],
        &["get", "a", "--store", "file:none/x"],
        &["put", "a", "1", "--create", "--if-version", "file:1"],
        &["put", "a", "1", "--if-version", "1"],
        &["put", "a", "1", "--if-version", "etcd:1"],
        &["put", "a", "1", "--ttl", "soon"],
        &["put", "a", "1", "--output", "raw"],
        &["put", "a", "@"],
        &["del", "/"],
        &["del", "a", "--yes"],
        &["del", "a", "--dry-run"],
        &["del", "a", "--tree"],
        &["del", "a", "--tree", "--yes", "--dry-run"],
        &["del", "a", "--tree", "--if-version", "file:1"],
        &["exists", "a", "--output", "json"],
        &["ls", ""],
        &["ls", "--keys", "--long"],
        &["ls", "--keys", "--output", "table"],
        &["ls", "--depth", "0"],
        &["ls", "--limit", "x"],
        &["ls", "--output", "raw"],
        &["tree", "--output", "json"],
        &["export", "--output", "jsonl"],
        &["export", "--format", "csv"],
        &["import"],
        &["import", "a", "b", "c"],
        &["import", "..", "-"],
        &["import", "--dir", "x", "a", "b"],
        &["import", "-", "--output", "jsonl"],
        &["import", "-", "--format", "csv"],
        &["import", "--dir", "x", "--format", "consul"],
        &["import", "@none.json"],
        &["watch"],
        &["watch", ""],
        &["watch", "a", "--exec"],
        &["watch", "a", "--", "true"],
        &["watch", "a", "--exec", "--output", "jsonl", "--", "true"],
        &["watch", "a", "--output", "raw"],
        &["watch", "a", "--count", "0"],
        &["watch", "a", "--from", "x"],
        &["lock", "a"],
        &["lock", "/", "--", "true"],
        &["lock", "a", "--try", "--wait", "1s", "--", "true"],
        &["lock", "a", "--output", "json", "--", "true"],
        &["completions"],
        &["completions", "csh"],
    ];
    for args in lines {
        let run = home.run(args);
        assert_eq!(run.code, 2, "{args:?}: {}", run.err);
        assert!(run.out.is_empty(), "{args:?}");
        assert_eq!(run.err.lines().count(), 1, "{args:?}: {}", run.err);
        assert!(run.err.starts_with("libkv: "), "{args:?}: {}", run.err);
    }
    insta::assert_snapshot!("usage", home.transcript(lines));
}

#[test]
fn what_a_store_refuses_has_its_own_code_and_one_line() {
    let home = Home::new();
    home.ok(&["put", "a", "1"]);
    home.file("not-ours", "something else");
    let long = "x".repeat(1 << 20) + "y";
    home.file("long", &long);
    let lines: &[&[&str]] = &[
        &["get", "none"],
        &["stat", "none"],
        &["del", "none"],
        &["ls", "none"],
        &["tree", "none"],
        &["export", "none"],
        &["put", "none", "1", "--if-version", "file:1"],
        &["put", "a", "2", "--create"],
        &["put", "a", "2", "--if-version", "file:999"],
        &["del", "a", "--if-version", "file:999"],
        &["put", "a", "@long"],
        &["put", "a", "@none"],
        &["put", "a", "1", "--ttl", "1ns"],
        &["lock", "a", "--ttl", "1ms", "--", "true"],
        &["import", "none"],
    ];
    for args in lines {
        let run = home.run(args);
        assert!(run.code != 0 && run.code != 2, "{args:?}: {}", run.err);
        assert!(run.out.is_empty(), "{args:?}");
    }
    insta::assert_snapshot!("refusals", home.transcript(lines));
    assert_eq!(home.ok(&["get", "a"]).text(), "1");
}

#[test]
fn a_backend_that_is_not_compiled_in_is_named_with_the_way_to_get_it() {
    let consul: &[&str] = &["consul://h?token=hunter2", "consuls://h", "consul:"];
    let etcd: &[&str] = &["etcd://h", "etcds://ann:hunter2@h", "etcd:"];
    let left_out = [
        ("consul", consul, cfg!(not(feature = "consul"))),
        ("etcd", etcd, cfg!(not(feature = "etcd"))),
    ];
    for (feature, urls, _) in left_out.into_iter().filter(|(.., is_left_out)| *is_left_out) {
        for url in urls {
            let run = Home::new().run(&["get", "a", "--store", url]);
            assert_eq!((run.code, run.err.lines().count()), (2, 1), "{}", run.err);
            assert!(run.err.contains(&format!("built without {feature}")), "{}", run.err);
            assert!(run.err.contains(&format!("--features {feature}")), "{}", run.err);
            assert!(!run.err.contains("hunter2"), "{}", run.err);
        }
    }
}

#[test]
fn a_file_that_is_no_store_is_left_as_it_is() {
    let home = Home::new();
    let path = home.file("letter", "dear reader");
    let run = home.run(&["--store", "file:letter", "put", "a", "1"]);
    assert_ne!(run.code, 0);
    assert!(run.err.contains("letter"), "{}", run.err);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert_eq!(std::fs::read(path).unwrap(), b"dear reader");
}

#[test]
fn a_store_that_another_process_has_is_waited_for_and_then_its_holder_is_named() {
    let home = Home::new();
    let mut holder = home.start(&["lock", "k", "--", "sh", "-c", "echo in; sleep 60"]);
    assert_eq!(holder.line(), "in");
    let start = std::time::Instant::now();
    let run = home.run(&["get", "a", "--timeout", "300ms"]);
    assert!(start.elapsed() >= std::time::Duration::from_millis(300));
    assert_eq!((run.code, run.err.lines().count()), (7, 1), "{}", run.err);
    let named = format!("process {} (libkv)", holder.id());
    assert!(run.err.contains("store.redb") && run.err.contains(&named), "{}", run.err);
    holder.signal(rustix::process::Signal::TERM);
    // Long before its own patience ends, the next one has it.
    let waiting = home.start(&["ls", "--timeout", "20s"]);
    assert_eq!(holder.end().code, 143);
    assert_eq!(waiting.end().code, 0);
}

#[test]
fn the_url_may_say_how_long_to_wait() {
    let home = Home::new();
    let mut holder = home.start(&["lock", "k", "--", "sh", "-c", "echo in; sleep 60"]);
    assert_eq!(holder.line(), "in");
    let url = "file:store.redb?connection_timeout=100ms";
    let run = home.run(&["--store", url, "--timeout", "1h", "ls"]);
    assert_eq!(run.code, 7, "{}", run.err);
    holder.signal(rustix::process::Signal::TERM);
    holder.end();
}

#[test]
fn arguments_that_are_not_text_are_refused_where_text_is_needed() {
    use std::os::unix::ffi::OsStrExt as _;
    let home = Home::new();
    let odd = std::ffi::OsStr::from_bytes(b"a\xff");
    let key = home.run(&["get".as_ref(), odd]);
    assert_eq!((key.code, key.err.lines().count()), (2, 1), "{}", key.err);
    // A value is bytes.
    home.ok(&["put".as_ref(), "k".as_ref(), odd]);
    assert_eq!(home.ok(&["get", "k"]).out, b"a\xff");
}

#[test]
fn a_secret_in_a_url_is_never_shown() {
    let home = Home::new();
    for url in [
        "etcd://ann:hunter2@h/../root",
        "etcd://ann:hun/hunter2@h",
        "file:none/x?token=hunter2",
        "consul://h?acl_token=hunter2",
        "hunter2",
    ] {
        for (option, variable) in [(url, "file:x"), ("", url)] {
            let mut command = home.command(&["get", "a"]);
            command.env("LIBKV_STORE", variable);
            if !option.is_empty() {
                command.args(["--store", option]);
            }
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{url}");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.lines().count() == 1 && !said.contains("hunter2"), "{said}");
        }
    }
}
