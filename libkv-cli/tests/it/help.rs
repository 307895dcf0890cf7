use crate::home::Home;

#[test]
fn help_of_every_verb() {
    let verbs = [
        "get",
        "put",
        "del",
        "exists",
        "ls",
        "tree",
        "stat",
        "watch",
        "lock",
        "export",
        "import",
        "completions",
    ];
    let home = Home::new();
    insta::assert_snapshot!("help", home.transcript(&[&["--help"]]));
    for verb in verbs {
        insta::assert_snapshot!(format!("help-{verb}"), home.transcript(&[&[verb, "--help"]]));
    }
}

#[test]
fn help_is_data_where_it_was_asked_for_and_words_where_not() {
    let home = Home::new();
    let asked = home.ok(&["--help"]);
    assert!(asked.err.is_empty());
    let bare = home.run::<&str>(&[]);
    assert_eq!((bare.code, bare.text()), (2, ""));
    assert_eq!(bare.err, asked.text());
    // Both flags are the same text.
    assert_eq!(home.ok(&["-h"]).text(), asked.text());
}

#[test]
fn version_and_completions_need_no_store() {
    let home = Home::new();
    let run = |args: &[&str]| {
        let output = home.command(args).env_remove("HOME").env_remove("LIBKV_STORE").output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(run(&["--version"]), format!("libkv {}\n", env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell]);
        assert!(script.contains("libkv") && script.contains("if-version"), "{shell}");
    }
}
