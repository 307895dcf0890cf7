//! Section 4: get, exists and consistency.

use std::time::{Duration, Instant};

use libkv_core::{
    Consistency, ErrorKind, GetOptions, Key, LifetimeKind, ListOptions, Store, StoreExt,
};

use super::lists::{names, put_all};
use super::writes::refused;
use crate::{Fixture, key};

/// A get gives key, value, version and lifetime of the key itself, and of no other.
pub async fn a_get_gives_the_pair(f: &Fixture) {
    put_all(f, &["apple", "app0", "app-x", "app/x", "ap"]).await;
    for name in ["app", "app/", "appl", "app/x/y", "a"] {
        refused(f.store.get(name).await, ErrorKind::KeyNotFound, name);
    }
    let first = f.store.put("app", "1").await.expect("a put");
    let second = f.store.put("app", "2").await.expect("a put");
    for store in [&f.store, &f.other] {
        let pair = store.get("app").await.expect("the key is there");
        assert_eq!((pair.key.as_str(), &*pair.value), ("app", &b"2"[..]));
        assert_eq!((pair.version, pair.lifetime), (second, LifetimeKind::Permanent));
    }
    assert_ne!(first, second);
    f.other.delete("app").await.expect("the key is there");
    refused(f.store.get("app").await, ErrorKind::KeyNotFound, "app");
}

/// An empty value is a value: the key is there, is listed, and can be compared and deleted.
pub async fn an_empty_value_is_a_value(f: &Fixture) {
    let version = f.store.put("d/a", "").await.expect("a put");
    let pair = f.other.get("d/a").await.expect("the key is there");
    assert_eq!((pair.value.len(), pair.version), (0, version));
    assert!(f.other.exists("d/a").await.expect("a read"));
    assert_eq!(f.other.list("d").await.expect("there is a key"), std::slice::from_ref(&pair));
    refused(f.other.atomic_put("d/a", "", None).await, ErrorKind::KeyExists, "d/a");
    let full = f.other.atomic_put("d/a", "1", &pair).await.expect("it is current");
    let empty = f.other.atomic_put("d/a", "", &full).await.expect("it is current");
    assert_eq!(f.store.get("d/a").await.expect("the key is there"), empty);
    f.store.atomic_delete(&empty).await.expect("it is current");
    refused(f.other.get("d/a").await, ErrorKind::KeyNotFound, "d/a");
    assert!(!f.other.exists("d/a").await.expect("a read"));
    refused(f.other.list("d").await, ErrorKind::KeyNotFound, "d");
}

/// `exists` is true for what is there and false for what is not, and trouble is neither.
pub async fn exists_is_true_false_or_an_error(f: &Fixture) {
    put_all(f, &["a", "d/a", "apple"]).await;
    for (name, there) in [
        ("a", true),
        ("/d//a/", true),
        ("d", false),
        ("app", false),
        ("a/b", false),
        ("d/a/b", false),
        ("x", false),
    ] {
        assert_eq!(f.other.exists(name).await.expect("a read"), there, "{name}");
    }
    let closed = f.another().await;
    closed.close().await.expect("a close");
    for name in ["a", "x"] {
        let error = closed.exists(name).await.expect_err("the handle is closed");
        assert_eq!(error.kind(), ErrorKind::Closed, "{name}: {error}");
    }
}

/// A get of the key alone gives its version and lifetime without the value.
pub async fn a_get_can_leave_the_value_out(f: &Fixture) {
    f.store.put("a", "value").await.expect("a put");
    let whole = f.other.get("a").await.expect("the key is there");
    let opts = GetOptions::default().with_keys_only();
    let pair = f.other.get_opts(&key("a"), opts.clone()).await.expect("the key is there");
    assert_eq!((pair.value.len(), pair.version), (0, whole.version));
    assert_eq!((pair.key, pair.lifetime), (whole.key, whole.lifetime));
    refused(f.other.get_opts(&key("b"), opts).await, ErrorKind::KeyNotFound, "b");
}

/// Every read that begins after the `Ok` of a write sees it, over the other connection too.
pub async fn a_read_sees_every_acknowledged_write(f: &Fixture) {
    for round in 0..40 {
        let (writer, reader) = match round % 2 {
            0 => (&f.store, &f.other),
            _ => (&f.other, &f.store),
        };
        let value = round.to_string();
        let version = writer.put("d/a", value.clone()).await.expect("a put");
        let pair = match round % 3 {
            0 => reader.get("d/a").await.expect("the put is seen"),
            1 => reader.list("d").await.expect("the put is seen").remove(0),
            _ => {
                assert!(reader.exists("d/a").await.expect("a read"), "the put is seen");
                reader.get("d/a").await.expect("the put is seen")
            }
        };
        assert_eq!((pair.version, &*pair.value), (version, value.as_bytes()));
        if round % 4 == 3 {
            writer.delete("d/a").await.expect("the key is there");
            assert!(!reader.exists("d/a").await.expect("a read"), "the delete is seen");
            refused(reader.list("d").await, ErrorKind::KeyNotFound, "d");
        }
    }
}

/// A local read may be behind, shows only what was once there, and catches up.
pub async fn a_local_read_catches_up(f: &Fixture) {
    f.store.put("d/a", "1").await.expect("a put");
    let last = f.store.put("d/a", "2").await.expect("a put");
    let get = GetOptions::default().with_consistency(Consistency::Local);
    let list = ListOptions::default().with_consistency(Consistency::Local);
    let end = Instant::now() + f.patience();
    loop {
        let got = f.other.get_opts(&key("d/a"), get.clone()).await;
        let listed = f.other.list_opts(&key("d"), list.clone()).collect_pairs().await;
        let mut caught_up = true;
        for read in [got, listed.map(|mut pairs| pairs.remove(0))] {
            match read {
                Ok(pair) if pair.version == last => assert_eq!(pair.value, "2"),
                Ok(pair) => {
                    assert_eq!(pair.value, "1", "{pair:?}");
                    caught_up = false;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
                    caught_up = false;
                }
            }
        }
        if caught_up {
            break;
        }
        assert!(Instant::now() < end, "a local read stays behind");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(names(&f.other.list(Key::root()).await.expect("a listing")), ["d/a"]);
}
