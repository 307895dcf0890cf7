//! What a write leaves, what others see of it meanwhile, and how much it carries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use integration_tests::{Fixture, key, run};
use libkv_consul::ConsulStore;
use libkv_core::{
    Consistency, ErrorKind, Event, GetOptions, Key, Lifetime, Store, StoreExt, Txn, WriteOptions,
};

use super::cli::Cli;
use super::{Plain, config};
use crate::harness::consul::{self, Options, Server};
use crate::harness::proxy::{Direction, Proxy};
use crate::servers::peers::name;
use crate::servers::unique;

async fn cli() -> Cli<'static> {
    Cli::of(consul::shared().await.server())
}

/// How often each writer writes.
const WRITES: usize = 150;
/// Whose values are never empty, and whose always are: something else is written before each, which
/// must be another value, and which nobody sees.
const FULL: &str = "full";
const EMPTY: &str = "empty";
/// What is put when all is written.
const LAST: &str = "last";

fn assert_seen(key: &str, value: &[u8]) {
    match key.ends_with(EMPTY) {
        true => assert!(value.is_empty(), "{key}: {value:?}"),
        false => assert!(value.starts_with(b"value "), "{key}: {value:?}"),
    }
}

/// Puts, replaces, transactions and keys with owners, each over what is there.
async fn write(f: &Fixture) {
    let value = |key: &str, at: usize| match key {
        FULL => Bytes::from(format!("value {at}")),
        _ => Bytes::new(),
    };
    for at in 0..WRITES {
        for name in [FULL, EMPTY] {
            let value = || value(name, at);
            f.store.put(format!("put/{name}"), value()).await.expect("a put");
            let replaced = format!("replaced/{name}");
            let pair = f.store.get(&replaced).await.ok();
            f.store.atomic_put(&replaced, value(), pair.as_ref()).await.expect("nobody else");
            let txn = Txn::new().put(format!("txn/{name}"), value()).expect("a key");
            let txn = txn.put_with(format!("owned/{name}"), value(), Lifetime::Ephemeral);
            f.store.txn(txn.expect("a key")).await.expect("no compare");
            // From one owner to another and to none, by turns.
            let (store, lifetime) = match at % 3 {
                0 => (&f.store, Lifetime::Permanent),
                1 => (&f.store, Lifetime::Ephemeral),
                _ => (&f.other, Lifetime::Ephemeral),
            };
            let moved = key(&format!("moved/{name}"));
            store.put_opts(&moved, value(), lifetime.into()).await.expect("a put");
        }
    }
}

/// All the ways to look, as often as they answer, until the writers are done.
async fn look(f: &Fixture, done: &AtomicBool) -> usize {
    let cli = cli().await;
    let stale = || GetOptions::default().with_consistency(Consistency::Local);
    let mut looks = 0;
    while !done.load(Ordering::SeqCst) {
        for pair in f.other.list(Key::root()).await.unwrap_or_default() {
            assert_seen(pair.key.as_str(), &pair.value);
        }
        for way in ["put", "replaced", "txn", "owned", "moved"] {
            for name in [FULL, EMPTY] {
                let key = key(&format!("{way}/{name}"));
                if let Ok(pair) = f.other.get_opts(&key, stale()).await {
                    assert_seen(key.as_str(), &pair.value);
                    looks += 1;
                }
            }
        }
        for stored in cli.below(&name(f, "")).await {
            assert_seen(&stored.name, &stored.value);
        }
    }
    looks
}

/// The events of a watch until its last key is put.
async fn follow(f: &Fixture) -> usize {
    let mut watch = f.follow(f.other.watch_tree(Key::root()).expect("a directory"));
    let mut puts = 0;
    loop {
        match watch.next().await {
            Event::Put(pair) if pair.key.as_str() == LAST => return puts,
            Event::Put(pair) => assert_seen(pair.key.as_str(), &pair.value),
            _ => {}
        }
        puts += 1;
    }
}

#[test]
fn nobody_sees_what_is_written_before_a_value() {
    run(Plain, "consul::data", |f| async move {
        let done = AtomicBool::new(false);
        let writing = async {
            write(&f).await;
            done.store(true, Ordering::SeqCst);
            f.store.put(LAST, "value of all").await.expect("a put");
        };
        let looking = join_all((0..2).map(|_| look(&f, &done)));
        let ((), looks, puts) = futures_util::join!(writing, looking, follow(&f));
        let looks: usize = looks.iter().sum();
        assert!(looks > WRITES && puts > WRITES / 10, "{looks} looks, {puts} events");
    });
}

