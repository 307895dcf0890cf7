//! TLS: what has to be given, and what is said where something is wrong.

use std::time::{Duration, Instant};

use bytes::Bytes;
use libkv_core::{
    ClientIdentity, Config, Credentials, Error, ErrorKind, PemSource, Store, StoreExt, TlsConfig,
    WatchTarget,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Backend, unique};
use crate::harness::certificates::{Authority, Issued, Tls};
use crate::harness::proxy::Proxy;

/// The name in the certificate of the server that wants certificates of its clients; nobody can
/// connect to it.
const NAME: &str = "store.test";

/// The servers of these tests, of one authority.
pub(crate) struct Servers<B: Backend> {
    authority: Authority,
    /// It is who its address says.
    open: B::Server,
    /// It has another name, and asks who its clients are.
    mutual: B::Server,
    /// Its certificate's time is over.
    expired: B::Server,
}

async fn servers<B: Backend>() -> &'static Servers<B> {
    let starting = || async {
        let authority = Authority::new();
        let start = |server: Issued, client_certificates: bool| {
            let tls = Tls { authority: authority.pem(), server, client_certificates };
            B::start_with_tls(tls)
        };
        let here = ["localhost", "127.0.0.1"];
        let (open, mutual, expired) = tokio::join!(
            start(authority.issue("open", &here), false),
            start(authority.issue("mutual", &["localhost", NAME]), true),
            start(authority.issue_expired("expired", &here), false),
        );
        Servers { authority, open, mutual, expired }
    };
    B::tls_servers().get_or_init(starting).await
}

fn pem(text: String) -> PemSource {
    PemSource::Bytes(Bytes::from(text))
}

fn identity(issued: Issued) -> ClientIdentity {
    ClientIdentity::new(pem(issued.certificate), pem(issued.key))
}

impl<B: Backend> Servers<B> {
    /// Trusts the servers' authority.
    fn trusting(&self) -> TlsConfig {
        TlsConfig::default().with_ca(pem(self.authority.pem()))
    }

    /// A certificate that the servers take.
    fn client(&self) -> ClientIdentity {
        identity(self.authority.issue("a client", &[]))
    }
}

fn with_tls(tls: impl Into<Option<TlsConfig>>) -> Config {
    match tls.into() {
        Some(tls) => Config::default().with_tls(tls),
        None => Config::default(),
    }
}

/// Shows that a store works with all its connections: calls, listings, leases and watches.
async fn works(store: &dyn Store) {
    let key = unique();
    store.put(&key, "1").await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().value, "1");
    let guard = store.new_lock(&key, Default::default()).unwrap().lock().await.unwrap();
    guard.unlock().await.unwrap();
    assert_eq!(store.list(&key).await.unwrap(), []);
    store.delete_tree(&key).await.unwrap();
}

pub(crate) async fn the_authority_alone_is_enough<B: Backend>() {
    let (servers, scheme) = (servers::<B>().await, B::SCHEME);
    let endpoint = B::endpoint(&servers.open);
    let store = B::open(&endpoint, with_tls(servers.trusting())).await.unwrap();
    works(&*store).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("the ca.pem");
    std::fs::write(&file, servers.authority.pem()).unwrap();
    let path = file.to_str().unwrap().replace(' ', "%20");
    works(&*B::open_url(&format!("{scheme}s://{endpoint}?ca={path}")).await.unwrap()).await;
    // Without it the usual authorities are asked, who do not know this one.
    let error = B::open_url(&format!("{scheme}s://{endpoint}")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotReachable | ErrorKind::InvalidConfig), "{error}");
    assert!(!error.is_transient(), "{error}");
}

pub(crate) async fn a_certificate_and_a_name_are_given_each_on_its_own<B: Backend>() {
    let (servers, scheme) = (servers::<B>().await, B::SCHEME);
    let (endpoint, open) = (B::endpoint(&servers.mutual), B::endpoint(&servers.open));
    let tls = servers.trusting().with_client(servers.client()).with_server_name(NAME);
    works(&*B::open(&endpoint, with_tls(tls)).await.unwrap()).await;

    let folder = tempfile::tempdir().unwrap();
    let issued = servers.authority.issue("a client", &[]);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, cert) = (file("ca.pem", &servers.authority.pem()), file("c.pem", &issued.certificate));
    let key = file("c.key", &issued.key);
    let url = format!("{scheme}s://{endpoint}?ca={ca}&cert={cert}&key={key}&server_name={NAME}");
    works(&*B::open_url(&url).await.unwrap()).await;
    // The name by which it knows itself is not the address, so the certificate alone is no use
    // without it; and a server that asks for none does not mind being shown one.
    let tls = servers.trusting().with_client(servers.client());
    works(&*B::open(&open, with_tls(tls)).await.unwrap()).await;
    let tls = servers.trusting().with_server_name("localhost");
    works(&*B::open(&open, with_tls(tls)).await.unwrap()).await;
}

