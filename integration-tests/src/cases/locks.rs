//! Section 7 of the contract: taking a lock, waiting for it and giving up.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use libkv_core::{
    ErrorKind, FencingToken, Key, LockGuard, LockOptions, Result, Store, StoreExt, Wait,
};

use crate::Fixture;

/// Takes a lock as its options say.
pub(super) async fn take(
    store: &Arc<dyn Store>,
    key: &str,
    options: LockOptions,
) -> Result<LockGuard> {
    store.new_lock(key, options)?.lock().await
}

/// Takes a lock if it is free.
pub(super) async fn try_take(store: &Arc<dyn Store>, key: &str) -> Result<LockGuard> {
    store.new_lock(key, LockOptions::default())?.try_lock().await
}

/// Options of a lock that does not end by its time to live while a case waits for anything.
pub(super) fn long_lived(f: &Fixture) -> LockOptions {
    with_ttl_near(f, 10 * f.patience())
}

/// Options of a lock with the nearest time to live that the store takes, or without one.
pub(super) fn with_ttl_near(f: &Fixture, ttl: Duration) -> LockOptions {
    match f.store.capabilities().lock_ttl {
        Some(limits) => LockOptions::default().with_ttl(ttl.clamp(limits.min, limits.max)),
        None => LockOptions::default(),
    }
}

/// A lock is taken, is free as soon as `unlock` returned, and is taken again by the same `Lock`.
pub async fn a_lock_is_taken_given_back_and_taken_again(f: &Fixture) {
    let lock = f.store.new_lock("/a//lock/", LockOptions::default()).expect("a key");
    assert_eq!(lock.key().as_str(), "a/lock");
    for _ in 0..10 {
        let guard = f.soon("the lock", lock.lock()).await.expect("the lock is free");
        assert_eq!(guard.key(), lock.key());
        assert!(guard.is_held());
        guard.unlock().await.expect("the lock is held");
        let guard = try_take(&f.other, "a/lock").await.expect("the lock was given back");
        guard.unlock().await.expect("the lock is held");
    }
}

/// While a lock is held, nobody else gets it, neither from another handle nor from the holder's.
pub async fn a_lock_has_one_holder(f: &Fixture) {
    let lock = f.store.new_lock("lock", LockOptions::default()).expect("a key");
    let guard = lock.lock().await.expect("the lock is free");
    for attempt in [
        lock.try_lock().await,
        try_take(&f.store, "lock").await,
        try_take(&f.store.clone(), "lock").await,
        try_take(&f.other, "lock").await,
        take(&f.store, "lock", LockOptions::default().with_wait(Wait::Never)).await,
        take(&f.other, "lock", LockOptions::default().with_wait(Wait::Never)).await,
    ] {
        let error = attempt.expect_err("the lock is held");
        assert_eq!(error.kind(), ErrorKind::CannotLock, "{error}");
        assert!(error.changed_nothing(), "{error}");
    }
    assert!(guard.is_held());
    guard.unlock().await.expect("the lock is held");
}

/// Contenders from several handles, and several of one handle and of one `Lock`, are never in the
/// critical section together, and their tokens grow in the order in which they were there.
pub async fn contenders_never_overlap(f: &Fixture) {
    const ROUNDS: usize = 5;
    let inside = Arc::new(AtomicBool::new(false));
    let shared = Arc::new(f.store.new_lock("lock", LockOptions::default()).expect("a key"));
    let alone = [&f.store, &f.other, &f.another().await].map(|store| {
        let lock = store.new_lock("lock", LockOptions::default()).expect("a key");
        (Arc::new(lock), store.clone())
    });
    let sharing = std::iter::repeat_n((shared, f.store.clone()), 3);
    let contenders = alone.into_iter().chain(sharing).map(|(lock, store)| {
        let inside = inside.clone();
        tokio::spawn(async move {
            for _ in 0..ROUNDS {
                let guard = lock.lock().await.expect("the lock becomes free");
                assert!(!inside.swap(true, Ordering::SeqCst), "two holders at once");
                count_up(&store, guard.token()).await;
                assert!(inside.swap(false, Ordering::SeqCst), "two holders at once");
                guard.unlock().await.expect("the lock is held");
            }
        })
    });
    let contenders: Vec<_> = contenders.collect();
    let count = contenders.len() * ROUNDS;
    for contender in contenders {
        contender.await.expect("the contender ends well");
    }
    let counted = f.other.get("counter").await.expect("somebody counted").value;
    assert!(counted.starts_with(format!("{count} ").as_bytes()), "{counted:?} of {count}");
}

