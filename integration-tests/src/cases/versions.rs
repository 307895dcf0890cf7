//! Section 3: versions.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use bytes::Bytes;
use libkv_core::{
    BackendName, ErrorKind, Expect, Key, KvPair, LifetimeKind, Store, StoreExt, Txn, UpdateOptions,
    Version,
};

use super::races::race;
use super::writes::refused;
use crate::{Fixture, key};

/// Does not compile, by ambiguity, once a version has an order.
trait HasNoOrder<Witness> {
    fn checked() {}
}

struct Ordered;

impl<T> HasNoOrder<()> for T {}

impl<T: PartialOrd> HasNoOrder<Ordered> for T {}

/// A version can be copied, compared for equality and hashed, and has no order.
pub async fn a_version_is_opaque(f: &Fixture) {
    fn is_plain<T: Copy + Eq + Hash>(_: T) {}
    <Version as HasNoOrder<_>>::checked();
    let first = f.store.put("a", "1").await.expect("a put");
    let second = f.store.put("a", "2").await.expect("a put");
    is_plain(first);
    let known: HashSet<Version> = [first, second, first].into();
    assert_eq!(known.len(), 2, "{first} and {second}");
    assert!(known.contains(&f.other.get("a").await.expect("the key is there").version));
}

/// Zero is a version like any other: it stands neither for an absent key nor for any state.
pub async fn zero_is_no_special_version(f: &Fixture) {
    let zero = Expect::Version(Version::new(f.store.backend(), 0));
    let here = f.store.put("here", "1").await.expect("a put");
    let here_again = f.store.put_opts(&key("here"), "2".into(), zero.into()).await;
    refused(here_again, ErrorKind::KeyModified, "here");
    refused(f.store.delete_opts(&key("here"), zero.into()).await, ErrorKind::KeyModified, "here");
    let gone = f.store.put_opts(&key("gone"), "2".into(), zero.into()).await;
    refused(gone, ErrorKind::KeyNotFound, "gone");
    assert_eq!(f.other.get("here").await.expect("the key is there").version, here);
    assert!(!f.other.exists("gone").await.expect("a read"));
}

/// A version prints with its backend, and what is parsed from its text is the same version.
pub async fn a_version_survives_its_text(f: &Fixture) {
    let version = f.store.put("a", "1").await.expect("a put");
    let text = version.to_string();
    assert!(text.starts_with(&format!("{}:", f.store.backend())), "{text}");
    let parsed: Version = text.parse().expect("the text of a version");
    assert_eq!(parsed, version);
    assert_eq!(parsed.last_index(), version.last_index());
    let next = f.other.put_opts(&key("a"), "2".into(), Expect::Version(parsed).into()).await;
    let next = next.expect("the parsed version is current");
    let parsed = next.to_string().parse().expect("the text of a version");
    f.other.delete_opts(&key("a"), Expect::Version(parsed).into()).await.expect("it is current");
    for text in ["", "1", ":1", "UPPER:1", &format!("{text} "), &format!("{text}x")] {
        let error = text.parse::<Version>().expect_err("no version prints like this");
        assert_eq!(error.kind(), ErrorKind::InvalidVersion, "{text:?}: {error}");
    }
}

/// A version of another backend is refused wherever one is taken, even with the right numbers.
pub async fn a_version_of_another_backend_is_refused(f: &Fixture) {
    let own = f.store.put("a", "1").await.expect("a put");
    let elsewhere = BackendName::new("elsewhr");
    let foreign = Version::with_extra(elsewhere, own.last_index(), own.extra());
    let foreign: Version = foreign.to_string().parse().expect("the text of a version");
    let before = f.other.list(Key::root()).await.expect("there is a key");
    for name in ["a", "b"] {
        let expect = Expect::Version(foreign);
        let pair = KvPair::new(key(name), Bytes::new(), foreign, LifetimeKind::Permanent);
        let txn = Txn::new().require_version(name, foreign).and_then(|txn| txn.put("c", "2"));
        let txn = f.store.txn(txn.expect("a transaction")).await;
        refused(txn, ErrorKind::InvalidVersion, name);
        let put = f.store.put_opts(&key(name), "2".into(), expect.into()).await;
        refused(put, ErrorKind::InvalidVersion, name);
        let delete = f.store.delete_opts(&key(name), expect.into()).await;
        refused(delete, ErrorKind::InvalidVersion, name);
        let put = f.store.atomic_put(name, "2", &pair).await;
        refused(put, ErrorKind::InvalidVersion, name);
        refused(f.store.atomic_delete(&pair).await, ErrorKind::InvalidVersion, name);
    }
    assert_eq!(f.other.list(Key::root()).await.expect("there is a key"), before);
}

/// The index grows with every write of the whole store, and a pair keeps the one it was written at.
pub async fn the_last_index_grows_with_every_write(f: &Fixture) {
    let mut last = 0;
    let mut written = Vec::new();
    for name in ["b", "a", "d/c", "a", "b"] {
        let version = f.store.put(name, "1").await.expect("a put");
        assert!(version.last_index() > last, "{name} is at {version}, after {last}");
        last = version.last_index();
        written.push((name, version));
    }
    let txn = Txn::new().put("e", "1").and_then(|txn| txn.put("f", "1"));
    let outcome = f.other.txn(txn.expect("two keys")).await.expect("nothing is compared");
    for version in &outcome.versions {
        assert!(last < version.last_index(), "{version} after {last}");
        assert!(version.last_index() <= outcome.index, "{version} in {outcome:?}");
    }
    for (name, version) in written.into_iter().skip(2) {
        let pair = f.other.get(name).await.expect("the key is there");
        assert_eq!((pair.version, pair.last_index()), (version, version.last_index()), "{name}");
    }
}

