use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::time::Duration;

use rustix::process::Signal;

use crate::home::{Home, LIBKV};

/// Values that every form must carry.
fn fill(home: &Home) {
    let every: Vec<u8> = (0..=255).collect();
    for (key, value) in [
        ("a", &b""[..]),
        ("a/b", b"text \"quoted\" \\ \n\t"),
        ("a/b c/gr\u{fc}n", "\u{0}\u{7f}\u{1f600}".as_bytes()),
        ("bytes", &every),
        ("json", br#"{"base64":"eA=="}"#),
    ] {
        assert_eq!(home.run_with(&["put", key], value).code, 0, "{key}");
    }
}

#[test]
fn export_then_import_gives_the_same_keys_and_bytes() {
    let (here, there) = (Home::new(), Home::new());
    fill(&here);
    for form in ["jsonl", "consul"] {
        let exported = here.ok(&["export", "--format", form]).out;
        let imported = there.run_with(&["import", form, "-"], &exported);
        assert_eq!((imported.code, &*imported.err), (0, "libkv: 5 keys imported\n"), "{form}");
        let back = there.ok(&["export", form, "--format", form]).text().to_owned();
        assert_eq!(back.replace(&format!("\"{form}/"), "\""), String::from_utf8(exported).unwrap());
    }
}

#[test]
fn import_takes_a_file_a_directory_and_lines_of_any_shape() {
    let home = Home::new();
    let lines =
        "\u{feff}{\"key\":\"/x//y/\",\"value\":\"1\"}\r\n\n  {\"value\":\"2\",\"key\":\"z\"}";
    home.file("in.jsonl", lines);
    home.ok(&["import", "below/it", "in.jsonl"]);
    assert_eq!(home.ok(&["ls"]).text(), "below/it/x/y\nbelow/it/z\n");
    assert_eq!(home.run_with(&["import", "-"], b"").err, "libkv: 0 keys imported\n");
}

#[test]
fn a_time_to_live_is_imported() {
    let home = Home::new();
    let line = br#"{"key":"a","value":"1","ttl_ms":3600000}"#;
    assert_eq!(home.run_with(&["import", "-"], line).code, 0);
    assert!(home.ok(&["stat", "a"]).text().contains("lifetime  ttl"));
}

#[test]
fn a_broken_line_is_named_and_nothing_is_written() {
    let home = Home::new();
    let run = home.run_with(&["import", "-"], b"{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\n");
    assert_eq!((run.code, run.err.lines().count()), (1, 1), "{}", run.err);
    assert!(run.err.contains("line 2: ") && run.err.contains("nothing was written"), "{}", run.err);
    assert_eq!(home.ok(&["ls"]).text(), "");
}

#[test]
fn everything_wrong_is_listed_before_anything_is_written() {
    let home = Home::new();
    let long = "x".repeat(600);
    home.file(
        "bad.jsonl",
        format!(
            "{{\"key\":\"good\",\"value\":\"1\"}}
nonsense
{{\"key\":\"a/../b\",\"value\":\"\"}}
{{\"key\":\"\",\"value\":\"\"}}
{{\"key\":\"/\",\"value\":\"\"}}
{{\"key\":\"{long}\",\"value\":\"\"}}
{{\"key\":\"/good/\",\"value\":\"\"}}
{{\"key\":\"c\",\"value\":3}}
{{\"key\":\"c\",\"value\":{{\"base64\":\"%\"}}}}
{{\"key\":\"c\"}}
{{\"key\":\"c\",\"value\":\"\",\"ttl\":5}}
{{\"key\":\"c\",\"value\":\"\",\"ttl_ms\":-5}}
{{\"key\":\"c\",\"value\":\"\"}} trailing
[1]
"
        ),
    );
    // These are looked at once the store has said what it holds.
    let limits = format!(
        "{{\"key\":\"zero\",\"value\":\"\",\"ttl_ms\":0}}\n{{\"key\":\"big\",\"value\":\"{}\"}}\n",
        "x".repeat((1 << 20) + 1)
    );
    home.file("limits.jsonl", limits);
    home.file(
        "bad.json",
        r#"[{"key":"a","value":"eA="},{"key":"b/","value":"eA=="},{"key":"..","value":""}]"#,
    );
    home.file("cut.json", "[\n\t{\n\t\t\"key\": \"a\",\n\t\t\"flags\": 0,\n\t\t\"val");
    home.file("not.json", "[key: a]");
    home.file("object.json", r#"{"key":"a","flags":0,"value":"eA=="}"#);
    home.file(
        "shape.json",
        r#"[{"value":""},7,{"key":1},{"key":"a","flags":-1},{"key":"b","value":1}]"#,
    );
    let big = format!("[{{\"key\":\"big\",\"flags\":0,\"value\":\"{}\"}}]", "A".repeat(1_398_104));
    home.file("big.json", big);
    insta::assert_snapshot!(
        "bad-imports",
        home.transcript(&[
            &["import", "bad.jsonl"],
            &["import", "limits.jsonl"],
            &["import", "bad.json"],
            &["import", "cut.json"],
            &["import", "not.json"],
            &["import", "object.json", "--format", "consul"],
            &["import", "object.json", "--format", "jsonl"],
            &["import", "shape.json"],
            &["import", "big.json"],
            &["import", "--dir", "none"],
            &["ls"],
        ])
    );
}

#[test]
fn more_problems_than_a_screen_holds_are_counted() {
    let home = Home::new();
    let run = home.run_with(&["import", "-"], "x\n".repeat(60).as_bytes());
    assert_eq!((run.code, run.err.lines().count()), (1, 52), "{}", run.err);
    assert!(run.err.contains("and 10 more"), "{}", run.err);
}

/// What Consul's user interface, other programs and `consul lock` leave there.
const OF_OTHERS: &[u8] = br#"[
    {"key":"/f","flags":0,"value":"MQ=="},
    {"key":"f/","flags":0,"value":""},
    {"key":"f//b","flags":0,"value":"MQ=="},
    {"key":"f/..","flags":0,"value":"MQ=="},
    {"key":"f/.lock","flags":3304740253564472344,"value":""},
    {"key":"f/a","flags":42,"value":"MQ=="},
    {"key":"f/b","flags":0,"value":null}
]"#;

#[test]
fn names_that_are_no_keys_end_an_import_unless_they_are_to_be_left_out() {
    let home = Home::new();
    home.file("in.json", OF_OTHERS);
    insta::assert_snapshot!(
        "foreign-names",
        home.transcript(&[
            &["import", "in.json"],
            &["ls"],
            &["import", "in.json", "--skip-foreign", "--dry-run"],
            &["ls"],
            &["import", "in.json", "--skip-foreign", "--format", "consul"],
            &["export"],
            &["export", "--skip-foreign", "--format", "consul"],
        ])
    );
}

#[test]
fn names_in_a_folder_and_in_lines_are_left_out_as_well() {
    let home = Home::new();
    home.file("in/good", "1");
    home.file("in/ends with space ", "1");
    let odd = std::ffi::OsStr::from_bytes(b"in/not-\xff-text");
    std::fs::write(home.path().join(odd), "1").unwrap();
    let run = home.ok(&["import", "--dir", "in", "--skip-foreign"]);
    assert_eq!(run.err, "libkv: names that are no keys, left out: 2\nlibkv: 1 key imported\n");
    let lines = b"{\"key\":\"a/../b\",\"value\":\"\"}\n{\"key\":\"c\",\"value\":\"\"}\n";
    assert_eq!(home.run_with(&["import", "-", "--skip-foreign"], lines).code, 0);
    assert_eq!(home.ok(&["ls"]).text(), "c\ngood\n");
}

#[test]
fn consuls_form_is_written_to_the_byte_without_a_consul() {
    let home = Home::new();
    assert_eq!(home.ok(&["export", "--format", "consul"]).text(), "[]\n");
    home.ok(&["put", "a<b>&\"c\"\\/\u{fc}\u{2028}x", "x"]);
    home.ok(&["put", "b", ""]);
    let expected = "[\n\t{\n\t\t\"key\": \"a\\u003cb\\u003e\\u0026\\\"c\\\"\\\\/\u{fc}\\u2028x\",\n\
                    \t\t\"flags\": 0,\n\t\t\"value\": \"eA==\"\n\t},\n\
                    \t{\n\t\t\"key\": \"b\",\n\t\t\"flags\": 0,\n\t\t\"value\": \"\"\n\t}\n]\n";
    assert_eq!(home.ok(&["export", "--format", "consul"]).text(), expected);
    assert_eq!(home.run_with(&["import", "there", "-"], expected.as_bytes()).code, 0);
    assert_eq!(home.ok(&["get", "there/a<b>&\"c\"\\/\u{fc}\u{2028}x"]).text(), "x");
}

#[test]
fn a_dry_run_shows_and_writes_nothing() {
    let home = Home::new();
    for (key, value) in [("d/same", "1"), ("d/changed", "1"), ("d/gone", "1"), ("other", "1")] {
        home.ok(&["put", key, value]);
    }
    let lines = "{\"key\":\"same\",\"value\":\"1\"}\n{\"key\":\"changed\",\"value\":\"2\"}\n{\"key\":\"new\",\"value\":\"\"}\n";
    home.file("in.jsonl", lines);
    insta::assert_snapshot!(
        "dry-run",
        home.transcript(&[
            &["import", "--dry-run", "d", "in.jsonl"],
            &["import", "--dry-run", "d", "in.jsonl", "--output", "jsonl"],
            &["import", "--dry-run", "nowhere", "in.jsonl", "--output", "plain"],
            &["get", "d/changed"],
        ])
    );
}

#[test]
fn a_folder_is_loaded_one_key_a_file() {
    let home = Home::new();
    home.file("in/one", b"\xff\x00");
    home.file("in/sub/two.txt", "2\n");
    home.file("in/sub/.hidden", "");
    std::fs::create_dir(home.path().join("in/empty")).unwrap();
    symlink("one", home.path().join("in/link")).unwrap();
    home.ok(&["import", "--dir", "in", "cfg"]);
    assert_eq!(home.ok(&["ls"]).text(), "cfg/link\ncfg/one\ncfg/sub/.hidden\ncfg/sub/two.txt\n");
    assert_eq!(home.ok(&["get", "cfg/one"]).out, b"\xff\x00");
    assert_eq!(home.ok(&["get", "cfg/link"]).out, b"\xff\x00");
    home.ok(&["import", "--dir", "in/"]);
    assert_eq!(home.ok(&["get", "sub/two.txt"]).text(), "2\n");
}

#[test]
fn what_is_no_key_in_a_folder_is_listed_and_the_rest_is_not_written() {
    let home = Home::new();
    home.file("in/good", "1");
    home.file("in/ends with space ", "1");
    home.file("in/zookeeper/x", "1");
    let odd = std::ffi::OsStr::from_bytes(b"in/not-\xff-text");
    std::fs::write(home.path().join(odd), "1").unwrap();
    // Nobody can read these, whoever runs the test.
    symlink("nowhere", home.path().join("in/dangling")).unwrap();
    symlink("..", home.path().join("in/loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(home.path().join("in/socket")).unwrap();
    insta::assert_snapshot!("bad-folder", home.transcript(&[&["import", "--dir", "in"], &["ls"]]));
}

#[test]
fn an_interrupted_import_says_how_much_was_written() {
    let home = Home::new();
    let lines: String =
        (0..50_000).map(|i| format!("{{\"key\":\"k/{i}\",\"value\":\"{i}\"}}\n")).collect();
    home.file("many.jsonl", lines);
    home.ok(&["ls"]);
    let size = || std::fs::metadata(home.path().join("store.redb")).unwrap().len();
    let (before, running) = (size(), home.start(&["import", "many.jsonl"]));
    while size() == before {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(50));
    running.signal(Signal::INT);
    let run = running.end();
    assert_eq!((run.code, run.err.lines().count()), (130, 1), "{}", run.err);
    let written = home.ok(&["ls"]).text().lines().count();
    let told = format!("interrupted: {written} of 50000 keys were written");
    assert!(written > 0 && run.err.contains(&told), "{} but {written} are there", run.err);
}

#[test]
fn a_pipe_between_two_stores_copies() {
    let home = Home::new();
    fill(&home);
    let line = format!("{LIBKV} export | {LIBKV} --store file:copy.redb -q import -");
    let mut shell = std::process::Command::new("sh");
    let status = shell
        .args(["-c", &line])
        .current_dir(home.path())
        .env("LIBKV_STORE", "file:store.redb")
        .status();
    assert!(status.unwrap().success());
    assert_eq!(home.ok(&["export"]).out, home.ok(&["--store", "file:copy.redb", "export"]).out);
}