/// Adds one to the counter by a plain get and put, and notes the token, which must be the largest.
async fn count_up(store: &Arc<dyn Store>, token: FencingToken) {
    let value = match store.get("counter").await {
        Ok(pair) => String::from_utf8(pair.value.to_vec()).expect("a counter holds text"),
        Err(error) if error.kind() == ErrorKind::KeyNotFound => "0 0".to_owned(),
        Err(error) => panic!("{error}"),
    };
    let (count, last) = value.split_once(' ').expect("a count and a token");
    let (count, last): (u64, u64) = (count.parse().expect("a count"), last.parse().expect("one"));
    assert!(token > FencingToken::new(last), "token {token} after {last}");
    store.put("counter", format!("{} {token}", count + 1)).await.expect("a put");
}

/// Locks are by key: those on a key, its parent and its neighbours are held at the same time.
pub async fn locks_on_different_keys_do_not_meet(f: &Fixture) {
    let mut guards = Vec::new();
    for (turn, name) in ["a/b", "a", "ab", "a/b/c", "a/bc"].into_iter().enumerate() {
        let store = if turn % 2 == 0 { &f.store } else { &f.other };
        guards.push(try_take(store, name).await.expect("nobody locked this key"));
    }
    for guard in guards {
        assert!(guard.is_held());
        guard.unlock().await.expect("the lock is held");
    }
}

/// Waiters are served in the order in which they came, or, without fairness, all served.
pub async fn waiters_are_served_in_order_where_the_store_queues_them(f: &Fixture) {
    const WAITERS: usize = 6;
    // Nothing shows that a waiter is in the queue. A fair store serves them in order as soon as
    // they come far enough apart; one that is not hardly ever does.
    for apart in [20, 200, 2000].map(Duration::from_millis) {
        let guard = take(&f.store, "lock", long_lived(f)).await.expect("the lock is free");
        let (tell, mut served) = tokio::sync::mpsc::unbounded_channel();
        for waiter in 0..WAITERS {
            let store = if waiter % 2 == 0 { f.store.clone() } else { f.other.clone() };
            let tell = tell.clone();
            tokio::spawn(async move {
                let guard = take(&store, "lock", LockOptions::default()).await.expect("a lock");
                tell.send(waiter).expect("the case listens");
                guard.unlock().await.expect("the lock is held");
            });
            tokio::time::sleep(apart).await;
        }
        guard.unlock().await.expect("the lock is held");
        let mut order = Vec::new();
        for _ in 0..WAITERS {
            order.push(f.soon("the next waiter", served.recv()).await.expect("a waiter"));
        }
        if order.is_sorted() || !f.store.capabilities().fair_locks {
            order.sort();
            assert!(order.into_iter().eq(0..WAITERS));
            return;
        }
    }
    panic!("waiters are not served in order");
}

/// Who may not wait, or waits too long, gets `CannotLock` and leaves no place in the queue.
pub async fn a_refused_attempt_leaves_no_place(f: &Fixture) {
    const LONGEST: Duration = Duration::from_millis(200);
    let guard = take(&f.store, "lock", long_lived(f)).await.expect("the lock is free");
    for store in [&f.store, &f.other] {
        for wait in [Wait::Never, Wait::AtMost(Duration::ZERO), Wait::AtMost(LONGEST)] {
            let started = Instant::now();
            let attempt = take(store, "lock", LockOptions::default().with_wait(wait));
            let attempt = f.soon("the end of the wait", attempt).await;
            let error = attempt.expect_err("the lock is held");
            assert_eq!(error.kind(), ErrorKind::CannotLock, "{error}");
            assert!(error.changed_nothing(), "{error}");
            let waited = started.elapsed();
            assert!(wait != Wait::AtMost(LONGEST) || waited >= LONGEST, "{waited:?}");
        }
    }
    guard.unlock().await.expect("the lock is held");
    for store in [&f.other, &f.store] {
        let guard = try_take(store, "lock").await.expect("nobody is in the queue");
        guard.unlock().await.expect("the lock is held");
    }
}

