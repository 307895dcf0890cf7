//! Rights that are lost while a watch runs, and tokens that change.

use std::path::Path;

use integration_tests::{Watcher, key};
use libkv_consul::ConsulStore;
use libkv_core::{Event, Key, Lifetime, Store, StoreExt, WriteOptions};

use super::cli::Cli;
use super::rights::{everything, keys, open, server, with_root};
use crate::servers::rights::assert_denied;
use crate::servers::{PATIENCE, until};

async fn watch_all(store: &ConsulStore) -> Watcher {
    let mut watch = Watcher::new(store.watch_tree(Key::root()).unwrap(), PATIENCE);
    watch.until_synced().await;
    watch
}

/// What is left of the rights to `eve/`, each time after all of them.
fn left() -> Vec<(&'static str, String)> {
    vec![
        ("nothing", keys("eve2/", "write")),
        ("half", keys("eve/d1/", "read")),
        ("all but one key", format!("{}\n{}", keys("eve/", "read"), denied("eve/d2/b"))),
        ("all but a directory", format!("{}\n{}", keys("eve/", "write"), keys("eve/d2/", "deny"))),
    ]
}

fn denied(name: &str) -> String {
    format!("key \"{name}\" {{ policy = \"deny\" }}")
}

/// The server looks at rights when it is asked, and the query that waits then still tells what
/// changes. Nothing but that comes before the end.
pub(super) async fn assert_ends_denied_after_puts(what: &str, watch: &mut Watcher) {
    loop {
        match watch.item().await.expect("an item") {
            Ok(Event::Put(pair)) => assert_ne!(pair.value, "", "{what}: {pair:?}"),
            Ok(other) => panic!("{what}: {other:?}"),
            Err(error) => break assert_denied(what, &error),
        }
    }
    assert!(watch.item().await.is_none(), "{what}: it goes on after its error");
}

/// Consul leaves out of a listing what may not be read, as it does with what is gone. A watch that
/// was told of it ends with an error and says of no key that it is gone.
#[tokio::test]
async fn losing_the_right_to_read_is_never_a_deletion() {
    let server = server().await;
    let root = Cli::of(server);
    for name in ["eve/d1/a", "eve/d2/b", "eve/d2/c"] {
        root.put(name, b"1").await;
    }
    for (what, rules) in left() {
        let token = server.make_token(&everything("eve/")).await;
        let store = open(server.endpoint(), &token.secret, "eve").await;
        let mut tree = watch_all(&store).await;
        let mut lost = Watcher::new(store.watch("d2/b").unwrap(), PATIENCE);
        lost.until_synced().await;
        server.set_rules(&token, &rules).await;
        // Something must change before the server is asked again.
        for round in 0..2 {
            root.put("eve/d1/a", format!("{what} {round}").as_bytes()).await;
            root.put("eve/d2/b", format!("{what} {round}").as_bytes()).await;
        }
        for watch in [&mut tree, &mut lost] {
            assert_ends_denied_after_puts(what, watch).await;
        }
        assert_denied(what, &store.get("d2/b").await.unwrap_err());
    }
}

/// Deletions are told as ever where the right to read stays.
#[tokio::test]
async fn what_is_deleted_is_told_where_everything_may_be_read() {
    let server = server().await;
    let root = Cli::of(server);
    let token = server.make_token(&keys("flora/", "read")).await;
    for name in ["flora/a", "flora/d/b", "flora/d/c"] {
        root.put(name, b"1").await;
    }
    let store = open(server.endpoint(), &token.secret, "flora").await;
    let mut tree = watch_all(&store).await;
    root.delete("flora/a").await;
    assert_eq!(tree.delete().await.0, key("a"));
    root.delete_below("flora/").await;
    tree.until(|state| state.is_empty()).await;
    assert_eq!(store.list(Key::root()).await.unwrap(), []);
}

/// Writes a file at one moment, as programs do that hand out tokens.
fn replace(path: &Path, token: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, format!("{token}\n")).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

/// Nothing fails where the next token is in the file before the old one is taken away, and of the
/// rest only what was asked in between.
#[tokio::test]
async fn a_token_file_may_change_while_it_is_used() {
    let server = server().await;
    let root = Cli::of(server);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let mut token = server.make_token(&everything("file/")).await;
    replace(&path, &token.secret);
    let config = with_root(server.endpoint(), "file").with_token_file(&path);
    let store = ConsulStore::open(config).await.unwrap();
    let mut tree = watch_all(&store).await;
    let mut one = Watcher::new(store.watch("n").unwrap(), PATIENCE);
    one.until_synced().await;
    let ephemeral = || WriteOptions::from(Lifetime::Ephemeral);
    store.put_opts(&key("session"), "1".into(), ephemeral()).await.unwrap();
    let session = root.stored("file/session").await.unwrap().session;
    let guard = store.new_lock("lock", Default::default()).unwrap().lock().await.unwrap();
    for round in 0..3 {
        let next = server.make_token(&everything("file/")).await;
        replace(&path, &next.secret);
        server.revoke(&token).await;
        token = next;
        let value = format!("{round}");
        store.put("n", value.clone()).await.unwrap();
        assert_eq!(store.get("n").await.unwrap().value, value);
        assert_eq!(store.list(Key::root()).await.unwrap().len(), 2);
        let fenced = WriteOptions::default().with_fence(guard.fence());
        store.put_opts(&key("fenced"), value.clone().into(), fenced).await.unwrap();
        store.delete("fenced").await.unwrap();
        for watch in [&mut tree, &mut one] {
            watch.until(|state| state.get(&key("n")).is_some_and(|n| n.value == value)).await;
        }
    }
    // The one in the file is not good, and then there is a better one.
    server.revoke(&token).await;
    assert_denied("revoked", &store.put("n", "x").await.unwrap_err());
    let next = server.make_token(&everything("file/")).await;
    replace(&path, &next.secret);
    until("the new token is used", async || store.put("n", "y").await.is_ok()).await;
    assert!(guard.is_held());
    guard.unlock().await.unwrap();
    assert_eq!(root.stored("file/session").await.unwrap().session, session, "it lives on");
    store.close().await.unwrap();
}
