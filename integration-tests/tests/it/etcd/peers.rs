//! What libkv writes `etcdctl` reads, and the other way round.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use integration_tests::{Fixture, key, run};
use libkv_core::{
    ErrorKind, Event, Key, Lifetime, LifetimeKind, SessionState, Store, StoreExt, Txn, WriteOptions,
};

use super::Plain;
use super::etcdctl::Etcdctl;
use crate::harness::etcd;

/// Names that shells, URLs and JSON would each like to change.
const KEYS: &[&str] = &[
    "plain",
    "deep/er/still",
    "with a space/and  two",
    "100%/%2F/%s",
    "it's \"quoted\"",
    r"back\slash/\n",
    "ümläut/ß/é",
    "漢字/キー/열쇠",
    "①/ﬁ/\u{200d}x",
    "a+b&c=d?e#f;g,h",
    "$HOME/`id`/*/{x}/~",
    "-w/--prefix",
    "UPPER/lower",
];

/// Values of which each breaks another careless way of passing bytes on.
fn values() -> Vec<Bytes> {
    vec![
        Bytes::from_iter(0..=u8::MAX),
        Bytes::new(),
        Bytes::from_static(b"\0"),
        Bytes::from_static(b"\0\0 between \0"),
        Bytes::from_static(b"\xff\xfe\x80"),
        Bytes::from_static(b"a line\n"),
        Bytes::from_static(b"\r\n\t \n\n"),
        Bytes::from_static(b"{\"json\": \"\\u0000\"}"),
        Bytes::from(vec![0xa5; 70_000]),
    ]
}

fn pairs(shift: usize) -> BTreeMap<String, Bytes> {
    let values = values();
    let pair = |(at, key): (usize, &&str)| {
        ((*key).to_owned(), values[(at + shift) % values.len()].clone())
    };
    KEYS.iter().enumerate().map(pair).collect()
}

async fn etcdctl() -> Etcdctl<'static> {
    Etcdctl::of(etcd::shared().await.server())
}

fn name(f: &Fixture, key: &str) -> String {
    format!("{}/{key}", f.root())
}

#[test]
fn etcdctl_reads_the_keys_and_bytes_that_were_written_here() {
    run(Plain, "etcd::peers", |f| async move {
        let etcdctl = etcdctl().await;
        for shift in 0..values().len() {
            let expected = pairs(shift);
            for (key, value) in &expected {
                f.store.put(key, value.clone()).await.expect("a put");
            }
            let found = etcdctl.below(&name(&f, "")).await;
            let found: BTreeMap<_, _> =
                found.into_iter().map(|stored| (stored.name, stored.value)).collect();
            let expected: BTreeMap<_, _> = expected
                .into_iter()
                .map(|(key, value)| (name(&f, &key).into_bytes(), value.to_vec()))
                .collect();
            assert_eq!(found, expected);
        }
        for key in KEYS {
            f.store.delete(*key).await.expect("the key is there");
        }
        assert_eq!(etcdctl.below(&name(&f, "")).await, []);
    });
}

#[test]
fn the_keys_and_bytes_that_etcdctl_wrote_are_read_here() {
    run(Plain, "etcd::peers", |f| async move {
        let etcdctl = etcdctl().await;
        let mut watch = f.follow(f.store.watch_tree(Key::root()).expect("a directory"));
        watch.until_synced().await;
        for shift in [0, 5] {
            let expected = pairs(shift);
            let putting = expected.iter().map(|(key, value)| {
                let name = name(&f, key);
                async move { etcdctl.put(&name, value).await }
            });
            join_all(putting).await;
            let listed = f.store.list(Key::root()).await.expect("a listing");
            let listed: BTreeMap<_, _> =
                listed.into_iter().map(|pair| (pair.key.to_string(), pair.value)).collect();
            assert_eq!(listed, expected);
            for (key, value) in &expected {
                let pair = f.store.get(key).await.expect("the key is there");
                assert_eq!((&pair.value, pair.lifetime), (value, LifetimeKind::Permanent));
            }
            watch
                .until(|state| {
                    let told = state.iter().map(|(key, pair)| (key.to_string(), &pair.value));
                    told.eq(expected.iter().map(|(key, value)| (key.clone(), value)))
                })
                .await;
        }
        let deleting = KEYS.iter().map(|key| {
            let name = name(&f, key);
            async move { etcdctl.delete(&name).await }
        });
        join_all(deleting).await;
        watch.until(BTreeMap::is_empty).await;
        let error = f.store.get(KEYS[0]).await.expect_err("it was deleted");
        assert_eq!(error.kind(), ErrorKind::KeyNotFound);
    });
}

