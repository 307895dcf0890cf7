//! What libkv writes `consul kv` reads, and the other way round.

use std::time::Duration;

use integration_tests::{Fixture, key, run};
use libkv_core::{
    Expect, Key, KvPair, Lifetime, LifetimeKind, ListOptions, SessionState, Store, StoreExt, Txn,
    UpdateOptions, Version, WriteOptions,
};

use super::Plain;
use super::cli::{Cli, Stored};
use crate::harness::consul;
use crate::servers::peers::{self, KEYS, name};

async fn cli() -> Cli<'static> {
    Cli::of(consul::shared().await.server())
}

#[test]
fn consul_reads_the_keys_and_bytes_that_were_written_here() {
    run(Plain, "consul::peers", |f| async move {
        peers::what_is_written_here_is_read_there(&f, &cli().await, KEYS).await;
    });
}

#[test]
fn the_keys_and_bytes_that_consul_wrote_are_read_here() {
    run(Plain, "consul::peers", |f| async move {
        peers::what_is_written_there_is_read_here(&f, &cli().await, KEYS).await;
    });
}

async fn stored(f: &Fixture, key: &str) -> Stored {
    cli().await.stored(&name(f, key)).await.expect("the key is there")
}

#[test]
fn the_last_index_is_the_servers_modify_index() {
    run(Plain, "consul::peers", |f| async move {
        let cli = cli().await;
        let version = f.store.put("a", "1").await.expect("a put");
        let first = stored(&f, "a").await;
        assert_eq!((first.changed, first.flags), (version.last_index(), 0));
        let again = f.store.put("a", "1").await.expect("a put");
        let second = stored(&f, "a").await;
        assert_eq!((second.created, second.changed), (first.created, again.last_index()));
        assert!(second.changed > first.changed);

        let mut watch = f.follow(f.store.watch("a").expect("a key"));
        watch.until_synced().await;
        cli.put(&name(&f, "a"), b"2").await;
        let theirs = stored(&f, "a").await.changed;
        let pair = f.store.get("a").await.expect("the key is there");
        assert_eq!((pair.last_index(), watch.put().await.last_index()), (theirs, theirs));
        let listed = f.store.list(Key::root()).await.expect("a listing");
        assert_eq!(listed[0].version, pair.version);
        let replaced = f.store.atomic_put("a", "3", Some(&pair)).await.expect("it is the version");
        assert_eq!(stored(&f, "a").await.changed, replaced.last_index());

        let txn = Txn::new().put("b", "1").and_then(|txn| txn.put("c", "1"));
        let outcome = f.store.txn(txn.expect("a transaction")).await.expect("no compare");
        for (key, version) in ["b", "c"].into_iter().zip(&outcome.versions) {
            let index = stored(&f, key).await.changed;
            assert_eq!((index, version.last_index()), (outcome.index, outcome.index));
        }
    });
}

/// Flags of which the largest is more than a float or a signed number holds.
const FLAGS: &[u64] = &[42, u64::MAX];

/// A way to write a key whose previous pair is known.
type Replace = fn(&dyn Store, KvPair) -> futures_util::future::BoxFuture<'_, Version>;

const REPLACE: &[(&str, Replace)] = &[
    ("atomic_put", |store, pair| {
        Box::pin(
            async move { store.atomic_put(&pair.key, "2", Some(&pair)).await.unwrap().version },
        )
    }),
    ("update", |store, pair| {
        Box::pin(async move {
            let updated = store.update(&pair.key, UpdateOptions::default(), |_| "2").await;
            updated.unwrap().unwrap().version
        })
    }),
    ("txn", |store, pair| {
        Box::pin(async move {
            let txn = Txn::new().require_version(&pair.key, pair.version).unwrap();
            store.txn(txn.put(&pair.key, "2").unwrap()).await.unwrap().versions[0]
        })
    }),
    ("ephemeral", |store, pair| Box::pin(put_as(store, pair, Lifetime::Ephemeral))),
    ("ttl", |store, pair| Box::pin(put_as(store, pair, Lifetime::Ttl(Duration::from_secs(600))))),
    ("permanent", |store, pair| Box::pin(put_as(store, pair, Lifetime::Permanent))),
];

async fn put_as(store: &dyn Store, pair: KvPair, lifetime: Lifetime) -> Version {
    let options = WriteOptions::from(Expect::Version(pair.version)).with_lifetime(lifetime);
    store.put_opts(&pair.key, "2".into(), options).await.unwrap()
}

/// A way to learn the pair that a key has.
type Learn = fn(&Fixture) -> futures_util::future::BoxFuture<'_, KvPair>;

const LEARN: &[(&str, Learn)] = &[
    ("get", |f| Box::pin(async { f.store.get("a").await.unwrap() })),
    ("list", |f| Box::pin(async { f.store.list(Key::root()).await.unwrap().remove(0) })),
    ("watch", |f| {
        Box::pin(async { f.follow(f.store.watch_tree(Key::root()).unwrap()).put().await })
    }),
];

