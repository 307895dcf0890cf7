//! What is secret is in no text.

use std::error::Error as _;
use std::fmt::Write as _;

use bytes::Bytes;
use integration_tests::{collect_lines, key, lines_about};
use libkv_core::{
    ClientIdentity, Credentials, Error, ErrorKind, PemSource, StoreExt, StoreUrl, TlsConfig,
};
use libkv_etcd::{EtcdConfig, EtcdStore};

use super::users::{make_user, start_with_users};
use super::{config, open_url};
use crate::harness::certificates::Authority;
use crate::harness::etcd::{self, Options};

/// Each form of an error and of all its causes.
fn texts(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, " {error} {error:?}").unwrap();
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn no_text_has_a_password_or_a_private_key() {
    collect_lines();
    let secret = format!("hunter{:016x}", fastrand::u64(..));
    let server = start_with_users(Options::default()).await;
    make_user(&server, "ann", &secret, &["ann/"]).await;
    let at = server.endpoint();
    let mut said = String::new();

    let url: StoreUrl = format!("etcd://ann:{secret}@{at}/ann").parse().unwrap();
    let printed = url.to_string();
    write!(said, "{printed} {url:?} {url:#?}").unwrap();
    assert!(printed.contains("ann:***@"), "{printed}");
    let error = printed.parse::<StoreUrl>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    said += &texts(&error);
    let config_of_url = EtcdConfig::try_from(url).unwrap();
    write!(said, "{config_of_url} {config_of_url:?} {config_of_url:#?}").unwrap();

    let store = EtcdStore::open(config_of_url).await.unwrap();
    store.put("a", "1").await.unwrap();
    let guard = store.new_lock("lock", Default::default()).unwrap().lock().await.unwrap();
    write!(said, "{store} {store:?} {store:#?} {guard:?}").unwrap();
    guard.unlock().await.unwrap();

    // Denied with the right password, refused with a wrong one, and a server that is gone.
    let wrong = format!("{secret}x");
    let outside = open_url(&format!("etcd://ann:{secret}@{at}/bob")).await.unwrap();
    said += &texts(&outside.put("a", "1").await.unwrap_err());
    said += &texts(&open_url(&format!("etcd://ann:{wrong}@{at}")).await.unwrap_err());
    said += &texts(&open_url(&format!("etcd://ann:{secret}@{at}?nonsense=1")).await.unwrap_err());
    said += &texts(&open_url(&format!("etcds://ann:{secret}@{at}")).await.unwrap_err());
    server.kill().await;
    said += &texts(&store.get("a").await.unwrap_err());
    said += &texts(&store.put("a", "1").await.unwrap_err());
    let mut watch = store.watch("a").unwrap();
    let gone = tokio::time::timeout(std::time::Duration::from_millis(500), watch.next()).await;
    assert!(gone.is_err(), "a watch waits for the server");

    // Where a server has no users, that is told, and not who asked.
    let plain = config(&[etcd::shared().await.endpoint()]);
    let common = plain.common.clone().with_root(key("nobody"));
    let common = common.with_credentials(Credentials::new("ann", secret.as_str()));
    EtcdStore::open(plain.clone().with_common(common)).await.unwrap();

    let issued = Authority::new().issue("a client", &[]);
    let private: String = issued.key.lines().nth(1).unwrap().to_owned();
    let pem = |text: String| PemSource::Bytes(Bytes::from(text));
    let client = ClientIdentity::new(pem(issued.certificate), pem(issued.key));
    let tls = TlsConfig::default().with_client(client);
    let common = plain.common.clone().with_tls(tls);
    let with_key = plain.with_common(common);
    write!(said, "{with_key} {with_key:?}").unwrap();
    said += &texts(&EtcdStore::open(with_key).await.unwrap_err());

    assert!(!said.contains(&secret), "{said}");
    assert!(!said.contains(&private), "{said}");
    // The lines were collected: some are about these very servers.
    assert_ne!(lines_about("the server has no users"), [""; 0]);
    assert_ne!(lines_about(&at), [""; 0]);
    assert_eq!(lines_about(&secret), [""; 0]);
    assert_eq!(lines_about(&private), [""; 0]);
}
