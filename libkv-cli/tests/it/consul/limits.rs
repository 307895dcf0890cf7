use super::place;
use crate::harness::consul::{Options, Server};
use crate::home::Home;

#[tokio::test]
async fn what_is_wrong_with_an_import_is_told_before_anything_is_written() {
    let place = place().await;
    let entry =
        |key: &str, value: &str| format!(r#"{{"key":"{key}","flags":0,"value":"{value}"}}"#);
    let good = entry("good", "MQ==");
    // The server's own limit is for what is sent, with its base64.
    let large = "A".repeat(700_000);
    for (input, words) in [
        (format!("[{good},{}]", entry("large", &large)), "entry 2: the value of large has 525000"),
        (format!("[{good},{}]", entry("k", "eA=")), "entry 2: \"k\": the value is no base64"),
        (format!("[{good},{}]", entry("a/../b", "")), "entry 2: segment \"..\""),
        (format!("[{good},{}]", entry("a/", "")), "entry 2: a slash at an end"),
        (format!("[{good},{{"), "line 1 column"),
        (format!("[{good} x"), "line 1 column"),
        (format!("{good}\n[]"), "line 1: unknown field `flags`"),
    ] {
        let run = place.home.run_with(&["import", "-"], input.as_bytes());
        assert_eq!(run.code, 1, "{}", run.err);
        assert!(run.err.contains(words), "{words}: {}", run.err);
        assert!(run.err.contains("nothing was written; mend "), "{}", run.err);
        assert_eq!(place.home.ok(&["ls"]).text(), "", "{words}");
    }
}

#[tokio::test]
async fn an_import_that_is_denied_half_way_says_how_much_was_written() {
    let server = Server::start(Options::default().with_acls()).await;
    let token = server.make_token(r#"key_prefix "app/" { policy = "write" }"#).await;
    let home = Home::with_store(format!("consul://{}", server.endpoint()));
    let input = br#"[{"key":"app/a","value":"MQ=="},{"key":"other","value":"MQ=="}]"#;
    home.file("in.json", input);
    let variables = [("CONSUL_HTTP_TOKEN", &*token.secret)];
    let run = home.run_where(&variables, &["import", "in.json"]);
    assert_eq!((run.code, run.err.lines().count()), (8, 1), "{}", run.err);
    assert!(run.err.contains("other") && run.err.contains(&server.endpoint()), "{}", run.err);
    assert!(run.err.contains(" of 2 keys were written"), "{}", run.err);
    assert!(!run.err.contains(&*token.secret), "{}", run.err);
}
