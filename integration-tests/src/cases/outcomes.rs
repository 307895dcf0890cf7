//! Section 5 of the contract: how a write ends, and what an error says.

use std::sync::Arc;

use libkv_core::{
    BackendName, Error, ErrorKind, Expect, Key, Result, Store, StoreExt, Txn, UpdateOptions,
    Version, WriteOptions,
};

use super::locks::{take, try_take};
use crate::{Fixture, key};

/// A refused write names its kind, changed nothing, and everybody still sees the state before it.
pub async fn a_refused_write_changed_nothing(f: &Fixture) {
    let (here, gone) = (key("here"), key("gone"));
    let stale = f.store.put("here", "older").await.expect("the key is new");
    f.store.put("here", "old").await.expect("the key is there");
    let guard = take(&f.store, "lock", Default::default()).await.expect("the lock is free");
    let fence = guard.fence();
    guard.unlock().await.expect("the lock is held");
    let foreign = Version::new(BackendName::new("nowhere"), 1);
    let too_large = vec![0; f.store.capabilities().max_value_bytes + 1];
    let before = f.other.list(Key::root()).await.expect("there is a key");

    let put = async |key: &Key, opts: WriteOptions| {
        f.store.put_opts(key, "new".into(), opts).await.map(drop)
    };
    let delete = async |key: &Key, expect: Expect| f.store.delete_opts(key, expect.into()).await;
    let txn = async |txn: Result<Txn>| f.store.txn(txn.expect("a transaction")).await.map(drop);
    let both = Txn::new().put("here", "new").and_then(|txn| txn.put("gone", "new"));
    let both = both.expect("two keys");
    let refused = [
        (ErrorKind::KeyExists, put(&here, Expect::Absent.into()).await),
        (ErrorKind::KeyModified, put(&here, Expect::Version(stale).into()).await),
        (ErrorKind::KeyNotFound, put(&gone, Expect::Version(stale).into()).await),
        (ErrorKind::InvalidVersion, put(&here, Expect::Version(foreign).into()).await),
        (ErrorKind::InvalidKey, put(&Key::root(), WriteOptions::default()).await),
        (ErrorKind::LockLost, put(&here, WriteOptions::default().with_fence(fence)).await),
        (ErrorKind::KeyModified, delete(&here, Expect::Version(stale)).await),
        (ErrorKind::KeyNotFound, delete(&gone, Expect::Version(stale)).await),
        (ErrorKind::KeyNotFound, delete(&gone, Expect::Anything).await),
        (ErrorKind::InvalidVersion, delete(&here, Expect::Version(foreign)).await),
        (ErrorKind::InvalidKey, delete(&Key::root(), Expect::Anything).await),
        (ErrorKind::TooLarge, f.store.put("here", too_large).await.map(drop)),
        (ErrorKind::InvalidKey, f.store.put("here/../gone", "new").await.map(drop)),
        (ErrorKind::PreviousNotSpecified, f.store.atomic_delete(None).await),
        (ErrorKind::KeyExists, txn(both.clone().require_absent("here")).await),
        (ErrorKind::KeyNotFound, txn(both.clone().require_exists("gone")).await),
        (ErrorKind::KeyModified, txn(both.clone().require_version("here", stale)).await),
        (ErrorKind::KeyNotFound, txn(both.require_version("gone", stale)).await),
    ];
    for (position, (kind, ended)) in refused.into_iter().enumerate() {
        let error = ended.expect_err("the write is refused");
        assert_eq!(error.kind(), kind, "write {position}: {error}");
        assert!(error.changed_nothing(), "write {position}: {error}");
    }
    assert_eq!(f.other.list(Key::root()).await.expect("the key is still there"), before);
}

/// Every form of write that ends in `Ok` happened, as the second connection sees at once.
pub async fn an_ok_write_has_happened(f: &Fixture) {
    let put = f.store.put("a", "1").await.expect("a put");
    assert_eq!(f.other.get("a").await.expect("the put key").version, put);
    let created = f.store.atomic_put("b", "1", None).await.expect("b is absent");
    assert_eq!(f.other.get("b").await.expect("the created key"), created);
    let replaced = f.store.atomic_put("b", "2", &created).await.expect("b is as it was");
    assert_eq!(f.other.get("b").await.expect("the replaced key"), replaced);
    let updated = f.store.update("b", UpdateOptions::default(), |_| "3").await.expect("an update");
    assert_eq!(f.other.get("b").await.ok(), updated);

    let txn = Txn::new().put("c", "1").and_then(|txn| txn.delete("a")).expect("two keys");
    let outcome = f.store.txn(txn).await.expect("nothing is compared");
    assert_eq!(outcome.versions, [f.other.get("c").await.expect("the key of the txn").version]);
    assert_absent(&f.other, "a").await;

    f.store.delete("b").await.expect("b is there");
    assert_absent(&f.other, "b").await;
    let pair = f.other.get("c").await.expect("c is there");
    f.store.atomic_delete(&pair).await.expect("c is as it was");
    assert_absent(&f.other, "c").await;
    f.store.put("d/e/f", "1").await.expect("a put");
    f.store.delete_tree("d").await.expect("a tree");
    assert_absent(&f.other, "d/e/f").await;
}

async fn assert_absent(store: &Arc<dyn Store>, key: &str) {
    let error = store.get(key).await.expect_err("the key is gone");
    assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
}

