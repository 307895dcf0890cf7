//! What is secret is in no text.

use std::fmt::Write as _;

use integration_tests::{collect_lines, key, lines_about};
use libkv_core::{Credentials, StoreExt, StoreUrl};
use libkv_etcd::{EtcdConfig, EtcdStore};

use super::users::{make_user, start_with_users};
use super::{Plain, config, open_url};
use crate::harness::etcd::{self, Options};
use crate::servers::secrets::{self, texts};

#[tokio::test]
async fn no_text_has_a_password_or_a_private_key() {
    collect_lines();
    let secret = format!("hunter{:016x}", fastrand::u64(..));
    let server = start_with_users(Options::default()).await;
    make_user(&server, "ann", &secret, &["ann/"]).await;
    let at = server.endpoint();
    let mut said = String::new();

    let url: StoreUrl = format!("etcd://ann:{secret}@{at}/ann").parse().unwrap();
    said += &secrets::of_url(&url, "ann:***@");
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
    EtcdStore::open(plain.with_common(common)).await.unwrap();

    let (of_key, private) = secrets::of_private_key::<Plain>().await;
    said += &of_key;

    assert!(!said.contains(&secret), "{said}");
    assert!(!said.contains(&private), "{said}");
    // The lines were collected: some are about these very servers.
    assert_ne!(lines_about("the server has no users"), [""; 0]);
    assert_ne!(lines_about(&at), [""; 0]);
    assert_eq!(lines_about(&secret), [""; 0]);
    assert_eq!(lines_about(&private), [""; 0]);
}
