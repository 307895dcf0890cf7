//! Users, passwords and rights.

use std::time::{Duration, Instant};

use integration_tests::{Watcher, key};
use libkv_core::{Credentials, Key, LockOptions, Result, Store, StoreExt, Txn};
use libkv_etcd::EtcdStore;
use tokio::sync::OnceCell;

use super::config;
use super::etcdctl::{Etcdctl, PATIENCE};
use crate::harness::etcd::{self, Options, Server};
use crate::harness::proxy::Proxy;
use crate::servers::rights::{
    CALLS, assert_all_denied, assert_denied, assert_ends_denied, everything_is_allowed,
};

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
    let waits = async || drop(root(server).wait_for(2, "carl/lock/").await);
    everything_is_allowed(&store, waits).await;
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
        assert_ends_denied(what, watch).await;
    }
    root.put("eve2/a", b"2").await;
    kept.until(|state| state.values().any(|pair| pair.value == "2")).await;
    // What it may not read looks no different from what is not there.
    root.put("eve/a", b"4").await;
    assert_all_denied("revoked", &store).await;
}