#[test]
fn the_last_index_is_the_servers_mod_revision() {
    run(Plain, "etcd::peers", |f| async move {
        let etcdctl = etcdctl().await;
        let a = name(&f, "a");
        let version = f.store.put("a", "1").await.expect("a put");
        let stored = etcdctl.get(&a).await.expect("the key is there");
        assert_eq!((stored.created, stored.changed), (version.last_index(), version.last_index()));
        let again = f.store.put("a", "1").await.expect("a put");
        let changed = etcdctl.get(&a).await.expect("the key is there");
        assert_eq!((changed.created, changed.changed), (stored.created, again.last_index()));

        let mut watch = f.follow(f.store.watch("a").expect("a key"));
        watch.until_synced().await;
        let theirs = etcdctl.put(&a, b"2").await;
        let pair = f.store.get("a").await.expect("the key is there");
        assert_eq!((pair.last_index(), pair.version.last_index()), (theirs, theirs));
        assert_eq!(watch.put().await.last_index(), theirs);
        let listed = f.store.list(Key::root()).await.expect("a listing");
        assert_eq!(listed[0].last_index(), theirs);
        let replaced = f.store.atomic_put("a", "3", Some(&pair)).await.expect("it is the version");
        assert_eq!(etcdctl.get(&a).await.expect("it is there").changed, replaced.last_index());
        watch.put().await;

        let txn = Txn::new().put("b", "1").and_then(|txn| txn.put("c", "1"));
        let outcome = f.store.txn(txn.expect("a transaction")).await.expect("no compare");
        for (key, version) in ["b", "c"].into_iter().zip(&outcome.versions) {
            let stored = etcdctl.get(&name(&f, key)).await.expect("the key is there");
            assert_eq!((stored.changed, version.last_index()), (outcome.index, outcome.index));
        }
        let gone = etcdctl.delete(&a).await;
        assert_eq!(watch.delete().await, (key("a"), gone));
    });
}

#[test]
fn a_lifetime_is_a_lease_for_both() {
    run(Plain, "etcd::peers", |f| async move {
        let etcdctl = etcdctl().await;
        let ttl = WriteOptions::default().with_ttl(Duration::from_secs(100));
        f.store.put_opts(&key("ttl"), "1".into(), ttl).await.expect("a put");
        let stored = etcdctl.get(&name(&f, "ttl")).await.expect("the key is there");
        let lease = format!("{:x}", stored.lease);
        let (granted, keys) = etcdctl.lease(&lease).await;
        // The server's unit is a second, and the grant comes before the put.
        assert!((100..=101).contains(&granted), "{granted}");
        assert_eq!(keys, [name(&f, "ttl").into_bytes()]);

        let ephemeral = || WriteOptions::from(Lifetime::Ephemeral);
        for key in [key("e1"), key("e2")] {
            f.store.put_opts(&key, "1".into(), ephemeral()).await.expect("a put");
        }
        let stored = etcdctl.get(&name(&f, "e1")).await.expect("the key is there");
        let session = format!("{:x}", stored.lease);
        let (_, mut keys) = etcdctl.lease(&session).await;
        keys.sort();
        assert_eq!(keys, [name(&f, "e1").into_bytes(), name(&f, "e2").into_bytes()]);
        assert!(etcdctl.has_lease(&session).await && etcdctl.has_lease(&lease).await);

        let theirs = etcdctl.grant(100).await;
        let bind = format!("--lease={theirs}");
        etcdctl.run(&["put", &bind, "--", &name(&f, "theirs"), "1"]).await;
        let pair = f.store.get("theirs").await.expect("the key is there");
        assert_eq!(pair.lifetime, LifetimeKind::Ttl);

        // Who ends the leases with etcdctl ends the keys and the session.
        let mut watch = f.follow(f.store.watch_tree(Key::root()).expect("a directory"));
        watch.until_synced().await;
        let mut state = f.store.state();
        for lease in [&lease, &session, &theirs] {
            etcdctl.run(&["lease", "revoke", lease]).await;
        }
        watch.until(BTreeMap::is_empty).await;
        // The next use finds that the session is gone, and puts with a new one.
        f.store.put_opts(&key("e1"), "2".into(), ephemeral()).await.expect("a put");
        assert!(f.soon("a new session", state.wait_for(SessionState::Connected)).await);
        assert!(matches!(watch.next().await, Event::Put(pair) if pair.value == "2"));
        let renewed = etcdctl.get(&name(&f, "e1")).await.expect("the key is there");
        assert_ne!(renewed.lease, stored.lease);
    });
}
