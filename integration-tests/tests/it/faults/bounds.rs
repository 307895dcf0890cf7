//! A server that takes everything and answers nothing keeps nobody longer than was agreed.

use std::time::{Duration, Instant};

use integration_tests::key;
use libkv_core::{
    DeleteOptions, DeleteTreeOptions, ErrorKind, GetOptions, Key, Lifetime, ListOptions,
    LockOptions, Result, Store, StoreExt, Txn, WriteOptions,
};

use super::{Backend, open_plain, server_and_proxy, timed};
use crate::harness::proxy::{Flow, Proxy};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// A caller's own limit.
const SHORT: Duration = Duration::from_millis(250);
/// What a busy machine adds: less than is between the two.
pub(crate) const MARGIN: Duration = Duration::from_millis(1_500);
/// What is lost between two clocks.
const EARLY: Duration = Duration::from_millis(100);

/// Opens a store that waits for answers no longer than that.
pub(crate) async fn open_hurried<B: Backend>(proxy: &Proxy) -> B::Store {
    B::open(&[proxy.addr()], |config| config.operation_timeout = TIMEOUT).await
}

/// The outcome is a timeout, at about the time that was agreed.
#[track_caller]
fn assert_late<T: std::fmt::Debug>(
    what: &str,
    (outcome, took): (Result<T>, Duration),
    limit: Duration,
) {
    let error = outcome.expect_err("nobody answers");
    let kinds = [ErrorKind::Timeout, ErrorKind::OutcomeUnknown];
    assert!(kinds.contains(&error.kind()), "{what}: {error}");
    assert!(took < limit + MARGIN, "{what} took {took:?} of {limit:?}");
    assert!(took + EARLY > limit, "{what} gave up after {took:?} of {limit:?}");
}

/// Every exchange ends in time when nobody answers.
pub(crate) async fn exchanges<B: Backend>() {
    let (_server, proxy) = server_and_proxy::<B>().await;
    let store = open_hurried::<B>(&proxy).await;
    // Connections are there, and a session.
    let key = key("k");
    store.put_opts(&key, "v".into(), Lifetime::Ephemeral.into()).await.unwrap();
    store.list(&Key::root()).await.unwrap();
    proxy.set_both(Flow::Stall);
    for limit in [None, Some(SHORT)] {
        let at = || limit.map(|limit| Instant::now() + limit);
        let bound = limit.unwrap_or(TIMEOUT);
        let mut get = GetOptions::default();
        get.deadline = at();
        assert_late("get", timed(store.get_opts(&key, get)).await, bound);
        for lifetime in
            [Lifetime::Permanent, Lifetime::Ephemeral, Lifetime::Ttl(Duration::from_secs(60))]
        {
            let mut put = WriteOptions::from(lifetime);
            put.deadline = at();
            let putting = timed(store.put_opts(&key, "v".into(), put)).await;
            assert_late(&format!("put {lifetime:?}"), putting, bound);
        }
        let mut delete = DeleteOptions::default();
        delete.deadline = at();
        assert_late("delete", timed(store.delete_opts(&key, delete)).await, bound);
        let mut delete = DeleteTreeOptions::default();
        delete.deadline = at();
        assert_late("delete_tree", timed(store.delete_tree_opts(&key, delete)).await, bound);
        let mut txn = Txn::new().put(&key, "v").unwrap();
        if let Some(at) = at() {
            txn = txn.with_deadline(at);
        }
        assert_late("txn", timed(store.txn(txn)).await, bound);
        let mut list = ListOptions::default();
        list.deadline = at();
        let mut pairs = store.list_opts(&Key::root(), list);
        let (pair, took) = timed(pairs.next()).await;
        assert_late("list", (pair.unwrap(), took), bound);
    }
    assert_late("exists", timed(store.exists(&key)).await, TIMEOUT);
}

/// Every page of a listing ends in time when nobody answers. Its values have so many bytes that not
/// all of them are on their way at first.
pub(crate) async fn pages<B: Backend>(bytes: usize) {
    let (server, proxy) = server_and_proxy::<B>().await;
    let direct = open_plain::<B>(&[server.endpoint()]).await;
    const KEYS: usize = 300;
    for number in 0..KEYS {
        direct.put(format!("k/{number:03}"), vec![b'v'; bytes]).await.unwrap();
    }
    let store = open_hurried::<B>(&proxy).await;
    let mut pairs = store.list_opts(&key("k"), ListOptions::default());
    pairs.next().await.unwrap().unwrap();
    proxy.set_both(Flow::Stall);
    let mut given = 1;
    let late = loop {
        let (pair, took) = timed(pairs.next()).await;
        match pair.expect("the listing is not at its end") {
            Ok(_) => given += 1,
            error => break (error, took),
        }
    };
    assert_late("a further page", late, TIMEOUT);
    assert!(given < KEYS, "{given}");
    assert!(pairs.next().await.is_none());
}

/// Taking and giving back a lock ends in time when nobody answers.
pub(crate) async fn locks<B: Backend>() {
    let (_server, proxy) = server_and_proxy::<B>().await;
    let store = open_hurried::<B>(&proxy).await;
    let guard = store.new_lock("held", LockOptions::default()).unwrap().lock().await.unwrap();
    proxy.set_both(Flow::Stall);
    let lock = store.new_lock("other", LockOptions::default()).unwrap();
    for (what, taken) in
        [("lock", timed(lock.lock()).await), ("try_lock", timed(lock.try_lock()).await)]
    {
        assert_eq!(taken.0.as_ref().unwrap_err().kind(), ErrorKind::Timeout, "{what}");
        assert_late(what, taken, TIMEOUT);
    }
    assert_late("unlock", timed(guard.unlock()).await, TIMEOUT);
}

/// Closing ends in time when nobody answers.
pub(crate) async fn closing<B: Backend>() {
    let (_server, proxy) = server_and_proxy::<B>().await;
    for owned in ["nothing", "a session", "a lock"] {
        let store = open_hurried::<B>(&proxy).await;
        store.get("x").await.unwrap_err();
        let mut guard = None;
        match owned {
            "a session" => {
                store.put_opts(&key("e"), "".into(), Lifetime::Ephemeral.into()).await.unwrap();
            }
            "a lock" => {
                let lock = store.new_lock("k", LockOptions::default()).unwrap();
                guard = Some(lock.lock().await.unwrap());
            }
            _ => {}
        }
        proxy.set_both(Flow::Stall);
        let (closed, took) = timed(store.close()).await;
        match owned {
            "nothing" => closed.unwrap(),
            _ => assert_late(owned, (closed, took), TIMEOUT),
        }
        assert!(took < TIMEOUT + MARGIN);
        assert!(guard.is_none_or(|guard| !guard.is_held()));
        assert_eq!(store.get("x").await.unwrap_err().kind(), ErrorKind::Closed);
        proxy.set_both(Flow::Pass);
        proxy.reset();
    }
}
