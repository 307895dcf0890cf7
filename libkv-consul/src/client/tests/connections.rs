//! TLS, and sockets that are files.

use std::path::Path;
use std::sync::Arc;

use libkv_core::{ClientIdentity, Config, ErrorKind, Host, PemSource, TlsConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::responder::{Responder, Step, answer};
use super::*;
use crate::config::ConsulConfig;

/// An authority, and what it vouches for.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a name, with its key, in PEM form.
    fn certificate(&self, name: &str) -> (String, String) {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A server with a name, which may ask who its clients are.
    fn acceptor(&self, name: &str, asks: bool) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (cert, key) = self.certificate(name);
        let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match asks {
            false => builder.with_no_client_auth(),
            true => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
    }

    fn trusted(&self) -> TlsConfig {
        TlsConfig::default().with_ca(pem(&self.pem))
    }
}

fn pem(text: &str) -> PemSource {
    PemSource::Bytes(text.to_owned().into())
}

/// A client that speaks TLS to a host with the responder's port.
async fn speaking(host: &str, responder: &Responder, tls: TlsConfig) -> Result<Client> {
    let port = responder.address.rsplit_once(':').unwrap().1.parse().unwrap();
    // An agent without TLS waits for more than it is sent.
    let common = Config::default().with_tls(tls).with_connection_timeout(10 * SHORT);
    Client::open(&ConsulConfig::new([Host::new(host, Some(port))]).with_common(common)).await
}

async fn get(client: &Client) -> Result<Answer<Option<Entry>>, Failure> {
    client.get("a", Mode::Consistent, &call()).await
}

#[tokio::test]
async fn a_private_authority_and_a_clients_certificate_are_used() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("localhost", true);
    let steps = [answer(404, &[], ""), answer(404, &[], "")];
    let responder = Responder::start_tls(acceptor, steps).await;
    let (cert, key) = authority.certificate("ann");
    let known = authority.trusted().with_client(ClientIdentity::new(pem(&cert), pem(&key)));
    get(&speaking("localhost", &responder, known).await.unwrap()).await.unwrap();
    let nameless = speaking("localhost", &responder, authority.trusted()).await.unwrap();
    let failure = get(&nameless).await.unwrap_err();
    assert_eq!(failure.kind_for(false), ErrorKind::NotReachable, "{failure:?}");
    assert_eq!(responder.lines().len(), 1);
}

#[tokio::test]
async fn a_servers_name_is_asked_for_in_place_of_its_hosts() {
    let authority = Authority::new();
    let acceptor = || authority.acceptor("consul.internal", false);
    let responder = Responder::start_tls(acceptor(), [answer(404, &[], "")]).await;
    let named = authority.trusted().with_server_name("consul.internal");
    for host in ["localhost", "127.0.0.1"] {
        let responder = Responder::start_tls(acceptor(), [answer(404, &[], "")]).await;
        let client = speaking(host, &responder, named.clone()).await.unwrap();
        get(&client).await.unwrap();
        assert!(
            responder.seen()[0].headers.iter().any(|h| h.starts_with("host: consul.internal:"))
        );
        assert!(client.address().starts_with(host));
    }
    for tls in [
        authority.trusted(),
        authority.trusted().with_server_name("consul.example"),
        Authority::new().trusted().with_server_name("consul.internal"),
    ] {
        let failure =
            get(&speaking("127.0.0.1", &responder, tls).await.unwrap()).await.unwrap_err();
        let error = failure.into_error(&call(), false);
        assert_eq!(error.kind(), ErrorKind::NotReachable);
        assert!(
            error.to_string().contains("TLS handshake failed") && !error.is_transient(),
            "{error}"
        );
    }
    assert!(responder.lines().is_empty());
    let address = authority.trusted().with_server_name("127.0.0.1");
    let error = speaking("localhost", &responder, address).await.unwrap_err();
    assert!(error.to_string().contains("server_name is no name"), "{error}");
}

