//! Users, passwords and rights.

use std::time::{Duration, Instant};

use integration_tests::{Watcher, key};
use libkv_core::{
    Credentials, DeleteOptions, Error, ErrorKind, Key, Lifetime, LockOptions, Result, Store,
    StoreExt, Txn, UpdateOptions, WatchTarget, WriteOptions,
};
use libkv_etcd::EtcdStore;
use tokio::sync::OnceCell;

use super::config;
use super::etcdctl::{Etcdctl, PATIENCE};
use crate::harness::etcd::{self, Options, Server};
use crate::harness::proxy::Proxy;

const ROOT: &str = "root:the root's";

/// A server that asks everybody who they are, with root as its first user.
pub(super) async fn start_with_users(options: Options) -> Server {
    let server = Server::start(options.with_flag("--bcrypt-cost=4")).await;
    let etcdctl = Etcdctl::of(&server);
    etcdctl.run(&["user", "add", ROOT]).await;
    etcdctl.run(&["auth", "enable"]).await;
    server
}

/// `etcdctl` with every right.
pub(super) fn root(server: &Server) -> Etcdctl<'_> {
    Etcdctl::of(server).as_user(ROOT)
}

/// The server that these tests share. Each has users and prefixes of its own.
async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(|| start_with_users(Options::default())).await
}

/// Makes a user who may read and write below each of these prefixes.
pub(super) async fn make_user(server: &Server, user: &str, password: &str, prefixes: &[&str]) {
    let root = root(server);
    root.run(&["user", "add", &format!("{user}:{password}")]).await;
    root.run(&["role", "add", user]).await;
    for prefix in prefixes {
        grant(server, user, "readwrite", prefix).await;
    }
    root.run(&["user", "grant-role", user, user]).await;
}

/// Gives a user's role a right on all names that begin so.
async fn grant(server: &Server, role: &str, right: &str, prefix: &str) {
    root(server).run(&["role", "grant-permission", "--prefix=true", role, right, prefix]).await;
}

fn configured(endpoint: String, user: &str, password: &str, top: &str) -> libkv_etcd::EtcdConfig {
    let config = config(&[endpoint]);
    let common = config.common.clone().with_root(key(top));
    config.with_common(common.with_credentials(Credentials::new(user, password)))
}

pub(super) async fn open(
    endpoint: String,
    user: &str,
    password: &str,
    top: &str,
) -> Result<EtcdStore> {
    EtcdStore::open(configured(endpoint, user, password, top)).await
}

fn assert_denied(what: &str, error: &Error) {
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}");
    assert!(!error.is_transient() && error.changed_nothing(), "{what}: {error}");
    let source = std::error::Error::source(error).expect("there is a cause").to_string();
    assert!(!error.to_string().contains(&source), "{what}: the text repeats its cause: {error}");
}

/// Every call is denied, and a watch ends with that as its only item.
async fn assert_all_denied(what: &str, store: &EtcdStore) {
    assert_denied(what, &store.get("a").await.expect_err(what));
    assert_denied(what, &store.exists("a").await.expect_err(what));
    assert_denied(what, &store.put("a", "1").await.expect_err(what));
    assert_denied(what, &store.atomic_put("new", "1", None).await.expect_err(what));
    assert_denied(what, &store.delete("a").await.expect_err(what));
    assert_denied(what, &store.list("d").await.expect_err(what));
    assert_denied(what, &store.list(Key::root()).await.expect_err(what));
    assert_denied(what, &store.delete_tree("d").await.expect_err(what));
    assert_denied(what, &store.delete_tree(Key::root()).await.expect_err(what));
    let txn = Txn::new().require_exists("a").and_then(|txn| txn.put("a", "1")?.delete("d/b"));
    assert_denied(what, &store.txn(txn.unwrap()).await.expect_err(what));
    let updated = store.update("a", UpdateOptions::default(), |_| "1").await;
    assert_denied(what, &updated.expect_err(what));
    for lifetime in [Lifetime::Ephemeral, Lifetime::Ttl(Duration::from_secs(60))] {
        let put = store.put_opts(&key("a"), "1".into(), WriteOptions::from(lifetime)).await;
        assert_denied(what, &put.expect_err(what));
    }
    let lock = store.new_lock("a", LockOptions::default().with_value("1")).unwrap();
    assert_denied(what, &lock.lock().await.expect_err(what));
    assert_denied(what, &lock.try_lock().await.expect_err(what));
    for target in [WatchTarget::Key(key("a")), WatchTarget::Tree(Key::root())] {
        let mut watch = Watcher::new(store.watch_opts(&target, Default::default()), PATIENCE);
        let first = watch.item().await.expect("an item");
        assert_denied(what, &first.expect_err(what));
        assert!(watch.item().await.is_none(), "{what}: it goes on after its error");
    }
}

