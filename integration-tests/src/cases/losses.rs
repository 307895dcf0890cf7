//! Section 7 of the contract: how a lock is lost, and what its holder is told.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use libkv_core::{ErrorKind, LockGuard, LockOptions, StoreExt, WriteOptions};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::guards::assert_refused;
use super::locks::{long_lived, poll_once, take, try_take, with_ttl_near};
use crate::{Fixture, key};

/// Deleting the lock's key, a directory above it or everything takes the lock away and tells its
/// holder long before its time to live.
pub async fn a_deleted_lock_is_lost_at_once(f: &Fixture) {
    for dir in ["a/b/lock", "a/b", "a", "/"] {
        let guard = take(&f.store, "a/b/lock", long_lived(f)).await.expect("the lock is free");
        assert!(guard.is_held());
        let (early, in_task) = (guard.lost(), tokio::spawn(guard.lost()));
        f.other.delete_tree(dir).await.expect("a tree");
        let late = async { guard.lost().await };
        let reasons = [
            f.soon("the loss", early).await,
            f.soon("the loss", in_task).await.expect("the task ends well"),
            f.soon("the loss", late).await,
        ];
        for reason in reasons {
            assert_eq!(reason.kind(), ErrorKind::LockLost, "{reason}");
            assert_eq!(reason.key(), Some(&key("a/b/lock")), "{reason}");
            assert_eq!(reason.backend(), Some(f.store.backend()), "{reason}");
        }
        assert!(!guard.is_held());
        let error = guard.unlock().await.expect_err("the lock was lost");
        assert_eq!(error.kind(), ErrorKind::LockLost, "{error}");
    }
}

/// A holder that unlocks before it was told of the loss hears of it then, and so does who waits for
/// `lost`.
pub async fn an_unlock_right_after_the_loss_says_so(f: &Fixture) {
    for _ in 0..100 {
        let guard = take(&f.store, "d/lock", long_lived(f)).await.expect("the lock is free");
        let lost = guard.lost();
        f.other.delete_tree("d").await.expect("a tree");
        let error = f.soon("the answer", guard.unlock()).await.expect_err("the lock was lost");
        assert_eq!(error.kind(), ErrorKind::LockLost, "{error}");
        assert_eq!(f.soon("the loss", lost).await.kind(), ErrorKind::LockLost);
    }
}

/// The holder is told also when it deleted the lock itself, and then others get it.
pub async fn a_holder_that_deletes_its_own_lock_loses_it(f: &Fixture) {
    let guard = take(&f.store, "d/lock", long_lived(f)).await.expect("the lock is free");
    f.store.delete_tree("d").await.expect("a tree");
    f.soon("the loss", guard.lost()).await;
    assert!(!guard.is_held());
    let successor = f.soon("the lock", take(&f.other, "d/lock", long_lived(f))).await;
    successor.expect("the lock is free").unlock().await.expect("the lock is held");
}

/// Deleting a tree takes no lock whose name only begins like it, nor the lock on its parent.
pub async fn a_deleted_neighbour_loses_no_lock(f: &Fixture) {
    let mut kept = Vec::new();
    for name in ["a", "a/app-x", "a/apple", "a/apple/x", "b"] {
        kept.push(take(&f.store, name, long_lived(f)).await.expect("the lock is free"));
    }
    let lost = take(&f.store, "a/app/x", long_lived(f)).await.expect("the lock is free");
    f.other.delete_tree("a/app").await.expect("a tree");
    f.soon("the loss", lost.lost()).await;
    for guard in kept {
        assert!(guard.is_held(), "{guard:?}");
        let error = try_take(&f.other, guard.key().as_str()).await.expect_err("it is held");
        assert_eq!(error.kind(), ErrorKind::CannotLock, "{error}");
        guard.unlock().await.expect("the lock is held");
    }
}

/// After a loss the fence is refused and `unlock` is `LockLost`, and neither that nor dropping the
/// guard frees a successor's lock.
pub async fn a_lost_guard_can_do_nothing_to_its_successor(f: &Fixture) {
    for unlock in [true, false] {
        let guard = take(&f.store, "d/lock", long_lived(f)).await.expect("the lock is free");
        let fence = guard.fence();
        f.other.delete_tree("d").await.expect("a tree");
        f.soon("the loss", guard.lost()).await;
        assert_refused(f, &fence).await;
        let successor = f.soon("the lock", take(&f.other, "d/lock", long_lived(f))).await;
        let successor = successor.expect("the lock is free");
        assert!(successor.token() > guard.token());
        if unlock {
            let error = guard.unlock().await.expect_err("the lock was lost");
            assert_eq!(error.kind(), ErrorKind::LockLost, "{error}");
        } else {
            drop(guard);
        }
        assert_refused(f, &fence).await;
        let error = try_take(&f.store, "d/lock").await.expect_err("the successor holds");
        assert_eq!(error.kind(), ErrorKind::CannotLock, "{error}");
        assert_holds(f, &successor).await;
        successor.unlock().await.expect("the lock is held");
    }
}

