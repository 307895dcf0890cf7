use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};

use super::place;
use crate::harness::certificates::Authority;
use crate::harness::consul::{Options, Server, Tls};
use crate::home::Home;

#[tokio::test]
async fn the_address_of_consul_is_taken_where_the_url_has_none() {
    let place = place().await;
    place.home.ok(&["put", "k", "1"]);
    let endpoint = place.endpoint();
    let key = place.name("k");
    for address in [endpoint.clone(), format!("http://{endpoint}"), format!("http://{endpoint}/")] {
        for url in ["consul:", "consul://"] {
            let variables = [("CONSUL_HTTP_ADDR", &*address)];
            let run = Home::with_store(url).run_where(&variables, &["-q", "get", &key]);
            assert_eq!((run.code, run.text(), &*run.err), (0, "1", ""), "{address} {url}");
        }
    }
    // A root may stand without hosts, and an error names the hosts that were taken.
    let home = Home::with_store(format!("consul:///{}", place.root));
    let run = home.run_where(&[("CONSUL_HTTP_ADDR", &endpoint)], &["get", "none"]);
    assert_eq!(run.code, 3);
    assert!(run.err.contains(&format!("(on consul://{endpoint}/{})", place.root)), "{}", run.err);
    // What the URL names comes first.
    let elsewhere = [("CONSUL_HTTP_ADDR", "https://nowhere.invalid:1")];
    assert_eq!(place.home.run_where(&elsewhere, &["get", "k"]).text(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_is_an_address_too() {
    let place = place().await;
    place.home.ok(&["put", "k", "1"]);
    let home = Home::with_store(format!("consul:///{}", place.root));
    let path = home.path().join("ä b.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let endpoint = place.endpoint();
    let serving = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let endpoint = endpoint.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(endpoint).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let address = format!("unix://{}", path.display());
    // Another thread serves the socket while this one waits for the program.
    let get = |key| {
        let variables = [("CONSUL_HTTP_ADDR", &*address)];
        tokio::task::block_in_place(|| home.run_where(&variables, &["get", key]))
    };
    let found = get("k");
    assert_eq!((found.code, found.text()), (0, "1"), "{}", found.err);
    let missing = get("none");
    assert!(missing.code == 3 && missing.err.contains(".sock"), "{}", missing.err);
    serving.abort();
    let _ = serving.await;
    let gone = get("k");
    assert!(gone.code == 7 && gone.err.contains(".sock"), "{}", gone.err);
}

#[tokio::test]
async fn certificates_of_consul_are_taken_where_the_url_has_none() {
    let authority = Authority::new();
    let name = "server.dc1.consul";
    let (server_side, client) = (authority.issue("server", &[name]), authority.issue("ann", &[]));
    let tls = Tls { authority: authority.pem(), server: server_side, client_certificates: true };
    let server = Server::start(Options::default().with_tls(tls)).await;
    let endpoint = server.endpoint();
    let home = Home::with_store("consul:");
    home.file("ca ä.pem", authority.pem());
    home.file("client.pem", client.certificate);
    home.file("client.key", client.key);
    let https = format!("https://{endpoint}");
    let address = ("CONSUL_HTTP_ADDR", &*https);
    let bare = ("CONSUL_HTTP_ADDR", &*endpoint);
    let ssl = ("CONSUL_HTTP_SSL", "true");
    let certificates = [
        ("CONSUL_CACERT", "ca ä.pem"),
        ("CONSUL_CLIENT_CERT", "client.pem"),
        ("CONSUL_CLIENT_KEY", "client.key"),
        ("CONSUL_TLS_SERVER_NAME", name),
    ];
    let given = format!("ca=ca%20%C3%A4.pem&cert=client.pem&key=client.key&server_name={name}");
    let with = |more: &[(&'static str, _)]| [&certificates[..], more].concat();
    let written = home.run_where(&with(&[address]), &["put", "a", "1"]);
    assert_eq!(written.code, 0, "{}", written.err);
    for (url, variables) in [
        (format!("consuls://{endpoint}"), with(&[])),
        ("consul:".to_owned(), with(&[bare, ssl])),
        ("consuls:".to_owned(), with(&[bare])),
        (format!("consuls://{endpoint}?{given}"), vec![]),
        (format!("consuls:?{given}"), vec![address]),
    ] {
        let run = home.run_where(&variables, &["get", "a", "--store", &url]);
        assert_eq!((run.code, run.text()), (0, "1"), "{url}: {}", run.err);
    }
    // Never in plain text by mistake, never without looking at certificates, and told once.
    let plain = format!("consul://{endpoint}");
    let unverified = ("CONSUL_HTTP_SSL_VERIFY", "false");
    for (url, variables, code, words) in [
        (&*plain, with(&[ssl]), 2, "CONSUL_HTTP_SSL wants TLS"),
        ("consul:", with(&[address, unverified]), 2, "CONSUL_HTTP_SSL_VERIFY is set"),
        ("consul:", certificates[..3].iter().copied().chain([address]).collect(), 7, "TLS"),
        ("consul:", vec![address], 7, "TLS handshake failed"),
        ("consul:", with(&[("CONSUL_HTTP_ADDR", "ftp://x")]), 2, "CONSUL_HTTP_ADDR is no address"),
    ] {
        let run = home.run_where(&variables, &["get", "a", "--store", url]);
        assert_eq!((run.code, run.err.lines().count()), (code, 1), "{url}: {}", run.err);
        assert!(run.err.contains(words), "{url}: {}", run.err);
    }
}

#[tokio::test]
async fn what_libkv_does_not_know_is_refused_and_not_ignored() {
    let place = place().await;
    for (name, value) in [
        ("CONSUL_NAMESPACE", "team"),
        ("CONSUL_PARTITION", "team"),
        ("CONSUL_HTTP_AUTH", "ann:hunter2"),
        ("CONSUL_HTTP_SSL", "perhaps"),
    ] {
        let run = place.home.run_where(&[(name, value)], &["put", "k", "1"]);
        assert_eq!((run.code, run.err.lines().count()), (2, 1), "{}", run.err);
        assert!(run.err.contains(name) && !run.err.contains("hunter2"), "{}", run.err);
    }
    assert_eq!(place.home.run(&["exists", "k"]).code, 3);
}
