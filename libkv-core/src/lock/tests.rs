//! The keeper, held to its word by a session without a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::*;

const TOY: BackendName = BackendName::new("toy");
const TTL: Duration = Duration::from_secs(10);

/// What a toy session does, and what was done to it.
#[derive(Debug, Default)]
struct Script {
    /// Yields this often before it obtains; `usize::MAX` never obtains.
    acquire_polls: usize,
    attempts: AtomicUsize,
    refuse_with: Option<ErrorKind>,
    lose_on: Notify,
    panic_in_keep: bool,
    releases: AtomicUsize,
    release_holds: Option<Notify>,
    released: Notify,
    release_with: Option<ErrorKind>,
}

#[derive(Debug)]
struct Toy(Arc<Script>);

#[async_trait]
impl LockSession for Toy {
    async fn acquire(&mut self, _wait: Wait) -> Result<Held> {
        self.0.attempts.fetch_add(1, Ordering::SeqCst);
        let until = Deadline::at(tokio_now() + TTL);
        for _ in 0..self.0.acquire_polls {
            tokio::task::yield_now().await;
        }
        if let Some(kind) = self.0.refuse_with {
            return Err(Error::new(kind, TOY, "lock"));
        }
        let key = Key::new("k").unwrap();
        Ok(Held::new(FencingToken::new(1), Fence::new(TOY, key, FencingToken::new(1), "n"), until))
    }

    async fn keep(&mut self) -> Error {
        assert!(!self.0.panic_in_keep, "the toy was told to");
        self.0.lose_on.notified().await;
        Error::new(ErrorKind::LockLost, TOY, "lock").with_detail("deleted by others")
    }

    async fn release(&mut self) -> Result<()> {
        if let Some(hold) = &self.0.release_holds {
            hold.notified().await;
        }
        self.0.releases.fetch_add(1, Ordering::SeqCst);
        self.0.released.notify_one();
        match self.0.release_with {
            Some(kind) => Err(Error::new(kind, TOY, "unlock")),
            None => Ok(()),
        }
    }

    fn again(&self) -> Box<dyn LockSession> {
        Box::new(Self(self.0.clone()))
    }
}

fn lock(script: &Arc<Script>) -> Lock {
    Lock::new(TOY, Key::new("k").unwrap(), Wait::Forever, Box::new(Toy(script.clone())))
}

