use crate::harness::etcd::{Options, Server};
use crate::home::Home;
use crate::served::is_one_line;

#[tokio::test]
async fn who_has_no_right_exits_with_8_and_no_password_is_told() {
    let server = Server::start(Options::default()).await;
    for command in [
        &["user", "add", "root:rootpw"][..],
        &["user", "grant-role", "root", "root"],
        &["put", "app/x", "1"],
        &["put", "other", "1"],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "--prefix=true", "read", "app/"],
        &["user", "add", "ann:hunter2"],
        &["user", "grant-role", "ann", "reader"],
        &["auth", "enable"],
    ] {
        server.exec(&[&["etcdctl"], command].concat()).await.text();
    }
    let endpoint = server.endpoint();
    let url = |login: &str| format!("etcd://{login}{endpoint}");
    for (login, args, code) in [
        ("ann:hunter2@", &["get", "app/x"][..], 0),
        ("ann:hunter2@", &["ls", "app"], 0),
        ("ann:hunter2@", &["put", "app/x", "2"], 8),
        ("ann:hunter2@", &["get", "other"], 8),
        ("ann:hunter2@", &["ls"], 8),
        ("ann:hunter2@", &["export"], 8),
        ("ann:hunter2@", &["watch", "other"], 8),
        ("ann:hunter2@", &["lock", "app/x", "--", "true"], 8),
        ("ann:hunter3@", &["get", "app/x"], 8),
        ("bob:hunter2@", &["get", "app/x"], 8),
        ("", &["get", "app/x"], 8),
        ("root:rootpw@", &["put", "app/x", "3"], 0),
    ] {
        let run = Home::with_store(url(login)).run(args);
        assert_eq!(run.code, code, "{login} {args:?}: {}", run.err);
        assert!(!run.err.contains("hunter"), "{}", run.err);
        if code != 0 {
            is_one_line(&run, code, &endpoint);
        }
    }
    // The same by the variables, which the URL's own user comes before.
    let home = Home::with_store(url(""));
    for (variables, code) in [
        (&[("ETCDCTL_USER", "ann:hunter2")][..], 0),
        (&[("ETCDCTL_USER", "ann"), ("ETCDCTL_PASSWORD", "hunter2")], 0),
        (&[("ETCDCTL_USER", "ann:hunter3")], 8),
        (&[("ETCDCTL_USER", "ann")], 2),
    ] {
        let run = home.run_where(variables, &["-v", "get", "app/x"]);
        assert_eq!(run.code, code, "{}", run.err);
        assert!(!run.err.contains("hunter"), "{}", run.err);
    }
}