/// In a race of writers the counter is what the three kinds of outcome say: nobody's write is lost,
/// and nobody's refused write happened.
pub async fn every_write_of_a_race_is_accounted_for(f: &Fixture) {
    const WRITERS: usize = 8;
    const TRIES: usize = 12;
    let writers = (0..WRITERS).map(|writer| {
        let store = if writer % 2 == 0 { f.store.clone() } else { f.other.clone() };
        tokio::spawn(async move {
            let (mut done, mut unknown) = (0, 0);
            for _ in 0..TRIES {
                match count_up(&store).await {
                    Ok(()) => done += 1,
                    Err(error) if !error.changed_nothing() => {
                        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
                        unknown += 1;
                    }
                    Err(error) => {
                        let conflict = [ErrorKind::KeyExists, ErrorKind::KeyModified];
                        assert!(conflict.contains(&error.kind()), "{error}");
                    }
                }
            }
            (done, unknown)
        })
    });
    let (mut done, mut unknown) = (0, 0);
    for writer in futures_util::future::join_all(writers).await {
        let (more_done, more_unknown) = writer.expect("the writer ends well");
        (done, unknown) = (done + more_done, unknown + more_unknown);
    }
    let counted = count(&f.other).await.expect("somebody counted").1;
    assert!(done > 0 && done <= counted && counted <= done + unknown, "{counted} of {done}");
}

async fn count(store: &Arc<dyn Store>) -> Result<(Version, usize)> {
    let pair = store.get("counter").await?;
    let text = String::from_utf8(pair.value.to_vec()).expect("a counter holds text");
    Ok((pair.version, text.parse().expect("a counter holds a number")))
}

async fn count_up(store: &Arc<dyn Store>) -> Result<()> {
    let (expect, counted) = match count(store).await {
        Ok((version, counted)) => (Expect::Version(version), counted),
        Err(error) if error.kind() == ErrorKind::KeyNotFound => (Expect::Absent, 0),
        Err(error) => return Err(error),
    };
    let value = (counted + 1).to_string().into();
    store.put_opts(&key("counter"), value, expect.into()).await.map(drop)
}

/// An error carries the backend, the operation, the key and the kind, in its fields and its text,
/// and never the value.
pub async fn an_error_names_backend_operation_key_and_kind(f: &Fixture) {
    f.store.put("here", "secret-value").await.expect("a put");
    let guard = take(&f.other, "lock", Default::default()).await.expect("the lock is free");
    let absent = WriteOptions::from(Expect::Absent);
    let put = f.store.put_opts(&key("here"), "secret-value".into(), absent).await;
    let txn = Txn::new().require_absent("here").and_then(|txn| txn.put("b", "secret-value"));
    let txn = f.store.txn(txn.expect("a transaction")).await;
    let lock = try_take(&f.store, "lock").await;
    let gone = key("gone");
    let cases: [(_, _, _, Error); 6] = [
        ("get", "gone", ErrorKind::KeyNotFound, f.store.get(&gone).await.expect_err("absent")),
        ("put", "here", ErrorKind::KeyExists, put.expect_err("the key is there")),
        (
            "delete",
            "gone",
            ErrorKind::KeyNotFound,
            f.store.delete(&gone).await.expect_err("absent"),
        ),
        ("list", "gone", ErrorKind::KeyNotFound, f.store.list(&gone).await.expect_err("absent")),
        ("txn", "here", ErrorKind::KeyExists, txn.expect_err("the key is there")),
        ("lock", "lock", ErrorKind::CannotLock, lock.expect_err("the lock is held")),
    ];
    for (operation, name, kind, error) in cases {
        assert_eq!(error.backend(), Some(f.store.backend()), "{error}");
        assert_eq!(error.operation(), operation, "{error}");
        assert_eq!(error.key(), Some(&key(name)), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        let start = format!("{} {operation} {name}: {kind}", f.store.backend());
        assert!(text.starts_with(&start), "{text:?} does not start with {start:?}");
        assert!(!format!("{text} {error:?}").contains("secret-value"), "{text}");
    }
    let error = f.store.get("a/../b").await.expect_err("no key");
    assert_eq!((error.backend(), error.operation()), (Some(f.store.backend()), "get"), "{error}");
    guard.unlock().await.expect("the lock is held");
}

/// What is transient succeeds later without anybody correcting anything, and what is not is
/// refused again in the same way.
pub async fn an_error_says_whether_trying_again_can_help(f: &Fixture) {
    let guard = take(&f.other, "lock", Default::default()).await.expect("the lock is free");
    let error = try_take(&f.store, "lock").await.expect_err("the lock is held");
    assert!(error.is_transient(), "{error}");
    guard.unlock().await.expect("the lock is held");
    let guard = try_take(&f.store, "lock").await.expect("trying again helps");
    guard.unlock().await.expect("the lock is held");

    let closed = f.another().await;
    closed.close().await.expect("a close");
    let stale = f.store.put("a", "1").await.expect("a put");
    f.store.put("a", "2").await.expect("a put");
    for _ in 0..2 {
        let put = async |expect: Expect| {
            f.store.put_opts(&key("a"), "3".into(), expect.into()).await.map(drop)
        };
        let lasting = [
            (ErrorKind::KeyExists, put(Expect::Absent).await),
            (ErrorKind::KeyModified, put(Expect::Version(stale)).await),
            (ErrorKind::KeyNotFound, f.store.get("b").await.map(drop)),
            (ErrorKind::InvalidKey, f.store.get("..").await.map(drop)),
            (ErrorKind::PreviousNotSpecified, f.store.atomic_delete(None).await),
            (ErrorKind::Closed, closed.put("a", "3").await.map(drop)),
        ];
        for (kind, ended) in lasting {
            let error = ended.expect_err("the call is refused");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(!error.is_transient(), "{error}");
        }
    }
    assert_eq!(f.other.get("a").await.expect("a is there").value, "2");
}