/// Every form of write changes the version, also where the value is the same.
pub async fn every_write_changes_the_version(f: &Fixture) {
    let mut seen = HashSet::new();
    let mut is_new = |version: Version| assert!(seen.insert(version), "{version} came twice");
    is_new(f.store.put("a", "same").await.expect("a put"));
    for _ in 0..3 {
        let stale = f.other.get("a").await.expect("the key is there");
        is_new(f.store.put("a", "same").await.expect("a put"));
        let late = f.other.atomic_put("a", "same", &stale).await;
        refused(late, ErrorKind::KeyModified, "a");

        let stale = f.other.get("a").await.expect("the key is there");
        is_new(f.store.atomic_put("a", "same", &stale).await.expect("it is current").version);
        refused(f.other.atomic_delete(&stale).await, ErrorKind::KeyModified, "a");

        let stale = f.other.get("a").await.expect("the key is there");
        let txn = Txn::new().put("a", "same").expect("a key");
        is_new(f.store.txn(txn).await.expect("nothing is compared").versions[0]);
        let late = f.other.atomic_put("a", "same", &stale).await;
        refused(late, ErrorKind::KeyModified, "a");

        let same = f.store.update("a", UpdateOptions::default(), |_| "same").await;
        is_new(same.expect("an update").expect("the key is there").version);
    }
    let pair = f.other.get("a").await.expect("the key is there");
    assert!(!seen.insert(pair.version), "the last version is that of the last write");
}

/// A version from before a delete matches nothing afterwards, however alike the key looks.
pub async fn a_version_never_comes_back(f: &Fixture) {
    let mut old = Vec::new();
    for round in 0..4 {
        for _ in 0..2 {
            f.store.put("a", "same").await.expect("a put");
            old.push(f.store.get("a").await.expect("the key is there"));
        }
        match round {
            0 => f.store.delete("a").await.expect("the key is there"),
            1 => f.other.delete_tree("a").await.expect("a tree"),
            2 => {
                let txn = Txn::new().delete("a").expect("a key");
                f.store.txn(txn).await.map(drop).expect("nothing is compared");
            }
            _ => break,
        }
    }
    let current = old.pop().expect("several were put");
    for stale in &old {
        refused(f.store.atomic_put("a", "new", stale).await, ErrorKind::KeyModified, "a");
        refused(f.store.atomic_delete(stale).await, ErrorKind::KeyModified, "a");
        let txn = Txn::new().require_version("a", stale.version).and_then(|txn| txn.delete("a"));
        let txn = f.store.txn(txn.expect("a transaction")).await;
        refused(txn, ErrorKind::KeyModified, "a");
    }
    assert_eq!(f.other.get("a").await.expect("the key is there"), current);
    f.store.atomic_delete(&current).await.expect("this one is current");
    for stale in &old {
        refused(f.store.atomic_put("a", "new", stale).await, ErrorKind::KeyNotFound, "a");
    }
}

/// A write gives the version of itself: with it everybody finds the value that was written.
pub async fn a_write_returns_its_own_version(f: &Fixture) {
    const WRITERS: usize = 6;
    const ROUNDS: usize = 8;
    f.store.put("a", "first").await.expect("a put");
    let first = f.store.get("a").await.expect("the key is there");
    let reading = f.other.clone();
    let reader = tokio::spawn(async move {
        let mut seen = HashMap::new();
        loop {
            let pair = reading.get("a").await.expect("the key is there");
            let is_last = pair.value == "last";
            seen.insert(pair.version, pair.value);
            if is_last {
                return seen;
            }
        }
    });
    let written = race(f, WRITERS, |store, writer| async move {
        let mut written = Vec::new();
        for round in 0..ROUNDS {
            let value = Bytes::from(format!("{writer}.{round}"));
            let version = match round % 2 {
                0 => store.put("a", value.clone()).await.expect("a put"),
                _ => {
                    let txn = Txn::new().put("a", value.clone()).expect("a key");
                    store.txn(txn).await.expect("nothing is compared").versions[0]
                }
            };
            written.push((version, value));
        }
        written
    });
    let written: Vec<_> = written.await.into_iter().flatten().collect();
    let newest = f.other.get("a").await.expect("the key is there");
    let last = f.store.put("a", "last").await.expect("a put");
    let mut known: HashMap<_, _> = written.into_iter().collect();
    assert_eq!(known.len(), WRITERS * ROUNDS, "each write has a version of its own");
    assert_eq!(known.get(&newest.version), Some(&newest.value));
    known.extend([(first.version, first.value), (last, "last".into())]);
    for (version, value) in f.soon("the last write is read", reader).await.expect("the reads end") {
        assert_eq!(known.get(&version), Some(&value), "what was read at {version}");
    }
}
