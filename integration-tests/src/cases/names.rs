//! Section 2: what is called how in the store, and what its root hides.

use std::sync::Arc;

use libkv_core::{ErrorKind, Foreign, Key, ListOptions, MAX_KEY_BYTES, Store, StoreExt, Txn};

use super::lists::{names, put_all};
use super::writes::refused;
use crate::Fixture;

/// Removes what a case left below another root.
async fn tidy(store: Arc<dyn Store>) {
    store.delete_tree(Key::root()).await.expect("a root can be emptied");
    store.close().await.expect("a close");
}

/// Two roots of which one name begins with the other neither see nor touch each other.
pub async fn a_neighbour_root_sees_nothing_of_ours(f: &Fixture) {
    put_all(f, &["a", "d/a"]).await;
    let ours = f.other.list(Key::root()).await.expect("there are keys");
    let neighbour = f.beside("2").await;
    assert_eq!(neighbour.list(Key::root()).await.expect("the root is there"), []);
    assert!(!neighbour.exists("a").await.expect("a read"));
    refused(neighbour.list("d").await, ErrorKind::KeyNotFound, "d");
    let mut watch = f.follow(f.store.watch_tree(Key::root()).expect("a directory"));
    watch.until_synced().await;
    let mut beside = f.follow(neighbour.watch_tree(Key::root()).expect("a directory"));
    assert_eq!(beside.until_synced().await.1, []);

    neighbour.atomic_put("a", "theirs", None).await.expect("the key is ours alone");
    neighbour.put("d/a", "theirs").await.expect("a put");
    assert_eq!(names(&neighbour.list(Key::root()).await.expect("a listing")), ["a", "d/a"]);
    neighbour.delete("a").await.expect("the key is there");
    neighbour.delete_tree("d").await.expect("a tree");
    neighbour.put("last", "theirs").await.expect("a put");
    neighbour.delete_tree(Key::root()).await.expect("a tree");
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), ours);

    f.other.put("z", "1").await.expect("a put");
    assert_eq!(watch.put().await.key.as_str(), "z", "the neighbour's changes are not ours");
    neighbour.put("kept", "theirs").await.expect("a put");
    f.store.delete_tree(Key::root()).await.expect("a tree");
    assert_eq!(names(&neighbour.list(Key::root()).await.expect("a listing")), ["kept"]);
    beside.until(|state| state.len() == 1 && state.contains_key("kept")).await;
    neighbour.put("end", "theirs").await.expect("a put");
    assert_eq!(beside.put().await.key.as_str(), "end", "our changes are not the neighbour's");
    tidy(neighbour).await;
}

/// A name that is a key below one root and none below another is skipped there by listings and
/// watches, makes a listing fail that asks for that, and goes with its tree.
pub async fn a_name_that_is_no_key_below_the_root_is_foreign(f: &Fixture) {
    let sub = f.beside("/sub").await;
    let mut watch = f.follow(sub.watch_tree(Key::root()).expect("a directory"));
    watch.until_synced().await;
    let long = "x".repeat(MAX_KEY_BYTES);
    f.store.put("sub/zookeeper", "1").await.expect("a put");
    sub.put(&long, "1").await.expect("a put");
    f.store.put("sub/a", "1").await.expect("a put");

    let root = Key::root();
    for (store, dir, seen) in
        [(&sub, "/", vec!["a", &long]), (&f.store, "sub", vec!["sub/a", "sub/zookeeper"])]
    {
        assert_eq!(names(&store.list(dir).await.expect("a listing")), seen);
        let dir = Key::new(dir).expect("a key");
        let fails = ListOptions::default().with_foreign(Foreign::Fail);
        let error = store.list_opts(&dir, fails).collect_pairs().await.expect_err("a foreign name");
        assert_eq!(error.key(), Some(&dir), "{error}");
    }
    watch.until(|state| state.len() == 2).await;
    assert!(watch.state.contains_key(&*long) && watch.state.contains_key("a"));

    f.other.delete_tree("sub").await.expect("a tree");
    for store in [&sub, &f.store] {
        let fails = ListOptions::default().with_foreign(Foreign::Fail);
        assert_eq!(store.list_opts(&root, fails).collect_pairs().await.expect("the root"), []);
    }
    tidy(sub).await;
}

/// A root further down is a part of our tree under shorter names, and cannot leave it.
pub async fn a_root_further_down_is_a_part_of_the_tree(f: &Fixture) {
    put_all(f, &["sub", "sub/a", "sub2", "sub2/a", "sub-x", "a"]).await;
    let sub = f.beside("/sub").await;
    assert_eq!(names(&sub.list(Key::root()).await.expect("a listing")), ["a"]);
    assert_eq!(sub.get("a").await.expect("the key is there").value, "sub/a");
    let mut watch = f.follow(sub.watch_tree(Key::root()).expect("a directory"));
    watch.until_synced().await;

    let version = sub.put("b/c", "1").await.expect("a put");
    assert_eq!(f.other.get("sub/b/c").await.expect("the key is there").version, version);
    let txn = Txn::new().require_exists("b/c").and_then(|txn| txn.put("t", "1")?.delete("b/c"));
    sub.txn(txn.expect("a transaction")).await.expect("the compare holds");
    let listed = f.other.list("sub").await.expect("a listing");
    assert_eq!(names(&listed), ["sub/a", "sub/t"]);
    refused(sub.get("b/c").await, ErrorKind::KeyNotFound, "b/c");

    f.other.put("sub3/x", "1").await.expect("a put");
    f.other.put("sub", "changed").await.expect("a put");
    f.other.put("sub/e", "1").await.expect("a put");
    watch.until(|state| state.contains_key("e")).await;
    let known: Vec<_> = watch.state.keys().map(Key::as_str).collect();
    assert_eq!(known, ["a", "e", "t"], "the root itself and its neighbours are outside");

    sub.delete_tree(Key::root()).await.expect("a tree");
    let left = f.other.list(Key::root()).await.expect("a listing");
    assert_eq!(names(&left), ["a", "sub", "sub-x", "sub2", "sub2/a", "sub3/x"]);
    assert_eq!(sub.list(Key::root()).await.expect("the root is there"), []);
    tidy(sub).await;
}