pub(crate) async fn half_a_pair_and_what_is_no_certificate_are_refused_before_connecting<
    B: Backend,
>() {
    let (servers, scheme) = (servers::<B>().await, B::SCHEME);
    let proxy = Proxy::start(B::endpoint(&servers.open)).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, servers.authority.pem()).unwrap();
    let (no_pem, absent) = (folder.path().join("no.pem"), folder.path().join("absent.pem"));
    std::fs::write(&no_pem, "not a certificate").unwrap();
    let at = proxy.addr();
    let (ca, no_pem, absent) = (ca.display(), no_pem.display(), absent.display());
    for (url, expected) in [
        (format!("{scheme}s://{at}?ca={ca}&cert={ca}"), "cert without key"),
        (format!("{scheme}s://{at}?ca={ca}&key={ca}"), "key without cert"),
        (format!("{scheme}s://{at}?ca={no_pem}"), "no.pem"),
        (format!("{scheme}s://{at}?ca={absent}"), "absent.pem"),
        (format!("{scheme}://{at}?ca={ca}"), "need TLS"),
        (format!("{scheme}://{at}?server_name=x"), "need TLS"),
    ] {
        let error = B::open_url(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}: {error}");
        assert!(error.to_string().contains(expected), "{url}: {error}");
    }
    // A certificate where the key should be.
    let text = || pem(servers.authority.issue("x", &[]).certificate);
    let tls = servers.trusting().with_client(ClientIdentity::new(text(), text()));
    let error = B::open(&at, with_tls(tls)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert_eq!(proxy.accepted(), 0);
}

/// How many connections an attempt may cost that cannot succeed.
const FEW: u64 = 3;
/// How long it may take: well within the time in which it would be tried again.
const SOON: Duration = Duration::from_secs(3);

fn assert_lasting(what: &str, error: &Error) {
    assert_eq!(error.kind(), ErrorKind::NotReachable, "{what}: {error}");
    assert!(!error.is_transient(), "{what}: {error}");
    assert!(error.changed_nothing(), "{what}: {error}");
    let text = error.to_string();
    assert!(text.contains("TLS"), "{what}: {text}");
    let source = std::error::Error::source(error).expect("there is a cause");
    assert!(!text.contains(&source.to_string()), "{what}: the text repeats its cause: {text}");
}

/// What is wrong is said at the opening, or by a lazy store at the call. It is not tried again: it
/// would not help.
pub(crate) async fn what_is_wrong_with_tls_is_said_at_once_and_not_tried_again<B: Backend>() {
    let servers = servers::<B>().await;
    let stranger = Authority::new();
    let (open, mutual) = (B::endpoint(&servers.open), B::endpoint(&servers.mutual));
    let named = || servers.trusting().with_server_name(NAME);
    let expired = identity(servers.authority.issue_expired("a client", &[]));
    let cases = [
        ("another authority", &open, Some(TlsConfig::default().with_ca(pem(stranger.pem())))),
        ("the certificate's name", &mutual, Some(servers.trusting().with_client(servers.client()))),
        ("another name", &open, Some(named())),
        ("an expired server", &B::endpoint(&servers.expired), Some(servers.trusting())),
        ("no certificate", &mutual, Some(named())),
        ("an expired client", &mutual, Some(named().with_client(expired))),
        (
            "a stranger's client",
            &mutual,
            Some(named().with_client(identity(stranger.issue("a client", &[])))),
        ),
    ];
    for (what, endpoint, tls) in cases {
        let proxy = Proxy::start(endpoint.clone()).await;
        let (at, common) = (proxy.addr(), with_tls(tls));
        let begun = Instant::now();
        let error = B::open(&at, common.clone()).await.expect_err(what);
        assert_lasting(what, &error);
        assert!(begun.elapsed() < SOON, "{what}: {:?}", begun.elapsed());
        assert!(proxy.accepted() <= FEW, "{what}: {} connections", proxy.accepted());

        let lazy = B::open(&at, common.with_lazy()).await.expect(what);
        let before = proxy.accepted();
        let begun = Instant::now();
        assert_lasting(what, &lazy.get("k").await.expect_err(what));
        assert_lasting(what, &lazy.put("k", "1").await.expect_err(what));
        assert_lasting(what, &lazy.list("k").await.expect_err(what));
        let lock = lazy.new_lock("k", Default::default()).unwrap();
        assert_lasting(what, &lock.lock().await.expect_err(what));
        let mut watch =
            lazy.watch_opts(&WatchTarget::Tree(integration_tests::key("k")), Default::default());
        assert_lasting(what, &watch.next().await.expect("an item").expect_err(what));
        assert!(watch.next().await.is_none(), "{what}");
        assert!(begun.elapsed() < 5 * SOON, "{what}: {:?}", begun.elapsed());
        let made = proxy.accepted() - before;
        assert!(made <= 6 * FEW, "{what}: {made} connections");
    }
}

