//! Section 2 of the contract: keys, the root and parents.

use libkv_core::{
    ErrorKind, Event, Expect, Key, KvPair, LifetimeKind, LockOptions, MAX_KEY_BYTES, Result, Store,
    StoreExt, Txn, UpdateOptions, WatchOptions, WatchTarget, get_directory, normalize,
};

use super::lists::{names, put_all};
use super::writes::refused;
use crate::{Fixture, key};

/// A key is text in segments, and is stored, listed and printed as that text.
pub async fn a_key_is_text_in_segments(f: &Fixture) {
    let keys = [("a", &["a"][..]), ("a/b", &["a", "b"]), ("é/日本 x/%2F", &["é", "日本 x", "%2F"])];
    for (name, segments) in keys {
        let version = f.store.put(name, "1").await.expect("a put");
        let pair = f.other.get(name).await.expect("the key is there");
        assert_eq!((pair.key.to_string().as_str(), pair.version), (name, version));
        assert!(pair.key.segments().eq(segments.iter().copied()), "{:?}", pair.key);
    }
    let listed = f.other.list(Key::root()).await.expect("there are keys");
    assert_eq!(names(&listed), keys.map(|(name, _)| name));
}

/// Every spelling of the slashes is the same key.
pub async fn slashes_fold_to_one_key(f: &Fixture) {
    let spellings = ["/a//b/", "a/b/", "a/b", "//a/b", "a///b//"];
    for spelling in spellings {
        let version = f.store.put(spelling, spelling).await.expect("a put");
        for other in spellings {
            let pair = f.other.get(other).await.expect("the key is there");
            assert_eq!((pair.key, pair.version), (key("a/b"), version), "{spelling} as {other}");
        }
    }
    assert_eq!(names(&f.other.list("/a/").await.expect("there is a key")), ["a/b"]);
    refused(f.other.atomic_put("//a/b//", "2", None).await, ErrorKind::KeyExists, "a/b");
    f.store.delete("/a//b").await.expect("the key is there");
    refused(f.other.get("a/b").await, ErrorKind::KeyNotFound, "a/b");
}

/// Text that is no key is refused with the reason and the byte of the text as it was given.
pub async fn a_refusal_tells_the_reason_and_the_byte(_: &Fixture) {
    let full = "a".repeat(MAX_KEY_BYTES);
    let (long, slashed) = (format!("{full}a"), format!("//{full}a//"));
    let wide = format!("{}/bc", "é".repeat(MAX_KEY_BYTES / 2 - 1));
    for (text, reason, offset) in [
        (".", "\".\"", 0),
        ("/é/./b", "\".\"", 4),
        ("a//../b", "\"..\"", 3),
        ("a\0", "character", 1),
        ("é/\n", "character", 3),
        ("a/\u{7f}", "character", 2),
        ("a\u{85}", "character", 1),
        ("ab\u{e000}", "character", 2),
        ("ab\u{f8ff}", "character", 2),
        ("é\u{fff0}", "character", 2),
        ("a/\u{ffff}", "character", 2),
        ("\u{10000}", "character", 0),
        ("😀", "character", 0),
        ("a\u{10ffff}", "character", 1),
        ("zookeeper", "zookeeper", 0),
        ("//zookeeper/a", "zookeeper", 2),
        (" a", "white space", 0),
        ("a/ b", "white space", 2),
        ("a /b", "white space", 1),
        ("//\u{3000}a", "white space", 2),
        ("é\u{2003}/", "white space", 2),
        (&long, "512", 512),
        (&slashed, "512", 514),
        (&wide, "512", 512),
    ] {
        let error = Key::new(text).expect_err("the text is no key");
        assert_eq!(error.kind(), ErrorKind::InvalidKey, "{text:?}: {error}");
        let said = error.to_string();
        let at = format!("byte {offset} ");
        assert!(said.contains(reason) && said.contains(&at), "{text:?} at {offset}: {said}");
    }
}

