//! Tokens and what they may do.

use std::time::{Duration, Instant};

use integration_tests::{Watcher, key};
use libkv_consul::{ConsulConfig, ConsulStore};
use libkv_core::{Key, LifetimeKind, LockOptions, Store, StoreExt, Txn, WriteOptions};
use tokio::sync::OnceCell;

use super::cli::{Cli, Stored};
use super::config;
use super::losing::assert_ends_denied_after_puts;
use crate::harness::consul::{Options, Server};
use crate::harness::proxy::Proxy;
use crate::servers::rights::{
    CALLS, assert_all_denied, assert_denied, assert_owning_denied, assert_writes_denied,
    everything_is_allowed,
};
use crate::servers::{PATIENCE, until};

/// The server that these tests share. Each has tokens and prefixes of its own.
pub(super) async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(|| Server::start(Options::default().with_acls())).await
}

/// The rights that the README names as enough for everything.
pub(super) fn everything(prefix: &str) -> String {
    format!("{}\nsession_prefix \"\" {{ policy = \"write\" }}", keys(prefix, "write"))
}

pub(super) fn keys(prefix: &str, policy: &str) -> String {
    format!("key_prefix \"{prefix}\" {{ policy = \"{policy}\" }}")
}

pub(super) fn with_root(endpoint: String, top: &str) -> ConsulConfig {
    let config = config(&[endpoint]);
    let common =
        config.common.clone().with_root(if top.is_empty() { Key::root() } else { key(top) });
    config.with_common(common)
}

pub(super) async fn open(endpoint: String, token: &str, top: &str) -> ConsulStore {
    ConsulStore::open(with_root(endpoint, top).with_token(token)).await.unwrap()
}

/// Has keys that nobody may change who has no right to.
async fn fill(root: &Cli<'_>, top: &str) -> Vec<Stored> {
    for name in ["a", "d/b"] {
        root.put(&format!("{top}/{name}"), b"kept").await;
    }
    root.below(&format!("{top}/")).await
}

#[tokio::test]
async fn an_unknown_token_and_none_are_denied_at_once_and_not_tried_again() {
    let server = server().await;
    let root = Cli::of(server);
    let before = fill(&root, "unknown").await;
    let proxy = Proxy::start(server.endpoint()).await;
    let unknown = with_root(proxy.addr(), "unknown").with_token("00000000-dead-4000-8000-beef");
    for (what, config) in [("unknown", unknown), ("none", with_root(proxy.addr(), "unknown"))] {
        let store = ConsulStore::open(config).await.unwrap();
        let (begun, made) = (Instant::now(), proxy.accepted());
        assert_all_denied(what, &store).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: {:?}", begun.elapsed());
        let made = proxy.accepted() - made;
        assert!(made <= 2 * CALLS, "{what}: {made} connections");
        assert_eq!(root.below("unknown/").await, before, "{what}");
    }
    let sessions = root.sessions().await;
    assert!(sessions.iter().all(|session| session.node == "alone"), "{sessions:?}");
}

#[tokio::test]
async fn a_token_for_the_roots_prefix_is_enough_for_everything_inside() {
    let server = server().await;
    let root = Cli::of(server);
    let token = server.make_token(&everything("carl/")).await;
    let store = open(server.endpoint(), &token.secret, "carl").await;
    let sessions = async || {
        let sessions = root.sessions().await;
        sessions.iter().filter(|session| session.name == "libkv lock").count()
    };
    let before = sessions().await;
    // The holder has one, and so has who waits.
    let waits = async || until("a waiter", async || sessions().await >= before + 2).await;
    everything_is_allowed(&store, waits).await;
    assert_eq!(root.below("carl/").await, []);
}

#[tokio::test]
async fn a_token_that_may_only_read_reads_everything_and_changes_nothing() {
    let server = server().await;
    let root = Cli::of(server);
    let before = fill(&root, "read").await;
    let token = server.make_token(&keys("read/", "read")).await;
    let store = open(server.endpoint(), &token.secret, "read").await;
    let reads = async || {
        assert_eq!(store.get("a").await.unwrap().value, "kept");
        assert!(store.exists("d/b").await.unwrap() && !store.exists("absent").await.unwrap());
        assert_eq!(store.list(Key::root()).await.unwrap().len(), 2);
        let mut watch = Watcher::new(store.watch_tree(Key::root()).unwrap(), PATIENCE);
        assert_eq!(watch.until_synced().await.1.len(), 2);
        watch
    };
    let mut watch = reads().await;
    assert_writes_denied("read", &store).await;
    assert_eq!(root.below("read/").await, before);
    reads().await;
    root.put("read/c", b"1").await;
    assert_eq!(watch.put().await.key, key("c"), "the watch goes on");
}