/// What other programs keep in the flags stays there for whoever says which state is replaced. A
/// put that says nothing of it resets them, as that of `consul kv` does.
#[test]
fn flags_are_kept_where_the_previous_pair_is_given_and_else_reset() {
    run(Plain, "consul::peers", |f| async move {
        let (cli, name) = (cli().await, name(&f, "a"));
        for &flags in FLAGS {
            let option = format!("-flags={flags}");
            for (how, learn) in LEARN {
                for (what, replace) in REPLACE {
                    cli.put_with(&[&option], &name, b"1").await;
                    let pair = learn(&f).await;
                    let version = replace(&*f.store, pair).await;
                    let kept = stored(&f, "a").await;
                    assert_eq!((kept.flags, &kept.value[..]), (flags, &b"2"[..]), "{how} {what}");
                    assert_eq!(kept.changed, version.last_index(), "{how} {what}");
                    // The version of the write knows them too.
                    let version = f
                        .store
                        .put_opts(&key("a"), "3".into(), Expect::Version(version).into())
                        .await;
                    assert_eq!(stored(&f, "a").await.flags, flags, "{how} {what}, again");
                    version.expect("it is the version");
                }
            }
            f.store.put("a", "4").await.expect("a put");
            assert_eq!(stored(&f, "a").await.flags, 0);
            cli.put_with(&[&option], &name, b"1").await;
            let txn = Txn::new().require_exists("a").and_then(|txn| txn.put("a", "5"));
            f.store.txn(txn.expect("a transaction")).await.expect("it is there");
            assert_eq!(stored(&f, "a").await.flags, 0);
            cli.put_with(&[&option], &name, b"1").await;
            f.store.delete("a").await.expect("it is there");
            f.store.atomic_put("a", "6", None).await.expect("it is not there");
            assert_eq!(stored(&f, "a").await.flags, 0);
        }
    });
}

#[test]
fn a_lifetime_is_a_session_for_both() {
    run(Plain, "consul::peers", |f| async move {
        let cli = cli().await;
        let ttl = WriteOptions::default().with_ttl(Duration::from_secs(100));
        f.store.put_opts(&key("ttl"), "1".into(), ttl).await.expect("a put");
        let bound = stored(&f, "ttl").await.session.expect("a session");
        let session = cli.session(&bound).await.expect("it is there");
        assert_eq!((&*session.name, &*session.behavior), ("libkv ttl", "delete"));
        assert_eq!((session.checks, session.lock_delay), (vec![], Duration::ZERO));

        let ephemeral = || WriteOptions::from(Lifetime::Ephemeral);
        for key in [key("e1"), key("e2")] {
            f.store.put_opts(&key, "1".into(), ephemeral()).await.expect("a put");
        }
        let ours = stored(&f, "e1").await.session.expect("a session");
        assert_eq!(stored(&f, "e2").await.session.as_deref(), Some(&*ours));
        assert_eq!(cli.session(&ours).await.expect("it is there").name, "libkv session");
        let kind = async |store: &dyn Store, key: &str| store.get(key).await.unwrap().lifetime;
        for store in [&*f.store, &*f.other] {
            assert_eq!(kind(store, "ttl").await, LifetimeKind::Ttl);
            assert_eq!(kind(store, "e1").await, LifetimeKind::Ephemeral);
        }
        // What another program has bound to its session ends with that.
        let theirs = cli.new_session("0s", "delete").await;
        cli.acquire(&name(&f, "theirs"), b"1", &theirs).await;
        assert_eq!(kind(&*f.store, "theirs").await, LifetimeKind::Ephemeral);

        // Who ends the sessions by Consul's own means ends the keys.
        let mut watch = f.follow(f.store.watch_tree(Key::root()).expect("a directory"));
        watch.until_synced().await;
        let mut state = f.store.state();
        for session in [&bound, &ours, &theirs] {
            cli.destroy(session).await;
        }
        watch.until(|state| state.is_empty()).await;
        // The next use finds that the session is gone, and puts with a new one.
        f.store.put_opts(&key("e1"), "2".into(), ephemeral()).await.expect("a put");
        assert!(f.soon("a new session", state.wait_for(SessionState::Connected)).await);
        assert_eq!(watch.put().await.value, "2");
        assert_ne!(stored(&f, "e1").await.session, Some(ours));
    });
}

/// Of a listing of names the server tells no versions. One that is not known is no expectation.
#[test]
fn a_listing_of_names_has_no_versions_and_these_are_refused() {
    run(Plain, "consul::peers", |f| async move {
        f.store.put("d/a", "1").await.expect("a put");
        let names = f.store.list_opts(&key("d"), ListOptions::default().with_keys_only());
        let [pair] = &names.collect_pairs().await.expect("a listing")[..] else {
            panic!("one key was put");
        };
        let version = pair.version;
        assert_eq!((pair.last_index(), version.last_index()), (0, 0));
        assert_eq!(version.to_string().parse::<Version>().expect("its text"), version);
        let before = stored(&f, "d/a").await;
        let expected = WriteOptions::from(Expect::Version(version));
        let put = f.store.put_opts(&pair.key, "2".into(), expected).await.map(drop);
        let delete = f.store.delete_opts(&pair.key, Expect::Version(version).into()).await;
        let compared = Txn::new().require_version(&pair.key, version);
        let txn = match compared.and_then(|txn| txn.put("d/b", "2")) {
            Ok(txn) => f.store.txn(txn).await.map(drop),
            Err(error) => Err(error),
        };
        let atomic_put = f.store.atomic_put(&pair.key, "2", Some(pair)).await.map(drop);
        let atomic_delete = f.store.atomic_delete(pair).await;
        for ended in [put, delete, txn, atomic_put, atomic_delete] {
            let error = ended.expect_err("nobody knows the version");
            assert_eq!(error.kind(), libkv_core::ErrorKind::InvalidVersion, "{error}");
            assert!(error.changed_nothing() && !error.is_transient(), "{error}");
        }
        assert_eq!(stored(&f, "d/a").await, before);
        assert!(!f.store.exists("d/b").await.expect("a read"));
    });
}
