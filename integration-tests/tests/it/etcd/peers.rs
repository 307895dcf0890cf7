//! What libkv writes `etcdctl` reads, and the other way round.

use std::collections::BTreeMap;
use std::time::Duration;

use integration_tests::{key, run};
use libkv_core::{
    Event, Key, Lifetime, LifetimeKind, SessionState, Store, StoreExt, Txn, WriteOptions,
};

use super::Plain;
use super::etcdctl::Etcdctl;
use crate::harness::etcd;
use crate::servers::peers::{self, KEYS, name};

/// etcd has a name that Consul's program cannot say.
fn keys() -> Vec<&'static str> {
    [KEYS, &["①/ﬁ/\u{200d}x"]].concat()
}

async fn etcdctl() -> Etcdctl<'static> {
    Etcdctl::of(etcd::shared().await.server())
}

#[test]
fn etcdctl_reads_the_keys_and_bytes_that_were_written_here() {
    run(Plain, "etcd::peers", |f| async move {
        peers::what_is_written_here_is_read_there(&f, &etcdctl().await, &keys()).await;
    });
}

#[test]
fn the_keys_and_bytes_that_etcdctl_wrote_are_read_here() {
    run(Plain, "etcd::peers", |f| async move {
        peers::what_is_written_there_is_read_here(&f, &etcdctl().await, &keys()).await;
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
