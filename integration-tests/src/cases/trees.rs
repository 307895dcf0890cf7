//! Section 4: delete_tree, and trees by segment.

use libkv_core::{
    DeleteTreeOptions, ErrorKind, Key, LockOptions, Store, StoreExt, Txn, WriteOptions,
};

use super::lists::{names, put_all};
use super::writes::refused;
use crate::{Fixture, key};

/// The names that begin like `app` and are not in its tree.
const NAMESAKES: [&str; 9] =
    ["ap", "app!", "app-x", "app-x/a", "app.x", "app0", "appl", "apple", "apple/a/b"];

/// The directory goes, with or without a value of its own, and everything below it.
pub async fn delete_tree_removes_the_directory_and_all_below(f: &Fixture) {
    put_all(f, &["d", "d/a", "d/a/b/c/e", "d/z", "p/a/b", "x/y/z", "x/y2"]).await;
    f.store.delete_tree("d").await.expect("a tree");
    f.store.delete_tree("p").await.expect("a tree under a name that nobody put");
    for name in ["d", "d/a", "d/a/b/c/e", "p/a/b"] {
        refused(f.other.get(name).await, ErrorKind::KeyNotFound, name);
    }
    refused(f.other.list("d").await, ErrorKind::KeyNotFound, "d");
    assert_eq!(names(&f.other.list(Key::root()).await.expect("a listing")), ["x/y/z", "x/y2"]);
    f.store.delete_tree("x/y").await.expect("a tree");
    assert_eq!(names(&f.other.list(Key::root()).await.expect("a listing")), ["x/y2"]);
    f.store.delete_tree("x/y2").await.expect("a leaf is a tree");
    assert_eq!(f.other.list(Key::root()).await.expect("the root is there"), []);
    f.other.atomic_put("d/a", "1", None).await.expect("what was deleted can be made again");
}

/// Nothing that is done to `app` touches, gives or reports what only begins like it.
pub async fn what_is_done_to_a_tree_stays_in_it(f: &Fixture) {
    put_all(f, &NAMESAKES).await;
    let before = f.other.list(Key::root()).await.expect("there are keys");
    let mut namesakes = NAMESAKES.map(|name| f.follow(f.other.watch(name).expect("a key")));
    let mut apple = f.follow(f.other.watch_tree("apple").expect("a directory"));
    let mut app = f.follow(f.other.watch_tree("app").expect("a directory"));
    for watch in &mut namesakes {
        assert_eq!(watch.until_synced().await.1.len(), 1);
    }
    assert_eq!(apple.until_synced().await.1.len(), 1);
    assert_eq!(app.until_synced().await.1, []);
    refused(f.store.list("app").await, ErrorKind::KeyNotFound, "app");
    f.store.delete_tree("app").await.expect("there is no such tree");
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);

    put_all(f, &["app", "app/a", "app/a/b"]).await;
    assert_eq!(names(&f.other.list("app").await.expect("a listing")), ["app/a", "app/a/b"]);
    app.until(|state| state.len() == 2).await;
    assert!(app.state.keys().eq(&[key("app/a"), key("app/a/b")]), "{:?}", app.state);
    f.store.delete("app").await.expect("the key is there");
    f.store.delete_tree("app").await.expect("a tree");
    app.until(|state| state.is_empty()).await;
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);

    for (watch, name) in namesakes.iter_mut().zip(NAMESAKES) {
        let version = f.store.put(name, "end").await.expect("a put");
        assert_eq!(watch.put().await.version, version, "{name} was reported before");
    }
    assert_eq!(apple.put().await.key, key("apple/a/b"));
    let version = f.store.put("app/end", "end").await.expect("a put");
    assert_eq!(app.put().await.version, version, "a namesake was reported");
}