#[tokio::test]
async fn a_wrong_password_is_denied_at_once_and_not_tried_again() {
    let server = server().await;
    make_user(server, "ann", "right", &["ann/"]).await;
    open(server.endpoint(), "ann", "right", "ann").await.unwrap();
    for (user, password) in [("ann", "wrong"), ("nobody", "right")] {
        let proxy = Proxy::start(server.endpoint()).await;
        let begun = Instant::now();
        let error = open(proxy.addr(), user, password, "ann").await.unwrap_err();
        assert_denied(user, &error);
        assert!(error.to_string().contains("the user or the password is wrong"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert!(proxy.accepted() <= 2, "{} connections", proxy.accepted());

        let config = configured(proxy.addr(), user, password, "ann");
        let common = config.common.clone().with_lazy();
        let lazy = EtcdStore::open(config.with_common(common)).await.unwrap();
        let before = proxy.accepted();
        assert_all_denied(user, &lazy).await;
        let made = proxy.accepted() - before;
        assert!(made <= 2 * CALLS, "{made} connections");
    }
    assert_eq!(root(server).below("ann/").await, []);
}

/// How many calls [`assert_all_denied`] makes.
const CALLS: u64 = 17;

#[tokio::test]
async fn without_a_user_a_server_with_users_denies_every_call() {
    let server = server().await;
    root(server).put("anonymous/a", b"kept").await;
    let config = config(&[server.endpoint()]);
    let common = config.common.clone().with_root(key("anonymous"));
    let store = EtcdStore::open(config.with_common(common)).await.unwrap();
    let error = store.get("a").await.unwrap_err();
    assert!(error.to_string().contains("give a user and a password"), "{error}");
    assert_all_denied("nobody", &store).await;
    let left = root(server).below("anonymous/").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].value, b"kept");
}

/// As etcd's own client does.
#[tokio::test]
async fn a_server_without_users_takes_any() {
    let endpoint = etcd::shared().await.endpoint();
    let top = format!("u{:016x}", fastrand::u64(..));
    let store = open(endpoint, "ann", "any", &top).await.unwrap();
    store.put("a", "1").await.unwrap();
    assert_eq!(store.list(Key::root()).await.unwrap().len(), 1);
    store.delete_tree(Key::root()).await.unwrap();
}

#[tokio::test]
async fn a_changed_password_denies_what_follows_until_it_is_right_again() {
    let server = server().await;
    make_user(server, "bob", "old", &["bob/"]).await;
    let proxy = Proxy::start(server.endpoint()).await;
    let store = open(proxy.addr(), "bob", "old", "bob").await.unwrap();
    store.put("a", "kept").await.unwrap();
    store.list(Key::root()).await.unwrap();
    let change = async |password: &str| {
        let change = ["etcdctl", "--user", ROOT, "user", "passwd", "--interactive=false", "bob"];
        server.exec_with(&change, format!("{password}\n")).await.text();
    };
    change("new").await;
    let before = proxy.accepted();
    assert_all_denied("the old password", &store).await;
    let made = proxy.accepted() - before;
    assert!(made <= 2 * CALLS, "{made} connections");
    let left = root(server).below("bob/").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].value, b"kept");

    let other = open(server.endpoint(), "bob", "new", "bob").await.unwrap();
    other.put("b", "1").await.unwrap();
    change("old").await;
    assert_eq!(store.get("b").await.unwrap().value, "1");
    let mut watch = Watcher::new(store.watch_tree(Key::root()).unwrap(), PATIENCE);
    assert_eq!(watch.until_synced().await.1.len(), 2);
}