/// Keys of every kind of owner are taken together, as many as fit.
#[test]
fn a_transaction_of_the_most_puts_takes_keys_from_their_sessions() {
    run(Plain, "consul::data", |f| async move {
        let (cli, most) = (cli().await, f.store.capabilities().max_txn_ops);
        let keys: Vec<Key> = (0..most).map(|at| key(&format!("d/k{at}"))).collect();
        let theirs = cli.new_session("0s", "release").await;
        for lifetime in [Lifetime::Permanent, Lifetime::Ephemeral] {
            for (at, key) in keys.iter().enumerate() {
                let owned = |lifetime: Lifetime| WriteOptions::from(lifetime);
                let ttl = Lifetime::Ttl(Duration::from_secs(600));
                match at % 4 {
                    0 => drop(f.other.put_opts(key, "1".into(), owned(ttl)).await.unwrap()),
                    1 => drop(
                        f.other
                            .put_opts(key, "1".into(), owned(Lifetime::Ephemeral))
                            .await
                            .unwrap(),
                    ),
                    2 => cli.acquire(&name(&f, key.as_str()), b"1", &theirs).await,
                    _ => drop(f.store.put(key, "1").await.unwrap()),
                }
            }
            let txn = keys.iter().try_fold(Txn::new(), |txn, key| txn.put_with(key, "2", lifetime));
            let done = f.store.txn(txn.expect("different keys")).await.expect("no compare");
            let stored = cli.below(&name(&f, "d/")).await;
            assert_eq!((done.versions.len(), stored.len()), (most, most));
            let mut sessions: Vec<_> = stored.iter().map(|one| one.session.as_deref()).collect();
            sessions.dedup();
            assert_eq!(sessions.len(), 1, "one owner, or none: {sessions:?}");
            assert_eq!(sessions[0].is_some(), lifetime == Lifetime::Ephemeral);
            for one in stored {
                assert_eq!((&one.value[..], one.changed), (&b"2"[..], done.index), "{}", one.name);
            }
            f.store.delete_tree("d").await.expect("a tree");
        }
        cli.destroy(&theirs).await;
    });
}

/// One byte or one operation too many does not leave this machine.
#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_sent() {
    let proxy = Proxy::start(consul::shared().await.endpoint()).await;
    let config = config(&[proxy.addr()]);
    let common = config.common.clone().with_root(key(&unique()));
    let store = ConsulStore::open(config.with_common(common)).await.unwrap();
    let facts = store.capabilities();
    let value = Bytes::from(vec![0xa5; facts.max_value_bytes + 1]);
    store.put("a", value.slice(1..)).await.unwrap();
    assert_eq!(store.get("a").await.unwrap().value, value.slice(1..));
    let (sent, made) = (proxy.bytes(Direction::ToServer), proxy.accepted());
    let puts =
        |count: usize| (0..count).try_fold(Txn::new(), |txn, at| txn.put(format!("{at}"), ""));
    for ended in [
        store.put("a", value.clone()).await.map(drop),
        store.put_opts(&key("a"), value.clone(), Lifetime::Ephemeral.into()).await.map(drop),
        store.txn(Txn::new().put("a", value.clone()).unwrap()).await.map(drop),
        store.txn(puts(facts.max_txn_ops + 1).unwrap()).await.map(drop),
    ] {
        let error = ended.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert!(error.changed_nothing() && !error.is_transient(), "{error}");
    }
    assert_eq!((proxy.bytes(Direction::ToServer), proxy.accepted()), (sent, made));
    store.txn(puts(facts.max_txn_ops).unwrap()).await.unwrap();
    assert_eq!(proxy.accepted(), made, "the connection survives");
    store.delete_tree(Key::root()).await.unwrap();
}

/// A server may be told to take less. It says so, and has done nothing.
#[tokio::test]
async fn what_is_too_large_for_a_server_is_told_and_changes_nothing() {
    let limits = "limits { txn_max_req_len = 2000 kv_max_value_size = 2000 }";
    let server = Server::start(Options::default().with_hcl(limits)).await;
    let store = ConsulStore::open(config(&[server.endpoint()])).await.unwrap();
    store.put("a", "small").await.unwrap();
    let before = Cli::of(&server).below("a").await;
    let error = store.put("a", vec![0xa5; 3000]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert!(error.changed_nothing() && !error.is_transient(), "{error}");
    assert_eq!(Cli::of(&server).below("a").await, before);
    store.put("a", "still small").await.unwrap();
}
