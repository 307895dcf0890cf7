//! Section 10 of the contract: the sizes that `capabilities()` states.

use bytes::Bytes;
use libkv_core::{
    ErrorKind, Lifetime, LockOptions, Result, Store, StoreExt, Txn, UpdateOptions, WriteOptions,
};

use super::locks::take;
use crate::{Fixture, key};

/// A call that is over a limit is `TooLarge` and changed nothing, and the store goes on.
async fn assert_too_large(f: &Fixture, ended: Result<()>) {
    let error = ended.expect_err("over the limit");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert!(error.changed_nothing(), "{error}");
    let version = f.store.put("still", "works").await.expect("the connection survives");
    assert_eq!(f.other.get("still").await.expect("a put key").version, version);
}

/// Writes the key `a` in every form there is, each with its own copy of the value.
async fn write_in_every_form(store: &dyn Store, value: &Bytes) -> Vec<Result<()>> {
    let a = key("a");
    let put = async |opts| store.put_opts(&a, value.clone(), opts).await.map(drop);
    let mut ended = vec![
        put(WriteOptions::default()).await,
        put(WriteOptions::from(Lifetime::Ephemeral)).await,
        store.atomic_put("new", value.clone(), None).await.map(drop),
        store.update(&a, UpdateOptions::default(), |_| value.clone()).await.map(drop),
        store.txn(Txn::new().put("a", value.clone()).expect("a key")).await.map(drop),
    ];
    if let Some(limits) = store.capabilities().ttl {
        ended.push(put(WriteOptions::default().with_ttl(limits.max)).await);
    }
    ended
}

/// Every form of write carries a value of `max_value_bytes`, byte for byte, and none carries one
/// more.
pub async fn max_value_bytes_is_what_every_write_carries(f: &Fixture) {
    let most = f.store.capabilities().max_value_bytes;
    let value: Bytes = (0..=most).map(|at| (at % 251) as u8).collect();
    let (fits, over) = (value.slice(..most), value);
    for ended in write_in_every_form(&f.store, &fits).await {
        ended.expect("the value fits");
        let read = f.other.get("a").await.expect("a is there").value;
        assert!(read == fits, "{} bytes are read back otherwise", read.len());
    }
    let options = LockOptions::default().with_value(fits.clone());
    let guard = take(&f.store, "lock", options).await.expect("the value fits");
    assert!(f.other.get("lock").await.expect("the lock's value").value == fits);
    guard.unlock().await.expect("the lock is held");

    f.store.delete("new").await.expect("it is there");
    let before = f.other.get("a").await.expect("a is there");
    for ended in write_in_every_form(&f.store, &over).await {
        assert_too_large(f, ended).await;
    }
    let options = LockOptions::default().with_value(over);
    assert_too_large(f, take(&f.store, "lock", options).await.map(drop)).await;
    assert!(f.other.get("a").await.expect("a is there") == before, "a was changed");
    for name in ["new", "lock"] {
        assert!(!f.other.exists(name).await.expect("a read"), "{name} was made");
    }
    let options = LockOptions::default().with_value("small");
    let guard = take(&f.other, "lock", options).await.expect("nobody got the lock");
    guard.unlock().await.expect("the lock is held");
}

/// A transaction carries `max_txn_ops` compares, fences and writes together, and not one more.
pub async fn max_txn_ops_is_what_a_transaction_carries(f: &Fixture) {
    let most = f.store.capabilities().max_txn_ops;
    assert!(most >= 3, "{most} operations are too few to be of use");
    let writes = |txn: Txn, count: usize| {
        (0..count).try_fold(txn, |txn, at| txn.put(format!("d/k{at}"), "1")).expect("keys")
    };
    let guard = take(&f.store, "lock", LockOptions::default()).await.expect("the lock is free");
    let fenced = Txn::new().require_absent("absent").expect("a key").fence(guard.fence());
    let outcome = f.store.txn(writes(fenced.clone(), most - 2)).await.expect("it fits");
    assert_eq!(outcome.versions.len(), most - 2);
    assert_eq!(f.other.list("d").await.expect("there are keys").len(), most - 2);
    let outcome = f.store.txn(writes(Txn::new(), most)).await.expect("it fits");
    assert_eq!(outcome.versions.len(), most);
    let compares =
        (0..most - 1).try_fold(Txn::new(), |txn, at| txn.require_exists(format!("d/k{at}")));
    let compares = compares.and_then(|txn| txn.delete("d/k0")).expect("keys");
    f.store.txn(compares.clone()).await.expect("it fits");

    let before = f.other.list("d").await.expect("there are keys");
    for over in [
        writes(fenced, most - 1),
        writes(Txn::new(), most + 1),
        compares.put("d/over", "1").expect("a key"),
    ] {
        assert_too_large(f, f.store.txn(over).await.map(drop)).await;
        assert_eq!(f.other.list("d").await.expect("there are keys"), before);
    }
    guard.unlock().await.expect("the lock is held");
}

/// A transaction carries `max_txn_bytes` of keys and values together, and not one more.
pub async fn max_txn_bytes_is_what_a_transaction_carries(f: &Fixture) {
    let facts = f.store.capabilities();
    let fill = |bytes: usize| {
        let mut txn = Txn::new();
        while txn.bytes() < bytes {
            let name = format!("d/{:03}", txn.ops());
            let room = (bytes - txn.bytes()).saturating_sub(name.len());
            // The last value leaves no room that is too small for one more key.
            let value = match room.min(facts.max_value_bytes) {
                most if most < room && room - most < 2 * name.len() => most - 2 * name.len(),
                most => most,
            };
            txn = txn.put(name, vec![7; value]).expect("a new key");
        }
        txn
    };
    let fits = fill(facts.max_txn_bytes);
    assert_eq!(fits.bytes(), facts.max_txn_bytes);
    assert!(fits.ops() <= facts.max_txn_ops, "{} operations are needed", fits.ops());
    let count = fits.ops();
    f.store.txn(fits).await.expect("it fits");
    let before = f.other.list("d").await.expect("there are keys");
    assert_eq!(before.len(), count);
    let stored: usize = before.iter().map(|p| p.key.as_str().len() + p.value.len()).sum();
    assert_eq!(stored, facts.max_txn_bytes);

    let over = fill(facts.max_txn_bytes + 1);
    assert_too_large(f, f.store.txn(over).await.map(drop)).await;
    assert!(f.other.list("d").await.expect("there are keys") == before, "a refused txn wrote");
}