async fn assert_holds(f: &Fixture, guard: &LockGuard) {
    assert!(guard.is_held());
    let fenced = WriteOptions::default().with_fence(guard.fence());
    f.store.put_opts(&key("fenced"), "1".into(), fenced).await.expect("the lock is held");
}

/// A waiter whose lock is deleted under its holder gets it, alone.
pub async fn a_waiter_outlasts_the_deletion_of_the_lock(f: &Fixture) {
    for round in 0..5 {
        let guard = take(&f.store, "d/lock", long_lived(f)).await.expect("the lock is free");
        let mut waiting = pin!(take(&f.other, "d/lock", long_lived(f)));
        assert!(poll_once(waiting.as_mut()).await.is_none(), "the lock is held");
        for _ in 0..round * 50 {
            tokio::task::yield_now().await;
        }
        f.store.delete_tree("d").await.expect("a tree");
        f.soon("the loss", guard.lost()).await;
        let waiter = f.soon("the waiter", waiting).await.expect("the lock is free");
        assert!(waiter.token() > guard.token());
        assert_holds(f, &waiter).await;
        let error = try_take(&f.store, "d/lock").await.expect_err("the waiter holds");
        assert_eq!(error.kind(), ErrorKind::CannotLock, "{error}");
        waiter.unlock().await.expect("the lock is held");
    }
}

/// Each guard is lost on its own: the handle's other locks and its ephemeral keys stay.
pub async fn one_loss_leaves_the_rest_of_the_handle(f: &Fixture) {
    let opts = WriteOptions::from(libkv_core::Lifetime::Ephemeral);
    f.store.put_opts(&key("mine"), "1".into(), opts).await.expect("an ephemeral put");
    let kept = take(&f.store, "kept", long_lived(f)).await.expect("the lock is free");
    let guard = take(&f.store, "lost", long_lived(f)).await.expect("the lock is free");
    let mut lost = pin!(kept.lost());
    f.other.delete_tree("lost").await.expect("a tree");
    f.soon("the loss", guard.lost()).await;
    assert!(poll_once(lost.as_mut()).await.is_none(), "another guard was told");
    assert_holds(f, &kept).await;
    assert!(f.other.exists("mine").await.expect("a read"));
    assert_eq!(f.store.state().get(), libkv_core::SessionState::Connected);
    kept.unlock().await.expect("the lock is held");
    assert!(f.other.exists("mine").await.expect("a read"), "a release ended the session");
}

