//! What somebody may do, and what is said where not.

use std::error::Error as _;
use std::time::Duration;

use integration_tests::{Watcher, key};
use libkv_core::{
    DeleteOptions, Error, ErrorKind, Key, Lifetime, LockOptions, Store, StoreExt, Txn,
    UpdateOptions, WatchTarget, WriteOptions,
};

use super::PATIENCE;

/// How many calls [`assert_all_denied`] makes.
pub(crate) const CALLS: u64 = 17;

pub(crate) fn assert_denied(what: &str, error: &Error) {
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}");
    assert!(!error.is_transient() && error.changed_nothing(), "{what}: {error}");
    if let Some(source) = error.source().map(ToString::to_string) {
        assert!(
            !error.to_string().contains(&source),
            "{what}: the text repeats its cause: {error}"
        );
    }
}

/// Every call is denied, and a watch ends with that as its only item.
pub(crate) async fn assert_all_denied(what: &str, store: &dyn Store) {
    assert_denied(what, &store.get("a").await.expect_err(what));
    assert_denied(what, &store.exists("a").await.expect_err(what));
    assert_writes_denied(what, store).await;
    assert_denied(what, &store.list("d").await.expect_err(what));
    assert_denied(what, &store.list(Key::root()).await.expect_err(what));
    for target in [WatchTarget::Key(key("a")), WatchTarget::Tree(Key::root())] {
        let mut watch = Watcher::new(store.watch_opts(&target, Default::default()), PATIENCE);
        assert_ends_denied(what, &mut watch).await;
    }
}

/// Every call that changes something is denied.
pub(crate) async fn assert_writes_denied(what: &str, store: &dyn Store) {
    assert_denied(what, &store.put("a", "1").await.expect_err(what));
    assert_denied(what, &store.atomic_put("new", "1", None).await.expect_err(what));
    assert_denied(what, &store.delete("a").await.expect_err(what));
    assert_denied(what, &store.delete_tree("d").await.expect_err(what));
    assert_denied(what, &store.delete_tree(Key::root()).await.expect_err(what));
    let txn = Txn::new().require_exists("a").and_then(|txn| txn.put("a", "1")?.delete("d/b"));
    assert_denied(what, &store.txn(txn.unwrap()).await.expect_err(what));
    let updated = store.update("a", UpdateOptions::default(), |_| "1").await;
    assert_denied(what, &updated.expect_err(what));
    assert_owning_denied(what, store).await;
}

/// Every call that needs a lease or a session is denied.
pub(crate) async fn assert_owning_denied(what: &str, store: &dyn Store) {
    for lifetime in [Lifetime::Ephemeral, Lifetime::Ttl(Duration::from_secs(60))] {
        let put = store.put_opts(&key("a"), "1".into(), WriteOptions::from(lifetime)).await;
        assert_denied(what, &put.expect_err(what));
    }
    let lock = store.new_lock("a", LockOptions::default().with_value("1")).unwrap();
    assert_denied(what, &lock.lock().await.expect_err(what));
    assert_denied(what, &lock.try_lock().await.expect_err(what));
}

/// The next item of a watch is its end, because it is denied.
pub(crate) async fn assert_ends_denied(what: &str, watch: &mut Watcher) {
    let end = watch.item().await.expect("an item");
    assert_denied(what, &end.expect_err(what));
    assert!(watch.item().await.is_none(), "{what}: it goes on after its error");
}

/// All that can be done with a store. `waits` resolves when somebody waits for the lock.
pub(crate) async fn everything_is_allowed(store: &dyn Store, waits: impl AsyncFn()) {
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
    let guard = store.new_lock("lock", options).unwrap().lock().await.unwrap();
    let fenced = WriteOptions::default().with_fence(guard.fence());
    store.put_opts(&key("d/d"), "1".into(), fenced).await.unwrap();
    let lock = store.new_lock("lock", LockOptions::default()).unwrap();
    let second = tokio::spawn(async move { lock.lock().await });
    waits().await;
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
}
