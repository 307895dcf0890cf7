use crate::harness::consul::{Options, Server};
use crate::home::Home;
use crate::served::is_one_line;

#[tokio::test]
async fn who_has_no_right_exits_with_8_and_no_token_is_told() {
    let server = Server::start(Options::default().with_acls()).await;
    for name in ["app/x", "other", "secret/x"] {
        server.exec(&["consul", "kv", "put", name, "1"]).await.text();
    }
    let reader = server.make_token(r#"key_prefix "app/" { policy = "read" }"#).await;
    let endpoint = server.endpoint();
    let (good, none) = (&*reader.secret, "22222222-0000-4000-8000-000000000000");
    let root = server.management_token();
    for (token, args, code) in [
        (good, &["get", "app/x"][..], 0),
        (good, &["ls", "app"], 0),
        (good, &["put", "app/x", "2"], 8),
        (good, &["get", "other"], 8),
        (good, &["ls", "secret"], 8),
        (good, &["export", "secret", "--format", "consul"], 8),
        // Consul leaves out of a listing what may not be read.
        (good, &["ls"], 0),
        (good, &["watch", "other"], 8),
        (good, &["lock", "app/x", "--", "true"], 8),
        (none, &["get", "app/x"], 8),
        (root, &["put", "app/x", "3"], 0),
    ] {
        // By the URL, and by the variable.
        let by_url = Home::with_store(format!("consul://{endpoint}?token={token}")).run(args);
        let home = Home::with_store(format!("consul://{endpoint}"));
        let by_variable = home.run_where(&[("CONSUL_HTTP_TOKEN", token)], args);
        for run in [by_url, by_variable] {
            assert_eq!(run.code, code, "{args:?}: {}", run.err);
            assert!(!run.err.contains(token), "{}", run.err);
            if code != 0 {
                is_one_line(&run, code, &endpoint);
            }
        }
    }
    let home = Home::with_store(format!("consul://{endpoint}"));
    let listed = home.run_where(&[("CONSUL_HTTP_TOKEN", good)], &["ls"]);
    assert_eq!(listed.text(), "app/x\n");
    home.file("reader", format!("{good}\n"));
    home.file("nobody", none);
    // The file comes before the variable, and both behind the URL.
    for (variables, store, code) in [
        (&[("CONSUL_HTTP_TOKEN_FILE", "reader")][..], "", 0),
        (&[("CONSUL_HTTP_TOKEN_FILE", "reader"), ("CONSUL_HTTP_TOKEN", none)], "", 0),
        (&[("CONSUL_HTTP_TOKEN_FILE", "nobody"), ("CONSUL_HTTP_TOKEN", good)], "", 8),
        (&[("CONSUL_HTTP_TOKEN_FILE", "missing")], "", 2),
        (&[("CONSUL_HTTP_TOKEN", none)], "?token_file=reader", 0),
        (&[("CONSUL_HTTP_TOKEN", good)], "?token_file=nobody", 8),
        (&[], "", 8),
    ] {
        let store = format!("consul://{endpoint}{store}");
        let run = home.run_where(variables, &["-v", "get", "app/x", "--store", &store]);
        assert_eq!(run.code, code, "{variables:?}: {}", run.err);
        assert!(!run.err.contains(good) && !run.err.contains(none), "{}", run.err);
    }
}