/// Closing the handle ends its guards: they do not hold, their fences are refused, and others get
/// the locks at once.
pub async fn a_closed_handle_holds_no_lock(f: &Fixture) {
    let store = f.another().await;
    let guards = [
        take(&store, "lock", long_lived(f)).await.expect("the lock is free"),
        take(&store, "value", long_lived(f).with_value("v")).await.expect("the lock is free"),
    ];
    store.close().await.expect("a close");
    for guard in guards {
        let name = guard.key().as_str();
        let successor = f.soon("the lock", take(&f.other, name, LockOptions::default())).await;
        assert_refused(f, &guard.fence()).await;
        f.soon("the end of the guard", async {
            while guard.is_held() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert!(!f.store.exists(name).await.expect("a read"), "{name} is left");
        successor.expect("the lock is free").unlock().await.expect("the lock is held");
    }
}

/// A lock and an ephemeral key are kept beyond the time after which a silent holder would have
/// lost them.
pub async fn a_lock_is_kept_beyond_its_time_to_live(f: &Fixture) {
    let options = with_ttl_near(f, Duration::from_secs(2));
    let limits = f.store.capabilities().lock_ttl;
    let long_enough = limits.zip(options.ttl).map_or(Duration::from_secs(6), |(limits, ttl)| {
        (3 * ttl).max(limits.bound(ttl) + Duration::from_secs(1))
    });
    let opts = WriteOptions::from(libkv_core::Lifetime::Ephemeral);
    f.store.put_opts(&key("mine"), "1".into(), opts).await.expect("an ephemeral put");
    let guard = take(&f.store, "lock", options).await.expect("the lock is free");
    let end = Instant::now() + long_enough;
    while Instant::now() < end {
        assert!(guard.is_held());
        let error = try_take(&f.other, "lock").await.expect_err("the lock is held");
        assert_eq!(error.kind(), ErrorKind::CannotLock, "{error}");
        assert!(f.other.exists("mine").await.expect("a read"), "the session was not kept alive");
        tokio::time::sleep(long_enough / 20).await;
    }
    assert_holds(f, &guard).await;
    guard.unlock().await.expect("the lock is held");
}

/// A program of its own, as far as a store can tell: all its tasks run in one thread, which can be
/// paused.
#[derive(Debug)]
struct Program(Option<Runtime>);

impl Program {
    fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self(Some(runtime.expect("a runtime starts")))
    }

    /// Does something as this program: its tasks, timers and sockets are the program's.
    async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let runtime = self.0.as_ref().expect("the program runs");
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            let _inside = runtime.enter();
            work.as_mut().poll(cx)
        })
        .await
    }

    /// Stops the program's thread until the answer is dropped.
    async fn pause(&self) -> mpsc::Sender<()> {
        let (resume, resumed) = mpsc::channel();
        let (tell, paused) = oneshot::channel();
        self.0.as_ref().expect("the program runs").spawn(async move {
            tell.send(()).expect("the case waits");
            // It ends with the sender's end.
            let _ = resumed.recv();
        });
        paused.await.expect("the thread is alive");
        resume
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The holder of a lock falls silent: by the bound of its time to live another gets the lock, and
/// by then the holder's guard says that it does not hold, although nothing of its program ran. Once
/// it runs again it is told, and harms nobody.
pub async fn a_silent_holder_has_lost_before_another_holds(f: &Fixture) {
    let options = with_ttl_near(f, Duration::from_secs(2));
    let limits = f.store.capabilities().lock_ttl;
    let bound = limits.zip(options.ttl).map(|(limits, ttl)| limits.bound(ttl));
    let program = Program::start();
    let store = program.run(f.another()).await;
    let guard = program.run(take(&store, "lock", options.with_value("mine"))).await;
    let guard = guard.expect("the lock is free");
    assert!(guard.is_held());
    let paused = program.pause().await;

    let longest = bound.unwrap_or_default() + f.patience();
    let successor = tokio::time::timeout(longest, take(&f.other, "lock", long_lived(f))).await;
    let successor = successor.expect("the lock outlives its bound").expect("the lock is free");
    assert!(!guard.is_held(), "two holders at once");
    assert!(successor.token() > guard.token());
    assert_refused(f, &guard.fence()).await;
    let error = f.store.get("lock").await.expect_err("the successor has no value");
    assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");

    drop(paused);
    let reason = f.soon("the loss", guard.lost()).await;
    assert_eq!(reason.kind(), ErrorKind::LockLost, "{reason}");
    assert!(!guard.is_held());
    let error = f.soon("the answer", guard.unlock()).await.expect_err("the lock was lost");
    assert_eq!(error.kind(), ErrorKind::LockLost, "{error}");
    let error = try_take(&f.store, "lock").await.expect_err("the successor holds");
    assert_eq!(error.kind(), ErrorKind::CannotLock, "{error}");
    assert_holds(f, &successor).await;
    successor.unlock().await.expect("the lock is held");
    f.soon("the close", program.run(store.close())).await.expect("a close");
}

/// Where each guard has a session of its own, a silent holder of two locks loses only the one whose
/// time to live is over. For the backends that do so; it is not in the list.
pub async fn each_guard_ends_by_its_own_time_to_live(f: &Fixture) {
    let program = Program::start();
    let store = program.run(f.another()).await;
    let short = with_ttl_near(f, Duration::from_secs(2));
    let bound = f.store.capabilities().lock_ttl.zip(short.ttl).map(|(l, ttl)| l.bound(ttl));
    let short = program.run(take(&store, "short", short)).await.expect("the lock is free");
    let long = program.run(take(&store, "long", long_lived(f))).await.expect("the lock is free");
    let paused = program.pause().await;
    let longest = bound.expect("locks have a time to live") + f.patience();
    let successor = tokio::time::timeout(longest, take(&f.other, "short", long_lived(f))).await;
    let successor = successor.expect("the lock outlives its bound").expect("the lock is free");
    assert!(!short.is_held());
    assert!(long.is_held());
    let error = try_take(&f.other, "long").await.expect_err("the lock is held");
    assert_eq!(error.kind(), ErrorKind::CannotLock, "{error}");
    drop(paused);
    f.soon("the release", program.run(long.unlock())).await.expect("the lock is held");
    successor.unlock().await.expect("the lock is held");
    f.soon("the close", program.run(store.close())).await.expect("a close");
}
