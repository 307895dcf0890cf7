use std::process::Command;

use crate::home::Home;

fn run(mut command: Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn without_a_store_there_is_one_in_the_users_data_directory() {
    let home = Home::new();
    let odd = home.path().join("some %data #1?");
    for (variable, value, store) in [
        ("HOME", home.path().to_owned(), home.path().join(".local/share/libkv/store.redb")),
        ("XDG_DATA_HOME", odd.clone(), odd.join("libkv/store.redb")),
    ] {
        let command = |args: &[&str]| {
            let mut command = home.command(args);
            // Set and empty is as good as not set.
            command.env("LIBKV_STORE", "").env(variable, &value);
            command
        };
        let (code, _, err) = run(command(&["put", "a", variable]));
        assert_eq!((code, &*err), (0, ""), "{variable}");
        assert!(store.exists(), "{}", store.display());
        assert_eq!(run(command(&["get", "a"])).1, variable);
        let (code, _, err) = run(command(&["get", "none"]));
        assert!(code == 3 && err.contains("store.redb"), "{err}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    let directory = std::fs::metadata(odd.join("libkv")).unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_relative_data_directory_is_none() {
    let home = Home::new();
    let mut command = home.command(&["put", "a", "1"]);
    command.env_remove("LIBKV_STORE").env("XDG_DATA_HOME", "relative");
    assert_eq!(run(command).0, 0);
    assert!(home.path().join(".local/share/libkv/store.redb").exists());
    assert!(!home.path().join("relative").exists());
}

#[test]
fn without_a_home_the_way_out_is_named() {
    let home = Home::new();
    let mut command = home.command(&["ls"]);
    command.env_remove("LIBKV_STORE").env_remove("HOME");
    let (code, _, err) = run(command);
    assert_eq!((code, err.lines().count()), (2, 1), "{err}");
    assert!(err.contains("--store URL"), "{err}");
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let home = Home::new();
    let file = home.file("file", "");
    let mut command = home.command(&["ls"]);
    command.env_remove("LIBKV_STORE").env("XDG_DATA_HOME", file);
    let (code, _, err) = run(command);
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
    assert!(err.contains("file/libkv cannot be made"), "{err}");
}

#[test]
fn the_option_comes_before_the_variable() {
    let home = Home::new();
    home.ok(&["put", "a", "variable"]);
    home.ok(&["--store", "file:other.redb", "put", "a", "option"]);
    assert_eq!(home.ok(&["get", "a", "--store", "file:other.redb"]).text(), "option");
    assert_eq!(home.ok(&["get", "a"]).text(), "variable");
    // A root in the URL narrows what is seen.
    home.ok(&["--store", "file:store.redb?root=x/y", "put", "a", "below"]);
    assert_eq!(home.ok(&["ls"]).text(), "a\nx/y/a\n");
}
