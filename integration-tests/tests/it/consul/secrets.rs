//! What is secret is in no text.

use std::fmt::Write as _;
use std::time::Duration;

use integration_tests::{collect_lines, lines_about};
use libkv_consul::{ConsulConfig, ConsulStore};
use libkv_core::{LockOptions, StoreExt, StoreUrl};

use super::rights::everything;
use super::{Plain, open_url};
use crate::harness::consul::{Options, Server};
use crate::servers::secrets::{self, texts};
use crate::servers::until;

#[tokio::test]
async fn no_text_has_a_token_or_a_private_key() {
    collect_lines();
    let server = Server::start(Options::default().with_acls()).await;
    let token = server.make_token(&everything("ann/")).await;
    let (secret, at) = (&token.secret, server.endpoint());
    let mut said = String::new();

    let url: StoreUrl = format!("consul://{at}/ann?token={secret}").parse().unwrap();
    said += &secrets::of_url(&url, "token=***");
    let config = ConsulConfig::try_from(url).unwrap();
    write!(said, "{config} {config:?} {config:#?}").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, secret).unwrap();
    let by_file = format!("consul://{at}/ann?token_file={}", file.display());
    let by_file = open_url(&by_file).await.unwrap();
    by_file.put("a", "1").await.unwrap();

    let store = ConsulStore::open(config).await.unwrap();
    let options = LockOptions::default().with_ttl(Duration::from_secs(10));
    let guard = store.new_lock("lock", options).unwrap().lock().await.unwrap();
    write!(said, "{store} {store:?} {store:#?} {by_file:?} {guard:?}").unwrap();

    // Denied with the right token, by a wrong one, in a wrong URL, and by a server that is gone.
    let outside = open_url(&format!("consul://{at}/bob?token={secret}")).await.unwrap();
    said += &texts(&outside.put("a", "1").await.unwrap_err());
    said += &texts(&outside.list("d").await.unwrap_err());
    let wrong = open_url(&format!("consul://{at}/ann?token={secret}x")).await.unwrap();
    said += &texts(&wrong.get("a").await.unwrap_err());
    for rest in ["&nonsense=1", "&token_file=/t", "%0A"] {
        let wrong = open_url(&format!("consul://{at}/ann?token={secret}{rest}")).await;
        said += &texts(&wrong.unwrap_err());
    }
    said += &texts(&open_url(&format!("consul://ann:{secret}@{at}")).await.unwrap_err());
    let https = open_url(&format!("consuls://{at}?token={secret}")).await;
    said += &texts(&https.unwrap_err());
    server.revoke(&token).await;
    said += &texts(&store.get("a").await.unwrap_err());
    server.kill().await;
    said += &texts(&store.get("a").await.unwrap_err());
    said += &texts(&store.put("a", "1").await.unwrap_err());
    said += &texts(&guard.lost().await);
    write!(said, "{guard:?}").unwrap();

    let (of_key, private) = secrets::of_private_key::<Plain>().await;
    said += &of_key;
    assert!(!said.contains(secret), "{said}");
    assert!(!said.contains(&private), "{said}");
    // The lines were collected: some are about this very server.
    until("something is logged", async || lines_about(&at) != [""; 0]).await;
    assert_eq!(lines_about(secret), [""; 0]);
    assert_eq!(lines_about(&private), [""; 0]);
}