/// Without a right to sessions all is as it was that needs none. What ends a key's life is not told
/// then.
#[tokio::test]
async fn a_token_without_sessions_can_do_what_needs_none() {
    let server = server().await;
    let root = Cli::of(server);
    let full = server.make_token(&everything("locked/")).await;
    let token = server.make_token(&keys("locked/", "write")).await;
    let other = open(server.endpoint(), &full.secret, "locked").await;
    let store = open(server.endpoint(), &token.secret, "locked").await;
    store.put("a", "1").await.unwrap();
    let before = (root.below("locked/").await, root.sessions().await.len());
    assert_owning_denied("no sessions", &store).await;
    assert_eq!((root.below("locked/").await, root.sessions().await.len()), before);

    let pair = store.get("a").await.unwrap();
    store.atomic_put("a", "2", Some(&pair)).await.unwrap();
    store.txn(Txn::new().put("d/b", "1").unwrap()).await.unwrap();
    let ttl = WriteOptions::default().with_ttl(Duration::from_secs(600));
    other.put_opts(&key("d/ttl"), "1".into(), ttl).await.unwrap();
    let pair = store.get("d/ttl").await.unwrap();
    assert_eq!((pair.lifetime, &pair.value[..]), (LifetimeKind::Ephemeral, &b"1"[..]));
    let mut watch = Watcher::new(store.watch_tree(Key::root()).unwrap(), PATIENCE);
    watch.until_synced().await;
    // It may free the key from a session that it may not see.
    store.put("d/ttl", "2").await.unwrap();
    assert_eq!(other.get("d/ttl").await.unwrap().lifetime, LifetimeKind::Permanent);
    assert_eq!(watch.put().await.value, "2");
    store.delete_tree(Key::root()).await.unwrap();
    watch.until(|state| state.is_empty()).await;
}

#[tokio::test]
async fn outside_of_its_rights_a_token_sees_and_changes_nothing() {
    let server = server().await;
    let root = Cli::of(server);
    let token = server.make_token(&everything("dora/")).await;
    let before = (fill(&root, "theirs").await, fill(&root, "dora2").await);
    for top in ["theirs", "dora2"] {
        assert_all_denied(top, &open(server.endpoint(), &token.secret, top).await).await;
    }
    // A transaction that is half inside happens not at all, and a tree that is wider is no one's.
    let store = open(server.endpoint(), &token.secret, "").await;
    store.put("dora/a", "1").await.unwrap();
    let half = Txn::new().put("dora/b", "1").unwrap().put("theirs/a", "1").unwrap();
    assert_denied("half", &store.txn(half).await.unwrap_err());
    let looks = Txn::new().require_absent("theirs/b").unwrap().put("dora/b", "1").unwrap();
    assert_denied("a look outside", &store.txn(looks).await.unwrap_err());
    assert_denied("all", &store.delete_tree(Key::root()).await.unwrap_err());
    // The prefix ends with a slash, so the directory's own key is outside of it.
    assert_denied("the key of the directory", &store.delete_tree("dora").await.unwrap_err());
    let inside = root.below("dora/").await;
    assert_eq!(inside.iter().map(|stored| &*stored.name).collect::<Vec<_>>(), ["dora/a"]);
    assert_eq!((root.below("theirs/").await, root.below("dora2/").await), before);
}

/// A token that is taken away ends what needs it. No watch takes that for a deletion, and no holder
/// of a lock for its own.
#[tokio::test]
async fn a_revoked_token_is_denied_from_then_on() {
    let server = server().await;
    let root = Cli::of(server);
    let before = fill(&root, "revoked").await;
    let token = server.make_token(&everything("revoked/")).await;
    let store = open(server.endpoint(), &token.secret, "revoked").await;
    let mut tree = Watcher::new(store.watch_tree(Key::root()).unwrap(), PATIENCE);
    let mut one = Watcher::new(store.watch("a").unwrap(), PATIENCE);
    for watch in [&mut tree, &mut one] {
        watch.until_synced().await;
    }
    server.revoke(&token).await;
    assert_all_denied("revoked", &store).await;
    assert_eq!(root.below("revoked/").await, before);
    // The queries that wait are told of the next change, and the next ones are refused.
    root.put("revoked/a", b"changed").await;
    for watch in [&mut tree, &mut one] {
        assert_ends_denied_after_puts("revoked", watch).await;
    }
}

/// A lock is held as long as its session lives, which the server no longer lets anybody renew.
#[tokio::test]
async fn a_lock_whose_token_is_revoked_is_lost_in_its_time() {
    const TTL: Duration = Duration::from_secs(10);
    let server = server().await;
    let root = Cli::of(server);
    let token = server.make_token(&everything("holder/")).await;
    let store = open(server.endpoint(), &token.secret, "holder").await;
    let lock = store.new_lock("lock", LockOptions::default().with_ttl(TTL)).unwrap();
    let guard = lock.lock().await.unwrap();
    server.revoke(&token).await;
    let fenced = WriteOptions::default().with_fence(guard.fence());
    assert_denied("a put", &store.put_opts(&key("a"), "1".into(), fenced).await.unwrap_err());
    let begun = Instant::now();
    let reason = tokio::time::timeout(PATIENCE, guard.lost()).await.unwrap();
    assert!(begun.elapsed() < TTL + Duration::from_secs(2), "{:?}: {reason}", begun.elapsed());
    assert!(!guard.is_held());
    assert!(root.stored("holder/lock/.lock").await.is_some(), "it was told before it was so");
}