/// What the README says that a user needs is enough for everything.
#[tokio::test]
async fn a_role_for_the_roots_prefix_is_enough_for_everything_inside() {
    let server = server().await;
    make_user(server, "carl", "secret", &["carl/"]).await;
    let store = open(server.endpoint(), "carl", "secret", "carl").await.unwrap();
    let mut tree = Watcher::new(store.watch_tree(Key::root()).unwrap(), PATIENCE);
    let mut one = Watcher::new(store.watch("d/a").unwrap(), PATIENCE);
    tree.until_synced().await;
    one.until_synced().await;

    store.put("d/a", "1").await.unwrap();
    let pair = store.get("d/a").await.unwrap();
    assert!(store.exists("d/a").await.unwrap());
    let pair = store.atomic_put("d/a", "2", Some(&pair)).await.unwrap();
    let txn = Txn::new().require_version("d/a", pair.version).unwrap();
    store.txn(txn.put("d/a", "3").unwrap().put("d/b", "1").unwrap()).await.unwrap();
    assert_eq!(store.list("d").await.unwrap().len(), 2);
    for lifetime in [Lifetime::Ephemeral, Lifetime::Ttl(Duration::from_secs(60))] {
        store.put_opts(&key("d/c"), "1".into(), WriteOptions::from(lifetime)).await.unwrap();
    }
    store.update("d/c", UpdateOptions::default(), |_| "2").await.unwrap();

    let options = LockOptions::default().with_value("me").with_ttl(Duration::from_secs(60));
    let lock = store.new_lock("lock", options).unwrap();
    let guard = lock.lock().await.unwrap();
    let fenced = WriteOptions::default().with_fence(guard.fence());
    store.put_opts(&key("d/d"), "1".into(), fenced).await.unwrap();
    let second = tokio::spawn({
        let lock = store.new_lock("lock", LockOptions::default()).unwrap();
        async move { lock.lock().await }
    });
    root(server).wait_for(2, "carl/lock/").await;
    guard.unlock().await.unwrap();
    let second = tokio::time::timeout(PATIENCE, second).await.unwrap().unwrap().unwrap();
    second.unlock().await.unwrap();

    tree.until(|state| state.len() == 4 && !state.contains_key("lock")).await;
    one.until(|state| state.get("d/a").is_some_and(|pair| pair.value == "3")).await;
    store.delete_opts(&key("d/b"), DeleteOptions::default()).await.unwrap();
    store.delete_tree("d").await.unwrap();
    store.put("last", "1").await.unwrap();
    store.delete_tree(Key::root()).await.unwrap();
    tree.until(|state| state.is_empty()).await;
    one.until(|state| state.is_empty()).await;
    store.close().await.unwrap();
    assert_eq!(root(server).below("carl/").await, []);
}

/// The smaller rights that the README names, each for what it is enough for and no more.
#[tokio::test]
async fn a_part_of_the_rights_is_enough_for_a_part_of_the_calls() {
    let server = server().await;
    let root = root(server);
    let store =
        async |user: &str, top: &str| open(server.endpoint(), user, "secret", top).await.unwrap();

    make_user(server, "reader", "secret", &[]).await;
    grant(server, "reader", "read", "r/").await;
    root.put("r/d/a", b"1").await;
    let reader = store("reader", "r").await;
    assert_eq!(reader.get("d/a").await.unwrap().value, "1");
    assert!(reader.exists("d/a").await.unwrap());
    assert_eq!(reader.list("d").await.unwrap().len(), 1);
    let mut watch = Watcher::new(reader.watch_tree(Key::root()).unwrap(), PATIENCE);
    assert_eq!(watch.until_synced().await.1.len(), 1);
    assert_denied("put", &reader.put("d/a", "2").await.unwrap_err());
    assert_denied("delete_tree", &reader.delete_tree("d").await.unwrap_err());
    let lock = reader.new_lock("lock", LockOptions::default()).unwrap();
    assert_denied("lock", &lock.lock().await.unwrap_err());

    make_user(server, "writer", "secret", &[]).await;
    grant(server, "writer", "write", "w/").await;
    let writer = store("writer", "w").await;
    writer.put("d/a", "1").await.unwrap();
    writer.put("d/b", "1").await.unwrap();
    assert_denied("get", &writer.get("d/b").await.unwrap_err());
    assert_denied("create", &writer.atomic_put("d/c", "1", None).await.unwrap_err());
    writer.delete_tree("d").await.unwrap();
    assert_eq!(root.below("w/").await, []);

    make_user(server, "locker", "secret", &["l/lock/"]).await;
    let locker = store("locker", "l").await;
    let lock = locker.new_lock("lock", LockOptions::default()).unwrap();
    lock.lock().await.unwrap().unlock().await.unwrap();
    let with_value = locker.new_lock("lock", LockOptions::default().with_value("me")).unwrap();
    assert_denied("a value", &with_value.lock().await.unwrap_err());
    root.run(&["role", "grant-permission", "locker", "readwrite", "l/lock"]).await;
    with_value.lock().await.unwrap().unlock().await.unwrap();
    assert_eq!(root.below("l/").await, []);

    make_user(server, "raw", "secret", &["/raw:"]).await;
    let config = config(&[server.endpoint()]);
    let common = config.common.clone().with_credentials(Credentials::new("raw", "secret"));
    let config = config.with_common(common).with_prefix("/raw:");
    let raw = EtcdStore::open(config).await.unwrap();
    raw.put("d/a", "1").await.unwrap();
    assert_eq!(raw.list(Key::root()).await.unwrap().len(), 1);
    raw.delete_tree(Key::root()).await.unwrap();

    make_user(server, "all", "secret", &[""]).await;
    let all = store("all", "").await;
    all.put("all/a", "1").await.unwrap();
    assert!(!all.list(Key::root()).await.unwrap().is_empty());
    all.delete_tree("all").await.unwrap();
}