/// Deleting a tree where nothing is, or again, is fine and touches nothing.
pub async fn deleting_a_tree_of_nothing_is_fine(f: &Fixture) {
    f.store.delete_tree(Key::root()).await.expect("an empty root");
    put_all(f, &["a", "d/a"]).await;
    let before = f.other.list(Key::root()).await.expect("there are keys");
    for dir in ["x", "x/y/z", "d/b", "a/b", "d/a/b"] {
        f.store.delete_tree(dir).await.expect("nothing is there");
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
    for store in [&f.store, &f.store, &f.other] {
        store.delete_tree("d").await.expect("repeating is harmless");
        assert_eq!(f.other.list(Key::root()).await.expect("there is a key"), before[..1]);
    }
}

/// Locks in the tree go with it: their holders lose them, and others can take them.
pub async fn delete_tree_takes_the_locks_away(f: &Fixture) {
    let options = LockOptions::default;
    let valued = options().with_value("held");
    let (on_dir, inside, valued) = (
        f.store.new_lock("d", options()).expect("a lock"),
        f.store.new_lock("d/a/lock", options()).expect("a lock"),
        f.store.new_lock("d/b", valued).expect("a lock"),
    );
    let beside = f.store.new_lock("d-x", options()).expect("a lock");
    let kept = beside.lock().await.expect("the lock is free");
    let mut guards = Vec::new();
    for lock in [&on_dir, &inside, &valued] {
        guards.push(lock.lock().await.expect("the lock is free"));
    }
    assert_eq!(names(&f.other.list(Key::root()).await.expect("a listing")), ["d/b"]);
    f.other.delete_tree("d").await.expect("a tree");
    for guard in guards {
        let name = guard.key().clone();
        let reason = f.soon("the holder is told", guard.lost()).await;
        assert_eq!((reason.kind(), reason.key()), (ErrorKind::LockLost, Some(&name)), "{reason}");
        assert!(!guard.is_held(), "{name}");
        let fenced = WriteOptions::default().with_fence(guard.fence());
        let put = f.store.put_opts(&key("fenced"), "1".into(), fenced).await;
        assert_eq!(put.expect_err("the lock is lost").kind(), ErrorKind::LockLost, "{name}");
        let taken = f.other.new_lock(&name, options()).expect("a lock");
        let taken = taken.try_lock().await.expect("the lock is free");
        let unlocked = guard.unlock().await.expect_err("the lock is lost");
        assert_eq!(unlocked.kind(), ErrorKind::LockLost, "{unlocked}");
        taken.unlock().await.expect("the late release did not free it");
    }
    assert_eq!(f.other.list(Key::root()).await.expect("the root is there"), []);
    kept.unlock().await.expect("the lock beside the tree is held");
}

/// Where the capability says so, nobody ever sees a part of a tree that is being deleted.
pub async fn delete_tree_is_atomic_where_it_says_so(f: &Fixture) {
    const ROUNDS: usize = 25;
    let keys: Vec<_> = (0..20).map(|number| format!("d/{}/{number}", number % 3)).collect();
    let facts = f.store.capabilities();
    let whole = facts.atomic_delete_tree && facts.atomic_list && facts.max_txn_ops >= keys.len();
    let (listing, count) = (f.other.clone(), keys.len());
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let lister = tokio::spawn(async move {
        while stopped.try_recv().is_err() {
            match listing.list("d").await {
                Ok(pairs) => assert!(pairs.len() == count || !whole, "{:?}", names(&pairs)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}"),
            }
        }
    });
    for _ in 0..ROUNDS {
        for batch in keys.chunks(facts.max_txn_ops) {
            let puts = batch.iter().try_fold(Txn::new(), |txn, name| txn.put(name, "1"));
            f.store.txn(puts.expect("keys")).await.expect("nothing is compared");
        }
        f.store.delete_tree("d").await.expect("a tree");
        refused(f.store.list("d").await, ErrorKind::KeyNotFound, "d");
    }
    stop.send(()).ok();
    f.soon("the lister stops", lister).await.expect("no part of the tree was seen");
}

/// A fence on a tree is honoured where deleting it is atomic, and refused where it is not.
pub async fn delete_tree_takes_a_fence_where_it_is_atomic(f: &Fixture) {
    put_all(f, &["d", "d/a", "e", "e/a", "f"]).await;
    let before = f.other.list(Key::root()).await.expect("there are keys");
    let lock = f.store.new_lock("lock", LockOptions::default()).expect("a lock");
    let guard = lock.lock().await.expect("the lock is free");
    let opts = DeleteTreeOptions::default().with_fence(guard.fence());
    let deleted = f.store.delete_tree_opts(&key("d"), opts.clone()).await;
    if !f.store.capabilities().atomic_delete_tree {
        refused(deleted, ErrorKind::NotImplemented, "d");
        assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
        return guard.unlock().await.expect("the lock is held");
    }
    deleted.expect("the lock is held");
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before[2..]);
    guard.unlock().await.expect("the lock is held");
    for dir in ["e", "x"] {
        let deleted = f.store.delete_tree_opts(&key(dir), opts.clone()).await;
        let error = deleted.expect_err("the guard is gone");
        assert_eq!(error.kind(), ErrorKind::LockLost, "{error}");
        assert!(error.changed_nothing(), "{error}");
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before[2..]);
}