/// Every call that takes text refuses what is no key, and nothing is changed.
pub async fn every_call_refuses_what_is_no_key(f: &Fixture) {
    put_all(f, &["a", "a/b"]).await;
    let before = f.other.list(Key::root()).await.expect("there are keys");
    let long = "a".repeat(MAX_KEY_BYTES + 1);
    for text in ["a/..", "./a", "a\n", "a\u{e000}", "zookeeper/a", "a/ b", "😀", &long] {
        let calls = [
            ("put", f.store.put(text, "2").await.map(drop)),
            ("get", f.store.get(text).await.map(drop)),
            ("exists", f.store.exists(text).await.map(drop)),
            ("delete", f.store.delete(text).await),
            ("delete_tree", f.store.delete_tree(text).await),
            ("list", f.store.list(text).await.map(drop)),
            ("watch", f.store.watch(text).map(drop)),
            ("watch_tree", f.store.watch_tree(text).map(drop)),
            ("watch_lists", f.store.watch_lists(text).map(drop)),
            ("on_change", f.store.on_change(text, |_| ()).await),
            ("new_lock", f.store.new_lock(text, LockOptions::default()).map(drop)),
            ("atomic_put", f.store.atomic_put(text, "2", None).await.map(drop)),
            ("update", f.store.update(text, UpdateOptions::default(), |_| "2").await.map(drop)),
            ("txn put", Txn::new().put(text, "2").map(drop)),
            ("txn delete", Txn::new().delete(text).map(drop)),
            ("txn absent", Txn::new().require_absent(text).map(drop)),
            ("normalize", normalize(text).map(drop)),
            ("get_directory", get_directory(text).map(drop)),
        ];
        for (call, ended) in calls {
            let error = ended.expect_err("the text is no key");
            assert_eq!(error.kind(), ErrorKind::InvalidKey, "{call} {text:?}: {error}");
            assert!(error.changed_nothing(), "{call} {text:?}: {error}");
        }
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there are keys"), before);
}

/// Keys at the edges of the alphabet and of the length are stored exactly, each as its own.
pub async fn keys_at_the_edges_are_stored_exactly(f: &Fixture) {
    let full = "a".repeat(MAX_KEY_BYTES);
    let accents = "é".repeat(MAX_KEY_BYTES / 2);
    let wide = format!("{}/z", "日".repeat(MAX_KEY_BYTES / 3));
    let deep = ["d"; MAX_KEY_BYTES / 2].join("/");
    let mut keys = vec![
        "\u{d7ff}",
        "\u{f900}",
        "\u{ffef}",
        "\u{a1}",
        "\u{feff}bom",
        "é",
        "e\u{301}",
        "key",
        "KEY",
        "!",
        "~",
        "a b",
        "...",
        ".a",
        "a.",
        "%2e%2e",
        "%",
        "+",
        "a+b",
        "?",
        "a?b=c",
        "#",
        "&",
        ":",
        "@",
        "\\",
        "\"",
        "'",
        "*",
        "[",
        "{}",
        "^",
        "$",
        "-",
        "_",
        "Zookeeper",
        "zookeeper2",
        "a/zookeeper",
        ".lock",
        "_c_lock-0",
        "0",
        &full,
        &accents,
        &wide,
        &deep,
    ];
    for name in &keys {
        f.store.put(*name, name.to_string()).await.expect("a put of a key at the edge");
    }
    keys.sort_unstable();
    let listed = f.other.list(Key::root()).await.expect("there are keys");
    assert_eq!(names(&listed), keys);
    for (name, listed) in keys.into_iter().zip(listed) {
        assert_eq!(listed.value, name.as_bytes(), "{name:?}");
        assert_eq!(f.other.get(name).await.expect("the key is there"), listed);
        f.store.delete(name).await.expect("the key is there");
        assert!(!f.other.exists(name).await.expect("a read"), "{name:?}");
    }
    assert_eq!(f.other.list(Key::root()).await.expect("a listing"), []);
}

/// Text, owned text and keys, borrowed or not, are the same to every call.
pub async fn strings_are_accepted_wherever_a_key_is(f: &Fixture) {
    let (text, parsed) = ("a/b".to_owned(), key("a/b"));
    f.store.put("a/b", "1").await.expect("text");
    f.store.put(text.clone(), "2").await.expect("owned text");
    f.store.put(&text, "3").await.expect("borrowed text");
    f.store.put(parsed.clone(), "4").await.expect("a key");
    let version = f.store.put(&parsed, "5").await.expect("a borrowed key");
    let pair = f.other.get(text.as_str()).await.expect("the key is there");
    assert_eq!((pair.version, &*pair.value), (version, &b"5"[..]));
    assert!(f.other.exists(&text).await.expect("a read"));
    assert_eq!(f.other.list("a").await.expect("a listing"), std::slice::from_ref(&pair));
    let pair = f.store.atomic_put(text.clone(), "6", &pair).await.expect("the pair is current");
    let txn = Txn::new()
        .require_version(&text, pair.version)
        .and_then(|txn| txn.require_absent("a/c".to_owned()))
        .and_then(|txn| txn.delete(&parsed))
        .expect("a transaction");
    f.store.txn(txn).await.expect("the compares hold");
    let lock = f.store.new_lock(&text, LockOptions::default()).expect("a lock");
    assert_eq!(lock.key(), &parsed);
    let mut watch = f.follow(f.store.watch_tree("a".to_owned()).expect("a directory"));
    watch.until_synced().await;
    f.other.put(&text, "7").await.expect("a put");
    assert_eq!(watch.put().await.key, parsed);
    f.other.delete_tree("/a".to_owned()).await.expect("a tree");
    assert_eq!(watch.delete().await.0, parsed);
}

/// The ancestor's path functions do what its comments promise.
pub async fn paths_are_as_the_ancestor_promised(_: &Fixture) {
    for (text, normal, directory) in [
        ("a/b", "/a/b", "/a/"),
        ("/a//b/", "/a/b", "/a/"),
        ("a", "/a", "/"),
        ("a/b/c", "/a/b/c", "/a/b/"),
    ] {
        assert_eq!(normalize(text).expect("a key"), normal);
        assert_eq!(get_directory(text).expect("a key"), directory);
        assert_eq!(normalize(normal).expect("a key"), normal);
    }
}

/// The root takes every call on a tree and exists, empty or not.
pub async fn the_root_takes_tree_calls_and_always_exists(f: &Fixture) {
    for root in ["", "/", "//"] {
        assert!(f.store.exists(root).await.expect("the root exists"));
        assert_eq!(f.store.list(root).await.expect("the root is there"), []);
        f.store.delete_tree(root).await.expect("an empty root");
    }
    let mut watch = f.follow(f.store.watch_tree("/").expect("the root is a directory"));
    let first = watch.next().await;
    assert!(matches!(first, Event::Synced { .. }), "{first:?}");
    put_all(f, &["a", "a/b/c", "b"]).await;
    watch.until(|state| state.len() == 3).await;
    assert_eq!(names(&f.other.list("/").await.expect("a listing")), ["a", "a/b/c", "b"]);
    f.other.delete_tree("/").await.expect("the root is a directory");
    watch.until(|state| state.is_empty()).await;
    assert!(f.store.exists(Key::root()).await.expect("the root exists"));
    assert_eq!(f.store.list(Key::root()).await.expect("the root is there"), []);
}

/// No call on one key takes the root: it holds no value, and nobody can lock it.
pub async fn the_root_holds_no_value_and_cannot_be_locked(f: &Fixture) {
    let version = f.store.put("a", "1").await.expect("a put");
    let before = f.other.list(Key::root()).await.expect("there is a key");
    let root = Key::root();
    let pair = KvPair::new(root.clone(), "1".into(), version, LifetimeKind::Permanent);
    let calls = [
        ("get", f.store.get("/").await.map(drop)),
        ("put", f.store.put("", "2").await.map(drop)),
        ("create", f.store.put_opts(&root, "2".into(), Expect::Absent.into()).await.map(drop)),
        ("delete", f.store.delete("//").await),
        ("atomic_put", f.store.atomic_put("/", "2", None).await.map(drop)),
        ("atomic_put over a pair", f.store.atomic_put("/", "2", &pair).await.map(drop)),
        ("atomic_delete", f.store.atomic_delete(&pair).await),
        ("update", f.store.update("/", UpdateOptions::default(), |_| "2").await.map(drop)),
        ("new_lock", f.store.new_lock("/", LockOptions::default()).map(drop)),
        ("txn put", Txn::new().put("/", "2").map(drop)),
        ("txn delete", Txn::new().delete("/").map(drop)),
        ("txn compare", Txn::new().require_absent("/").map(drop)),
        ("watch", first_of_a_watch(f, WatchTarget::Key(root)).await),
    ];
    for (call, ended) in calls {
        let error = ended.expect_err("the root is no key");
        assert_eq!(error.kind(), ErrorKind::InvalidKey, "{call}: {error}");
        assert_eq!(error.key(), Some(&Key::root()), "{call}: {error}");
        assert!(error.changed_nothing(), "{call}: {error}");
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there is a key"), before);
}

async fn first_of_a_watch(f: &Fixture, target: WatchTarget) -> Result<()> {
    let mut watch = f.follow(f.store.watch_opts(&target, WatchOptions::default()));
    watch.item().await.expect("something is told").map(drop)
}

/// A parent and its child hold values side by side, whichever came first, and neither moves the
/// version of the other.
pub async fn a_parent_and_its_child_may_both_hold_values(f: &Fixture) {
    for order in [["p", "p/c", "p/c/g"], ["q/c/g", "q/c", "q"]] {
        let mut written = Vec::new();
        for name in order {
            written.push((name, f.store.put(name, name).await.expect("a put")));
        }
        for (name, version) in &written {
            let pair = f.other.get(*name).await.expect("the key is there");
            assert_eq!((&*pair.value, pair.version), (name.as_bytes(), *version), "{name}");
        }
        let [(first, version), _, (last, _)] = written[..] else { panic!("three are written") };
        f.store.delete(last).await.expect("the key is there");
        let pair = f.other.get(first).await.expect("the key is there");
        assert_eq!((&*pair.value, pair.version), (first.as_bytes(), version));
    }
    let listed = f.other.list(Key::root()).await.expect("there are keys");
    assert_eq!(names(&listed), ["p", "p/c", "q/c", "q/c/g"]);
}

/// A parent that nobody put is absent to every call, while its child lives and after.
pub async fn a_parent_that_nobody_put_does_not_exist(f: &Fixture) {
    f.store.put("a/b/c", "1").await.expect("a put");
    for parent in ["a", "a/b"] {
        assert!(!f.other.exists(parent).await.expect("a read"), "{parent}");
        refused(f.other.get(parent).await, ErrorKind::KeyNotFound, parent);
        refused(f.other.delete(parent).await, ErrorKind::KeyNotFound, parent);
    }
    assert_eq!(names(&f.other.list(Key::root()).await.expect("a listing")), ["a/b/c"]);
    let txn = Txn::new().require_absent("a").and_then(|txn| txn.put("x", "1"));
    f.store.txn(txn.expect("a transaction")).await.expect("nobody put the parent");
    let created = f.store.atomic_put("a/b", "1", None).await.expect("nobody put the parent");
    f.store.atomic_delete(&created).await.expect("the parent is there now");

    f.store.delete("a/b/c").await.expect("the child is there");
    for parent in ["a", "a/b", "a/b/c"] {
        assert!(!f.other.exists(parent).await.expect("a read"), "{parent}");
        refused(f.other.list(parent).await, ErrorKind::KeyNotFound, parent);
    }
}