/// These name what is likely, and cost a few connections.
pub(crate) async fn who_speaks_tls_and_who_does_not_is_told_apart<B: Backend>() {
    let servers = servers::<B>().await;
    let cases = [
        (B::shared().await, Some(servers.trusting()), "whether the port speaks TLS".to_owned()),
        (B::endpoint(&servers.open), None, format!("write {}s://", B::SCHEME)),
    ];
    for (endpoint, tls, advice) in cases {
        let proxy = Proxy::start(endpoint).await;
        let (at, common) = (proxy.addr(), with_tls(tls));
        let begun = Instant::now();
        let error = B::open(&at, common.clone()).await.expect_err(&advice);
        assert_eq!(error.kind(), ErrorKind::NotReachable, "{error}");
        assert!(error.to_string().contains(&advice), "{error}");
        assert!(begun.elapsed() < SOON, "{advice}: {:?}", begun.elapsed());
        assert!(proxy.accepted() <= FEW, "{advice}: {} connections", proxy.accepted());

        let lazy = B::open(&at, common.with_lazy()).await.expect(&advice);
        let before = proxy.accepted();
        let errors = [
            lazy.get("k").await.unwrap_err(),
            lazy.list("k").await.unwrap_err(),
            lazy.put("k", "1").await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::NotReachable, "{error}");
            assert!(error.to_string().contains(&advice), "{error}");
        }
        let made = proxy.accepted() - before;
        assert!(made <= 3 * FEW, "{advice}: {made} connections");
    }
}

/// A client of TLS does not speak plain text, whatever it is answered, and its password stays here.
pub(crate) async fn tls_is_never_given_up_for_plain_text<B: Backend>(user: &str) {
    const HANDSHAKE: u8 = 0x16;
    const PASSWORD: &str = "a password in the clear";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let answers: [&[u8]; 4] =
            [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\x04", b"\x15"];
        let mut heard = Vec::new();
        for answer in answers.iter().cycle() {
            let accepted = tokio::time::timeout(Duration::from_secs(1), listener.accept()).await;
            let Ok(accepted) = accepted else {
                break;
            };
            let (mut stream, _) = accepted.unwrap();
            let mut bytes = vec![0; 4096];
            let length = stream.read(&mut bytes).await.unwrap();
            bytes.truncate(length);
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            stream.read_to_end(&mut bytes).await.unwrap_or_default();
            heard.push(bytes);
        }
        heard
    });
    let common = Config::default()
        .with_tls(TlsConfig::default().with_ca(pem(Authority::new().pem())))
        .with_credentials(Credentials::new(user, PASSWORD))
        .with_lazy();
    let store = B::open(&addr.to_string(), common).await.unwrap();
    for _ in 0..4 {
        let error = store.put("k", "1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotReachable, "{error}");
    }
    let heard = heard.await.unwrap();
    assert!(heard.len() >= 4, "{} connections", heard.len());
    for bytes in heard {
        assert_eq!(bytes.first(), Some(&HANDSHAKE), "{bytes:?}");
        let said = String::from_utf8_lossy(&bytes);
        assert!(!said.contains(PASSWORD) && !said.contains(" HTTP/"), "{said}");
    }
}