#[tokio::test]
async fn outside_of_its_rights_a_user_sees_and_changes_nothing() {
    let server = server().await;
    make_user(server, "dora", "secret", &["dora/"]).await;
    let root = root(server);
    for name in ["theirs/a", "theirs/d/b", "dora2/a", "dora2/d/b"] {
        root.put(name, b"kept").await;
    }
    let before = (root.below("theirs").await, root.below("dora2").await);
    for top in ["theirs", "dora2"] {
        let store = open(server.endpoint(), "dora", "secret", top).await.unwrap();
        assert_all_denied(top, &store).await;
    }
    // A transaction that is half inside happens not at all, and a tree that is wider is no one's.
    let config = configured(server.endpoint(), "dora", "secret", "dora");
    let common = config.common.clone().with_root(Key::root());
    let store = EtcdStore::open(config.with_common(common)).await.unwrap();
    store.put("dora/a", "1").await.unwrap();
    let half = Txn::new().put("dora/b", "1").unwrap().put("theirs/a", "1").unwrap();
    assert_denied("half", &store.txn(half).await.unwrap_err());
    let looks = Txn::new().require_exists("theirs/a").unwrap().put("dora/b", "1").unwrap();
    assert_denied("a look outside", &store.txn(looks).await.unwrap_err());
    assert_denied("all", &store.delete_tree(Key::root()).await.unwrap_err());
    assert_denied("all", &store.list(Key::root()).await.unwrap_err());
    // The prefix ends with a slash, so the directory's own key is outside of it.
    assert_denied("the key of the directory", &store.delete_tree("dora").await.unwrap_err());
    let inside = root.below("dora/").await;
    assert_eq!(inside.iter().map(|stored| &stored.name[..]).collect::<Vec<_>>(), [b"dora/a"]);
    assert_eq!((root.below("theirs").await, root.below("dora2").await), before);
}

/// The server looks at rights when a watch begins, and goes on telling one that runs. When the
/// stream is made anew it refuses, and that is the watch's end.
#[tokio::test]
async fn losing_the_right_to_read_is_never_a_deletion() {
    let server = server().await;
    make_user(server, "eve", "secret", &["eve/", "eve2/"]).await;
    let root = root(server);
    root.put("eve/a", b"1").await;
    root.put("eve2/a", b"1").await;
    let proxy = Proxy::start(server.endpoint()).await;
    let store = open(proxy.addr(), "eve", "secret", "eve").await.unwrap();
    let config = configured(proxy.addr(), "eve", "secret", "eve");
    let common = config.common.clone().with_root(Key::root());
    let wide = EtcdStore::open(config.with_common(common)).await.unwrap();
    let mut tree = Watcher::new(store.watch_tree(Key::root()).unwrap(), PATIENCE);
    let mut one = Watcher::new(store.watch("a").unwrap(), PATIENCE);
    // Two of one stream, of which only one loses its right.
    let mut lost = Watcher::new(wide.watch_tree("eve").unwrap(), PATIENCE);
    let mut kept = Watcher::new(wide.watch_tree("eve2").unwrap(), PATIENCE);
    for watch in [&mut tree, &mut one, &mut lost, &mut kept] {
        watch.until_synced().await;
    }
    root.run(&["role", "revoke-permission", "--prefix=true", "eve", "eve/"]).await;
    assert_denied("a call", &store.get("a").await.unwrap_err());
    root.put("eve/a", b"2").await;
    for watch in [&mut tree, &mut one, &mut lost] {
        assert_eq!(watch.put().await.value, "2", "the server still tells it");
    }

    proxy.reset();
    root.put("eve/a", b"3").await;
    root.delete("eve/a").await;
    for (what, watch) in [("tree", &mut tree), ("one", &mut one), ("lost", &mut lost)] {
        // It may have been told before the reset came; a deletion never is.
        let end = watch.item().await.expect("an item");
        assert_denied(what, &end.expect_err(what));
        assert!(watch.item().await.is_none(), "{what}: it goes on after its error");
    }
    root.put("eve2/a", b"2").await;
    kept.until(|state| state.values().any(|pair| pair.value == "2")).await;
    // What it may not read looks no different from what is not there.
    root.put("eve/a", b"4").await;
    assert_all_denied("revoked", &store).await;
}