#[tokio::test]
async fn plain_text_and_tls_never_stand_in_for_each_other() {
    let authority = Authority::new();
    let plain = Responder::start([answer(404, &[], "")]).await;
    let client = speaking("localhost", &plain, authority.trusted()).await.unwrap();
    assert_eq!(get(&client).await.unwrap_err().kind_for(false), ErrorKind::NotReachable);
    let acceptor = authority.acceptor("localhost", false);
    let secret = Responder::start_tls(acceptor, [answer(404, &[], "")]).await;
    let client = super::client(&[&secret], "").await;
    let error = get(&client).await.unwrap_err().into_error(&call(), false);
    assert!(error.to_string().contains("consuls://"), "{error}");
    assert!(secret.lines().is_empty());
}

#[tokio::test]
async fn a_write_whose_connection_is_never_ready_has_not_left() {
    // It takes connections and says nothing on them, so that no handshake ends.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let common = Config::default().with_tls(Authority::new().trusted());
    let config = ConsulConfig::new([Host::new("127.0.0.1", Some(port))]).with_common(common);
    let client = Client::open(&config).await.unwrap();
    let ops = [delete("a")];
    let failure = client.txn(&ops, true, Mode::Stale, &within(SHORT)).await.unwrap_err();
    assert_eq!(failure.kind_for(true), ErrorKind::Timeout, "{failure:?}");
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_refused_at_opening() {
    let authority = Authority::new();
    let (cert, key) = authority.certificate("ann");
    let (_, other) = authority.certificate("bob");
    let with = |cert: &str, key: &str| {
        authority.trusted().with_client(ClientIdentity::new(pem(cert), pem(key)))
    };
    let responder = Responder::start([]).await;
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (tls, expected) in [
        (TlsConfig::default().with_ca(pem("")), "ca holds no certificate"),
        (TlsConfig::default().with_ca(pem(&key)), "ca holds no certificate"),
        (TlsConfig::default().with_ca(pem(garbage)), "ca holds a certificate that cannot be used"),
        (TlsConfig::default().with_ca(PemSource::File("/nowhere".into())), "ca=/nowhere cannot be"),
        (with(&cert, &cert), "key holds no private key"),
        (with(&key, &key), "cert holds no certificate"),
        (with(&cert, &other), "cert and key cannot be used together"),
    ] {
        let error = speaking("localhost", &responder, tls).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error:?}").contains("PRIVATE"), "{error:?}");
    }
}

#[tokio::test]
async fn the_programs_own_provider_is_not_used() {
    // It can do nothing, so that using it would show.
    let none = rustls::crypto::CryptoProvider {
        cipher_suites: Vec::new(),
        kx_groups: Vec::new(),
        ..rustls::crypto::ring::default_provider()
    };
    // Where another test of this process was first, it stands already.
    let _ = none.install_default();
    let authority = Authority::new();
    let responder =
        Responder::start_tls(authority.acceptor("localhost", false), [answer(404, &[], "")]).await;
    get(&speaking("localhost", &responder, authority.trusted()).await.unwrap()).await.unwrap();
    let plain = Responder::start([answer(404, &[], "")]).await;
    get(&client(&[&plain], "").await).await.unwrap();
}

#[tokio::test]
async fn an_agent_is_reached_by_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("consul.sock");
    let responder = Responder::start_unix(&path, [answer(404, &[], ""), Step::Cut(String::new())]);
    let client = open(&format!("consul://?socket={}", path.display())).await.unwrap();
    get(&client).await.unwrap();
    assert_eq!(responder.lines(), ["GET /v1/kv/a?consistent"]);
    assert_eq!(Path::new(&client.address()), path);
    let client = open(&format!("consul://?socket={}x", path.display())).await.unwrap();
    let failure = get(&client).await.unwrap_err();
    assert_eq!(failure.kind_for(true), ErrorKind::NotReachable);
}
