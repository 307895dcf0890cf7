//! TLS in a program that has no provider of rustls installed, or one of its own.

#![allow(clippy::unwrap_used, reason = "this is for tests")]

use std::sync::Arc;

use bytes::Bytes;
use libkv_core::{Config, ErrorKind, Host, PemSource, TlsConfig};
use libkv_etcd::{EtcdConfig, EtcdStore};
use rustls::crypto::ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::{CipherSuite, ServerConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Accepts one client, and tells what was agreed on in the handshake.
async fn accept_one(config: Arc<ServerConfig>) -> (Host, JoinHandle<CipherSuite>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepting = async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream =
            TlsAcceptor::from(config).accept(stream).await.expect("the handshake succeeds");
        stream.get_ref().1.negotiated_cipher_suite().expect("a suite").suite()
    };
    (Host::new("127.0.0.1", Some(port)), tokio::spawn(accepting))
}

/// Opens a store, which must come as far as the end of the handshake: the server hangs up then.
async fn shake_hands(server: &Arc<ServerConfig>, ca: &str) -> CipherSuite {
    let (host, accepted) = accept_one(server.clone()).await;
    let tls = TlsConfig::default().with_ca(PemSource::Bytes(Bytes::from(ca.to_owned())));
    let config = EtcdConfig::new([host]).with_common(Config::default().with_tls(tls));
    let error = EtcdStore::open(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotReachable, "{error}");
    accepted.await.unwrap()
}

/// One test, because a provider is installed for a whole process and stays.
#[tokio::test]
async fn tls_needs_no_provider_of_the_program_and_takes_the_one_it_has() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let ring = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
    let server = server.unwrap().with_no_client_auth();
    let mut server = server.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    server.alpn_protocols = vec![b"h2".to_vec()];
    let (server, ca) = (Arc::new(server), made.cert.pem());

    // A client that leaves the choice to rustls installs what it chose, or panics where a program
    // has several to choose from.
    shake_hands(&server, &ca).await;
    assert!(CryptoProvider::get_default().is_none(), "one was installed in the program's place");

    // One that the client's own would not agree with: it has a single suite.
    let one = vec![TLS13_CHACHA20_POLY1305_SHA256];
    let theirs = CryptoProvider { cipher_suites: one, ..ring::default_provider() };
    theirs.install_default().unwrap();
    let agreed = shake_hands(&server, &ca).await;
    assert_eq!(agreed, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    let kept = CryptoProvider::get_default().expect("it was installed");
    assert_eq!(kept.cipher_suites.len(), 1, "it was replaced");
}
