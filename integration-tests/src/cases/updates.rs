//! Section 4: update, which reads, changes and writes back.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use libkv_core::{
    BackendName, Capabilities, Change, DeleteOptions, DeleteTreeOptions, Error, ErrorKind,
    EventStream, GetOptions, Key, KvPair, ListOptions, LockOptions, LockSession, PairStream,
    Result, StateWatch, Store, StoreExt, Txn, TxnOutcome, UpdateOptions, Version, WatchOptions,
    WatchTarget, WriteOptions,
};

use super::writes::refused;
use crate::Fixture;

/// Does what somebody else does between the read and the write of an update.
fn meanwhile<T>(work: impl Future<Output = Result<T>>) {
    let done = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work));
    done.map(drop).expect("the other connection writes");
}

fn text(pair: Option<&KvPair>) -> Option<String> {
    pair.map(|pair| String::from_utf8(pair.value.to_vec()).expect("the value is text"))
}

/// An update makes, changes and deletes a key, and gives the pair as it is then.
pub async fn an_update_makes_changes_and_deletes(f: &Fixture) {
    let options = UpdateOptions::default;
    let made = f.store.update("d/a", options(), |pair| {
        assert_eq!(pair, None, "the key is absent");
        "1"
    });
    let made = made.await.expect("an update").expect("the key is there");
    assert_eq!(f.other.get("d/a").await.expect("the key is there"), made);
    let changed = f.store.update("d/a", options(), |pair| {
        assert_eq!(pair, Some(&made));
        Bytes::new()
    });
    let changed = changed.await.expect("an update").expect("the key is there");
    assert_eq!(f.other.get("d/a").await.expect("the key is there"), changed);
    assert!(changed.value.is_empty() && changed.version != made.version);
    let kept = f.store.update("d/a", options(), |pair| {
        assert_eq!(pair, Some(&changed), "an empty value is a value");
        Change::Keep
    });
    assert_eq!(kept.await.expect("an update"), Some(changed.clone()));
    assert_eq!(f.other.get("d/a").await.expect("the key is there"), changed, "nothing is written");
    let deleted = f.store.update("d/a", options(), |_| Change::Delete).await;
    assert_eq!(deleted.expect("an update"), None);
    assert!(!f.other.exists("d/a").await.expect("a read"));
    for change in [Change::Delete, Change::Keep] {
        let left = f.store.update("d/a", options(), |_| change.clone()).await;
        assert_eq!(left.expect("an update of nothing"), None);
    }
    assert!(!f.other.exists("d/a").await.expect("a read"));
}

/// An update that somebody else's write overtakes begins again with what is there then.
pub async fn an_update_begins_again_after_a_conflict(f: &Fixture) {
    f.store.put("a", "first").await.expect("a put");
    let mut seen = Vec::new();
    let updated = f.store.update("a", UpdateOptions::default(), |pair| {
        seen.push(text(pair));
        match seen.len() {
            1 => meanwhile(f.other.put("a", "first")),
            2 => meanwhile(f.other.delete("a")),
            3 => meanwhile(f.other.put("a", "second")),
            _ => {}
        }
        format!("{}+ours", text(pair).unwrap_or_default())
    });
    let pair = updated.await.expect("an update").expect("the key is there");
    let texts: Vec<_> = seen.iter().map(Option::as_deref).collect();
    assert_eq!(texts, [Some("first"), Some("first"), None, Some("second")]);
    assert_eq!(pair.value, "second+ours");
    assert_eq!(f.other.get("a").await.expect("the key is there"), pair);

    let mut calls = 0;
    let deleted = f.store.update("a", UpdateOptions::default(), |_| {
        calls += 1;
        if calls == 1 {
            meanwhile(f.other.put("a", "third"));
        }
        Change::Delete
    });
    assert_eq!(deleted.await.expect("an update"), None);
    assert_eq!(calls, 2);
    assert!(!f.other.exists("a").await.expect("a read"));
}

/// An update that is overtaken at each of its tries ends with `KeyModified` and wrote nothing.
pub async fn an_update_ends_when_its_tries_are_used_up(f: &Fixture) {
    for tries in [1, 3] {
        let mut calls = 0;
        let options = UpdateOptions::default().with_tries(tries);
        let update = f.store.update("d/a", options, |_| {
            calls += 1;
            meanwhile(f.other.put("d/a", format!("theirs {calls}")));
            "ours"
        });
        refused(update.await, ErrorKind::KeyModified, "d/a");
        assert_eq!(calls, tries);
        let pair = f.other.get("d/a").await.expect("the key is there");
        assert_eq!(text(Some(&pair)), Some(format!("theirs {tries}")));
        f.other.delete("d/a").await.expect("the key is there");
    }
}

/// An update whose write may have happened is not tried again.
pub async fn an_update_stops_at_an_unknown_outcome(f: &Fixture) {
    f.store.put("a", "1").await.expect("a put");
    let unsure = Unsure { inner: f.store.clone(), writes: AtomicUsize::new(0) };
    let update = unsure.update("a", UpdateOptions::default(), |pair| {
        format!("{}+1", text(pair).unwrap_or_default())
    });
    let error = update.await.expect_err("nobody knows");
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert!(!error.changed_nothing(), "{error}");
    assert_eq!(unsure.writes.load(Ordering::Relaxed), 1, "the write is not sent again");
    assert_eq!(f.other.get("a").await.expect("the key is there").value, "1+1");
    let deleted = unsure.update("a", UpdateOptions::default(), |_| Change::Delete).await;
    assert_eq!(deleted.expect_err("nobody knows").kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(unsure.writes.load(Ordering::Relaxed), 2, "the delete is not sent again");
}

/// A store that writes and then does not know whether it did.
#[derive(Debug)]
struct Unsure {
    inner: Arc<dyn Store>,
    writes: AtomicUsize,
}

impl Unsure {
    fn forget<T>(&self, operation: &'static str, key: &Key, done: Result<T>) -> Result<T> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        done?;
        Err(Error::new(ErrorKind::OutcomeUnknown, self.backend(), operation).with_key(key))
    }
}

impl fmt::Display for Unsure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Unsure {
    fn backend(&self) -> BackendName {
        self.inner.backend()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn state(&self) -> StateWatch {
        self.inner.state()
    }

    async fn get_opts(&self, key: &Key, opts: GetOptions) -> Result<KvPair> {
        self.inner.get_opts(key, opts).await
    }

    async fn put_opts(&self, key: &Key, value: Bytes, opts: WriteOptions) -> Result<Version> {
        self.forget("put", key, self.inner.put_opts(key, value, opts).await)
    }

    async fn delete_opts(&self, key: &Key, opts: DeleteOptions) -> Result<()> {
        self.forget("delete", key, self.inner.delete_opts(key, opts).await)
    }

    async fn delete_tree_opts(&self, dir: &Key, opts: DeleteTreeOptions) -> Result<()> {
        self.inner.delete_tree_opts(dir, opts).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.inner.txn(txn).await
    }

    fn list_opts(&self, dir: &Key, opts: ListOptions) -> PairStream {
        self.inner.list_opts(dir, opts)
    }

    fn watch_opts(&self, target: &WatchTarget, opts: WatchOptions) -> EventStream {
        self.inner.watch_opts(target, opts)
    }

    fn lock_session(&self, key: &Key, opts: &LockOptions) -> Result<Box<dyn LockSession>> {
        self.inner.lock_session(key, opts)
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
