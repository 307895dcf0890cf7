use crate::home::Home;

#[test]
fn every_byte_goes_in_and_out() {
    let home = Home::new();
    let every: Vec<u8> = (0..=255).collect();
    for (name, value) in [
        ("every", every.as_slice()),
        ("empty", b""),
        ("zero", b"\0"),
        ("newline", b"\n"),
        ("text", "gr\u{fc}\u{df}e".as_bytes()),
        ("long", &vec![0xa5; 1 << 20]),
    ] {
        let put = home.run_with(&["put", name, "-"], value);
        assert_eq!(put.code, 0, "{name}: {}", put.err);
        assert_eq!(home.ok(&["get", name]).out, value, "{name}");
        assert_eq!(home.ok(&["get", name, "--output", "raw"]).out, value, "{name}");
    }
    // The same through a file, and without any argument for the value.
    home.file("every.bin", &every);
    home.ok(&["put", "from-file", "@every.bin"]);
    assert_eq!(home.ok(&["get", "from-file"]).out, every);
    assert_eq!(home.run_with(&["put", "piped"], &every).code, 0);
    assert_eq!(home.ok(&["get", "piped"]).out, every);
}

#[test]
fn arguments_are_values_as_they_are() {
    let home = Home::new();
    for value in ["", " ", "a b", "-5", "{}", "a@b", "\u{1f600}"] {
        home.ok(&["put", "k", value]);
        assert_eq!(home.ok(&["get", "k"]).text(), value, "{value:?}");
    }
    home.ok(&["put", "k", "--", "--create"]);
    assert_eq!(home.ok(&["get", "k"]).text(), "--create");
}

#[test]
fn one_byte_over_the_limit_is_refused_and_nothing_changes() {
    let home = Home::new();
    home.ok(&["put", "k", "before"]);
    let run = home.run_with(&["put", "k"], &vec![b'x'; (1 << 20) + 1]);
    assert_eq!((run.code, run.err.lines().count()), (1, 1), "{}", run.err);
    assert!(run.err.contains("1048577") && run.err.contains("1048576"), "{}", run.err);
    assert_eq!(home.ok(&["get", "k"]).text(), "before");
}
