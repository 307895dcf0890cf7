use crate::home::Home;

/// A store with a key of every sort.
fn filled() -> Home {
    let home = Home::new();
    home.ok(&["put", "app/name", "demo"]);
    home.ok(&["put", "app/port", "80"]);
    home.ok(&["put", "app/port/alt", "two\nlines"]);
    home.ok(&["put", "session", "short", "--ttl", "1h"]);
    assert_eq!(home.run_with(&["put", "bin"], b"\xff\x00").code, 0);
    home.ok(&["put", "empty", ""]);
    home
}

#[test]
fn one_key_in_every_form() {
    let home = filled();
    let text = home.transcript(&[
        &["get", "app/name"],
        &["get", "app/name", "--meta"],
        &["get", "app/name", "--output", "raw"],
        &["get", "app/name", "--output", "json"],
        &["get", "app/port/alt", "--output", "jsonl", "--meta"],
        &["get", "bin", "--output", "jsonl"],
        &["get", "/app//name/"],
        &["stat", "session"],
        &["stat", "bin", "--output", "json"],
        &["exists", "app/name"],
        &["exists", "app"],
    ]);
    insta::assert_snapshot!("one-key", text);
}

#[test]
fn many_keys_in_every_form() {
    let home = filled();
    let text = home.transcript(&[
        &["ls"],
        &["ls", "--keys"],
        &["ls", "app"],
        &["ls", "app/name"],
        &["ls", "--depth", "1"],
        &["ls", "--limit", "2"],
        &["ls", "--long"],
        &["ls", "--output", "table"],
        &["ls", "app", "--output", "json"],
        &["ls", "--output", "jsonl"],
        &["ls", "--output", "jsonl", "--keys"],
        &["ls", "--output", "jsonl", "--long", "--limit", "1"],
        &["tree"],
        &["tree", "app"],
        &["export"],
        &["export", "app/port"],
        &["export", "--format", "consul"],
        &["del", "app", "--tree", "--dry-run"],
        &["del", "app", "--tree", "--dry-run", "--output", "jsonl"],
    ]);
    insta::assert_snapshot!("many-keys", text);
}

#[test]
fn an_empty_store_has_empty_outputs() {
    let text = Home::new().transcript(&[
        &["ls"],
        &["ls", "--output", "json"],
        &["ls", "--output", "table"],
        &["tree"],
        &["export"],
        &["export", "--format", "consul"],
        &["del", "/", "--tree", "--yes"],
    ]);
    insta::assert_snapshot!("empty-store", text);
}

#[test]
fn put_prints_the_version_that_a_condition_takes() {
    let home = Home::new();
    let first = home.ok(&["put", "a", "1", "--create"]);
    let first = first.text().trim_end();
    assert!(first.starts_with("file:"), "{first}");
    let second = home.ok(&["--output", "jsonl", "put", "a", "2", "--if-version", first]);
    let form: serde_json::Value = serde_json::from_str(second.text()).unwrap();
    let version = form["version"].as_str().unwrap();
    assert_eq!(form["key"], "a");
    assert_eq!(home.run(&["put", "a", "3", "--if-version", first]).code, 4);
    assert_eq!(home.run(&["del", "a", "--if-version", first]).code, 4);
    assert_eq!(home.ok(&["get", "a"]).text(), "2");
    home.ok(&["del", "a", "--if-version", version]);
    assert_eq!(home.run(&["get", "a"]).code, 3);
}

#[test]
fn a_tree_goes_and_its_neighbours_stay() {
    let home = filled();
    home.ok(&["put", "apple", "x"]);
    assert!(home.ok(&["del", "app", "--tree", "--yes"]).out.is_empty());
    assert_eq!(home.ok(&["ls"]).text(), "apple\nbin\nempty\nsession\n");
    // Nothing there is fine, as in the library.
    home.ok(&["del", "app", "--tree", "--yes"]);
    assert!(home.ok(&["del", "app", "--tree", "--dry-run"]).out.is_empty());
}

#[test]
fn a_time_to_live_ends() {
    let home = Home::new();
    home.ok(&["put", "a", "1", "--ttl", "300ms"]);
    std::thread::sleep(std::time::Duration::from_millis(1400));
    assert_eq!(home.run(&["get", "a"]).code, 3);
}

#[test]
fn quiet_has_no_notes_and_verbose_has_more() {
    let home = filled();
    let note = "libkv: keys with a time to live exported as permanent: 1\n";
    assert_eq!(home.ok(&["export"]).err, note);
    assert_eq!(home.ok(&["-q", "export"]).err, "");
    let verbose = home.ok(&["lock", "k", "-v", "--", "true"]).err;
    assert!(verbose.contains("DEBUG lock obtained backend=file key=k"), "{verbose}");
    // Errors are told to the quiet too.
    assert!(home.run(&["-q", "get", "none"]).err.contains("key not found"));
}