/// A wait with an end gets a lock that becomes free before it.
pub async fn a_bounded_wait_gets_a_lock_that_becomes_free(f: &Fixture) {
    let guard = take(&f.store, "lock", long_lived(f)).await.expect("the lock is free");
    let options = LockOptions::default().with_wait(Wait::AtMost(f.patience()));
    let (store, first_poll) = (f.other.clone(), Arc::new(tokio::sync::Notify::new()));
    let polled = first_poll.clone();
    let waiter = tokio::spawn(async move {
        let mut locking = pin!(take(&store, "lock", options));
        assert!(poll_once(locking.as_mut()).await.is_none(), "the lock is held");
        polled.notify_one();
        locking.await
    });
    first_poll.notified().await;
    guard.unlock().await.expect("the lock is held");
    let guard = f.soon("the waiter", waiter).await.expect("the waiter ends well");
    guard.expect("the lock became free").unlock().await.expect("the lock is held");
}

/// Polls a future once.
pub(super) async fn poll_once<T>(
    mut future: std::pin::Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// At whatever moment the future of `lock` is dropped, on a free lock, behind a holder, or while
/// the holder leaves, others get the lock and nothing is left in the store.
pub async fn a_dropped_waiter_leaves_its_place(f: &Fixture) {
    const MOMENTS: u32 = 16;
    let started = Instant::now();
    let guard = take(&f.store, "d/lock", LockOptions::default()).await.expect("the lock is free");
    let usual = started.elapsed().max(Duration::from_micros(100));
    guard.unlock().await.expect("the lock is held");
    for moment in 0..MOMENTS {
        let after = usual * moment / (MOMENTS / 2);
        drop_waiter(f, after).await;
        assert_free(f).await;

        let guard = try_take(&f.other, "d/lock").await.expect("the lock is free");
        drop_waiter(f, after).await;
        guard.unlock().await.expect("the lock is held");
        assert_free(f).await;

        let guard = try_take(&f.other, "d/lock").await.expect("the lock is free");
        let (unlocked, ()) =
            futures_util::future::join(guard.unlock(), drop_waiter(f, after)).await;
        unlocked.expect("the lock is held");
        assert_free(f).await;
    }
    let error = f.other.list("d").await.expect_err("nothing is left");
    assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
}

/// Begins to take the lock with a value, and drops the future or what it gave after some time.
async fn drop_waiter(f: &Fixture, after: Duration) {
    let mut locking = pin!(take(&f.store, "d/lock", long_lived(f).with_value("waiting")));
    let started = Instant::now();
    // Tokio's timers are too coarse for a store in memory.
    while poll_once(locking.as_mut()).await.is_none() && started.elapsed() < after {
        tokio::task::yield_now().await;
    }
}

/// Somebody who waits gets the lock soon, long before a forgotten place would end by itself.
async fn assert_free(f: &Fixture) {
    let guard = f.soon("the lock", take(&f.other, "d/lock", LockOptions::default())).await;
    guard.expect("nobody holds the lock").unlock().await.expect("the lock is held");
    f.soon("the end of the dropped waiter's value", async {
        while f.other.exists("d/lock").await.expect("a read") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A waiter gives up when its own handle is closed, and the holder and the other waiters are not
/// disturbed.
pub async fn a_closed_handle_ends_its_waiters(f: &Fixture) {
    let guard = take(&f.other, "lock", long_lived(f)).await.expect("the lock is free");
    let store = f.another().await;
    let mut locking = pin!(take(&store, "lock", LockOptions::default()));
    assert!(poll_once(locking.as_mut()).await.is_none(), "the lock is held");
    store.close().await.expect("a close");
    let error = f.soon("the end of the wait", locking).await.expect_err("the handle was closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(guard.is_held());
    guard.unlock().await.expect("the lock is held");
    let guard = f.soon("the lock", take(&f.store, "lock", LockOptions::default())).await;
    guard.expect("nobody is in the queue").unlock().await.expect("the lock is held");
}

/// A lock makes no key: neither its own nor its parents, while it is held and afterwards.
pub async fn a_lock_makes_no_key(f: &Fixture) {
    let assert_nothing = async |when: &str| {
        for name in ["x", "x/y", "x/y/z"] {
            assert!(!f.other.exists(name).await.expect("a read"), "{name}, {when}");
            let error = f.other.list(name).await.expect_err("there is nothing");
            assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{name}, {when}: {error}");
        }
        assert_eq!(f.other.list(Key::root()).await.expect("the root exists"), [], "{when}");
    };
    let guard = take(&f.store, "x/y/z", LockOptions::default()).await.expect("the lock is free");
    assert_nothing("while it is held").await;
    guard.unlock().await.expect("the lock is held");
    assert_nothing("after the release").await;
}
