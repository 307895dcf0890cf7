use super::place;
use crate::harness::certificates::Authority;
use crate::harness::etcd::{Options, Server, Tls};
use crate::home::Home;

#[tokio::test]
async fn the_endpoints_of_etcdctl_are_taken_where_the_url_has_none() {
    let place = place().await;
    place.home.ok(&["put", "k", "1"]);
    let endpoint = place.endpoint();
    let (bare, with_scheme) = (endpoint.clone(), format!("http://{endpoint}"));
    let several = format!("http://127.0.0.1:1,http://{endpoint}");
    let key = place.name("k");
    for endpoints in [&bare, &with_scheme, &several] {
        for url in ["etcd:", "etcd://"] {
            let variables = [("ETCDCTL_ENDPOINTS", &**endpoints)];
            let run = Home::with_store(url).run_where(&variables, &["-q", "get", &key]);
            assert_eq!((run.code, run.text(), &*run.err), (0, "1", ""), "{endpoints} {url}");
        }
    }
    // A root may stand without hosts, and an error names the hosts that were taken.
    let home = Home::with_store(format!("etcd:///{}", place.root));
    let run = home.run_where(&[("ETCDCTL_ENDPOINTS", &bare)], &["get", "none"]);
    assert_eq!(run.code, 3);
    assert!(run.err.contains(&format!("(on etcd://{bare}/{})", place.root)), "{}", run.err);
    // Hosts come from one place: what the URL names is not added to.
    let elsewhere = [("ETCDCTL_ENDPOINTS", "https://nowhere.invalid:1")];
    assert_eq!(place.home.run_where(&elsewhere, &["get", "k"]).text(), "1");
}

#[tokio::test]
async fn certificates_of_etcdctl_are_taken_where_the_url_has_none() {
    let authority = Authority::new();
    let (server_side, client) =
        (authority.issue("server", &["localhost", "127.0.0.1"]), authority.issue("ann", &[]));
    let tls = Tls { authority: authority.pem(), server: server_side, client_certificates: true };
    let server = Server::start(Options::default().with_tls(tls)).await;
    let endpoint = server.endpoint();
    let home = Home::with_store("etcd:");
    home.file("ca ä.pem", authority.pem());
    home.file("client.pem", client.certificate);
    home.file("client.key", client.key);
    let endpoints = format!("https://{endpoint}");
    let variables = [
        ("ETCDCTL_CACERT", "ca ä.pem"),
        ("ETCDCTL_CERT", "client.pem"),
        ("ETCDCTL_KEY", "client.key"),
        ("ETCDCTL_ENDPOINTS", &*endpoints),
    ];
    assert_eq!(home.run_where(&variables, &["put", "a", "1"]).code, 0);
    let given = "ca=ca%20%C3%A4.pem&cert=client.pem&key=client.key";
    for (url, variables) in [
        (format!("etcds://{endpoint}"), &variables[..3]),
        (format!("etcds://{endpoint}?{given}"), &[]),
        (format!("etcds:?{given}"), &variables[3..]),
    ] {
        let run = home.run_where(variables, &["get", "a", "--store", &url]);
        assert_eq!((run.code, run.text()), (0, "1"), "{url}: {}", run.err);
    }
    // Never in plain text by mistake; and what is wrong with TLS is told once.
    let plain = format!("etcd://{endpoint}");
    for (url, variables, code, words) in [
        (&*plain, &variables[..3], 2, "ETCDCTL_CACERT wants TLS"),
        (&plain, &[], 7, "write etcds://"),
        ("etcd:", &variables[3..], 7, "TLS handshake failed"),
        ("etcd:", &[("ETCDCTL_ENDPOINTS", "unix://x")], 2, "ETCDCTL_ENDPOINTS is no list"),
    ] {
        let run = home.run_where(variables, &["get", "a", "--store", url]);
        assert_eq!((run.code, run.err.lines().count()), (code, 1), "{url}: {}", run.err);
        assert!(run.err.contains(words), "{url}: {}", run.err);
    }
}