#[tokio::test(start_paused = true)]
async fn a_lock_future_dropped_at_any_poll_releases_what_it_began() {
    for polls in 0..6 {
        let script = Arc::new(Script { acquire_polls: 3, ..Script::default() });
        let lock = lock(&script);
        let mut locking = Box::pin(lock.lock());
        let mut obtained = false;
        for _ in 0..polls {
            tokio::task::yield_now().await;
            obtained |= futures_util::poll!(&mut locking).is_ready();
            if obtained {
                break;
            }
        }
        drop(locking);
        if polls > 0 {
            script.released.notified().await;
            assert_eq!(script.releases.load(Ordering::SeqCst), 1, "after {polls} polls");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_attempt_begins_with_the_first_poll_so_that_who_asks_first_is_first() {
    let script = Arc::new(Script { acquire_polls: usize::MAX, ..Script::default() });
    let lock = lock(&script);
    let (mut first, mut second) = (Box::pin(lock.lock()), Box::pin(lock.lock()));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert_eq!(script.attempts.load(Ordering::SeqCst), 1);
    assert!(futures_util::poll!(&mut second).is_pending());
    assert_eq!(script.attempts.load(Ordering::SeqCst), 2);
    drop(first);
    script.released.notified().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_guard_releases_once_and_unlock_waits_for_it() {
    let script = Arc::new(Script::default());
    drop(lock(&script).lock().await.unwrap());
    script.released.notified().await;
    let guard = lock(&script).lock().await.unwrap();
    assert!(guard.is_held());
    guard.unlock().await.unwrap();
    assert_eq!(script.releases.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_unlock_still_releases() {
    let script = Arc::new(Script { release_holds: Some(Notify::new()), ..Script::default() });
    let guard = lock(&script).lock().await.unwrap();
    let mut unlocking = Box::pin(guard.unlock());
    assert!(futures_util::poll!(&mut unlocking).is_pending());
    drop(unlocking);
    script.release_holds.as_ref().unwrap().notify_one();
    script.released.notified().await;
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_to_everybody_and_unlock_says_so() {
    let script = Arc::new(Script::default());
    let guard = lock(&script).lock().await.unwrap();
    let (first, second) = (guard.lost(), guard.lost());
    script.lose_on.notify_one();
    assert!(first.await.to_string().contains("deleted by others"));
    assert_eq!(second.await.kind(), ErrorKind::LockLost);
    assert!(!guard.is_held());
    assert_eq!(guard.unlock().await.unwrap_err().kind(), ErrorKind::LockLost);
}

#[tokio::test(start_paused = true)]
async fn without_a_renewal_the_deadline_is_the_loss() {
    let script = Arc::new(Script::default());
    let guard = lock(&script).lock().await.unwrap();
    let start = tokio_now();
    let lost = guard.lost();
    assert_eq!(lost.await.kind(), ErrorKind::LockLost);
    // Timers of Tokio tick in milliseconds.
    let took = tokio_now() - start;
    assert!(took <= TTL + Duration::from_millis(1), "{took:?}");
    assert!(!guard.is_held());
}

#[tokio::test(start_paused = true)]
async fn is_held_is_right_before_the_keeper_has_run_again() {
    let script = Arc::new(Script::default());
    let guard = lock(&script).lock().await.unwrap();
    guard.held.valid_until.expire();
    assert!(!guard.is_held());
    assert_eq!(guard.unlock().await.unwrap_err().kind(), ErrorKind::LockLost);
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_dies_counts_as_lost() {
    let script = Arc::new(Script { panic_in_keep: true, ..Script::default() });
    let guard = lock(&script).lock().await.unwrap();
    assert_eq!(guard.lost().await.kind(), ErrorKind::LockLost);
    assert!(!guard.is_held());
    assert_eq!(guard.unlock().await.unwrap_err().kind(), ErrorKind::LockLost);
}

#[tokio::test(start_paused = true)]
async fn releasing_is_not_losing() {
    let script = Arc::new(Script::default());
    let guard = lock(&script).lock().await.unwrap();
    let lost = guard.lost();
    guard.unlock().await.unwrap();
    assert!(tokio::time::timeout(10 * TTL, lost).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_only_the_release_finds_is_told_too() {
    let release_with = Some(ErrorKind::LockLost);
    let script = Arc::new(Script { release_with, ..Script::default() });
    let guard = lock(&script).lock().await.unwrap();
    let lost = guard.lost();
    assert_eq!(guard.unlock().await.unwrap_err().kind(), ErrorKind::LockLost);
    assert_eq!(lost.await.kind(), ErrorKind::LockLost);
}

#[tokio::test(start_paused = true)]
async fn a_refused_place_is_tidied_before_the_caller_knows() {
    let refuse_with = Some(ErrorKind::CannotLock);
    let script = Arc::new(Script { refuse_with, ..Script::default() });
    let error = lock(&script).try_lock().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotLock);
    assert_eq!(script.releases.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_fate_is_unknown_is_not_obtained_and_tidied_up() {
    let refuse_with = Some(ErrorKind::OutcomeUnknown);
    let script = Arc::new(Script { refuse_with, ..Script::default() });
    let error = lock(&script).lock().await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Timeout, Some(&Key::new("k").unwrap())));
    assert!(std::error::Error::source(&error).is_some(), "{error:?}");
    script.released.notified().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_does_not_make_the_caller_wait_for_the_tidying() {
    let script = Arc::new(Script {
        refuse_with: Some(ErrorKind::Timeout),
        release_holds: Some(Notify::new()),
        ..Script::default()
    });
    let error = lock(&script).lock().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    script.release_holds.as_ref().unwrap().notify_one();
    script.released.notified().await;
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let script = Arc::new(Script::default());
    let lock = lock(&script);
    let mut locking = Box::pin(lock.lock());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(answer) = locking.as_mut().poll(&mut cx) else {
        panic!("it must be refused at once");
    };
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Other);
}
