use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Where a handle's session stands. The session owns the handle's ephemeral keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionState {
    /// No session yet: nothing ephemeral was put.
    Idle,
    /// The server confirmed the session in time.
    Connected,
    /// Not sure: stop acting as an owner until it is `Connected` again.
    Suspended,
    /// The session is over and its ephemeral keys are gone.
    Lost,
}

/// A session's life by our own monotonic clock: it ends before the server can end it.
///
/// A pure state machine: the caller passes the time and does the talking.
#[derive(Debug, Clone)]
pub struct Session {
    ttl: Duration,
    confirmed_sent: Instant,
    suspended: bool,
    lost: bool,
}

impl Session {
    /// A session that the server opened with `ttl`, by a request that was sent at `sent`.
    pub fn opened(sent: Instant, ttl: Duration) -> Self {
        Self { ttl: ttl.min(LONGEST_TTL), confirmed_sent: sent, suspended: false, lost: false }
    }

    /// A renewal that was sent at `sent` was confirmed, with the time to live that the server
    /// gives from then on.
    ///
    /// Too late is too late: a session that is lost at `now` stays lost. A confirmation that
    /// arrives out of order never shortens the life.
    pub fn confirmed(&mut self, sent: Instant, ttl: Duration, now: Instant) {
        if self.state(now) == SessionState::Lost {
            self.lost = true;
            return;
        }
        if sent >= self.confirmed_sent {
            self.confirmed_sent = sent;
            self.ttl = ttl.min(LONGEST_TTL);
        }
        self.suspended = false;
    }

    /// The connection is down, or a renewal failed.
    pub fn suspend(&mut self) {
        self.suspended = true;
    }

    /// The server said that the session is over.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// When it ends unless it is renewed.
    pub fn deadline(&self) -> Instant {
        self.confirmed_sent + self.ttl
    }

    /// Where it stands at `now`.
    pub fn state(&self, now: Instant) -> SessionState {
        if self.lost || now >= self.deadline() {
            SessionState::Lost
        } else if self.suspended {
            SessionState::Suspended
        } else {
            SessionState::Connected
        }
    }

    /// When to send the next renewal: a third of the time to live after the last good one, so that
    /// several tries fit in.
    pub fn next_renewal(&self) -> Instant {
        self.confirmed_sent + self.ttl / 3
    }
}

/// A point in time that one side moves and any other reads, without waiting.
#[derive(Clone)]
pub struct Deadline(Arc<DeadlineInner>);

struct DeadlineInner {
    base: Instant,
    /// Nanoseconds after `base`; 0 is over for good.
    nanos: AtomicU64,
}

impl Deadline {
    /// A deadline at `at`.
    pub fn at(at: Instant) -> Self {
        // One nanosecond back, so that a deadline of now is not the mark for "over".
        let base = tokio_now().min(at) - Duration::from_nanos(1);
        let nanos = AtomicU64::new(nanos_between(base, at));
        Self(Arc::new(DeadlineInner { base, nanos }))
    }

    /// Moves the deadline to `at` if that is later and the deadline is not over for good.
    pub fn extend_to(&self, at: Instant) {
        let later = nanos_between(self.0.base, at);
        let extend = |nanos: u64| (nanos != 0).then_some(nanos.max(later));
        // Refused only when it is over, which is final.
        let _ = self.0.nanos.fetch_update(Ordering::AcqRel, Ordering::Acquire, extend);
    }

    /// Ends it for good.
    pub fn expire(&self) {
        self.0.nanos.store(0, Ordering::Release);
    }

    /// Whether it is over at `now`.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.instant()
    }

    /// Where it stands.
    pub fn instant(&self) -> Instant {
        self.0.base + Duration::from_nanos(self.0.nanos.load(Ordering::Acquire))
    }
}

/// The time by Tokio's clock, which a test can pause.
pub(crate) fn tokio_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn nanos_between(base: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(base).as_nanos()).unwrap_or(u64::MAX).max(1)
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deadline").field(&self.instant()).finish()
    }
}

/// What a longer time to live is taken for: it is the server's word, and adding it to a point in
/// time must not overflow.
const LONGEST_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A handle's session state, to look at or to wait for.
#[derive(Debug, Clone)]
pub struct StateWatch(watch::Receiver<SessionState>);

impl StateWatch {
    /// The state now.
    pub fn get(&self) -> SessionState {
        *self.0.borrow()
    }

    /// Waits for a change and returns the new state; `None` once the handle is gone. Quick changes
    /// may be folded into the newest.
    ///
    /// # Cancel safety
    ///
    /// Safe: a change that nobody was told is told by the next call.
    pub async fn changed(&mut self) -> Option<SessionState> {
        self.0.changed().await.ok()?;
        Some(*self.0.borrow_and_update())
    }

    /// Waits until the state is `wanted`; false if the handle is gone first.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn wait_for(&mut self, wanted: SessionState) -> bool {
        self.0.wait_for(|state| *state == wanted).await.is_ok()
    }
}

/// The side of a [`StateWatch`] that a backend holds.
#[derive(Debug)]
pub struct StateSender(watch::Sender<SessionState>);

impl StateSender {
    /// Tells everybody who watches, if it is news.
    pub fn set(&self, state: SessionState) {
        self.0.send_if_modified(|current| std::mem::replace(current, state) != state);
    }

    /// A new watch of the state.
    pub fn watch(&self) -> StateWatch {
        StateWatch(self.0.subscribe())
    }
}

impl Default for StateSender {
    fn default() -> Self {
        Self(watch::Sender::new(SessionState::Idle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(9);
    const S: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_deadline_counts_from_the_send_and_not_from_the_reply() {
        let start = tokio_now();
        let mut session = Session::opened(start, TTL);
        assert_eq!(session.next_renewal(), start + 3 * S);
        // Sent at 3 s, answered at 8 s: it holds until 12 s.
        session.confirmed(start + 3 * S, TTL, start + 8 * S);
        assert_eq!(session.deadline(), start + 12 * S);
        assert_eq!(
            session.state(start + 12 * S - Duration::from_nanos(1)),
            SessionState::Connected
        );
        assert_eq!(session.state(start + 12 * S), SessionState::Lost);
    }

    #[tokio::test(start_paused = true)]
    async fn a_confirmation_after_the_deadline_brings_nothing_back() {
        let start = tokio_now();
        let mut session = Session::opened(start, TTL);
        session.confirmed(start + 8 * S, TTL, start + 9 * S);
        assert_eq!(session.state(start + 9 * S), SessionState::Lost);
        assert_eq!(session.state(start + S), SessionState::Lost, "lost is final");
    }

    #[tokio::test(start_paused = true)]
    async fn suspended_heals_by_a_confirmation_and_lost_never() {
        let start = tokio_now();
        let mut session = Session::opened(start, TTL);
        session.suspend();
        assert_eq!(session.state(start + S), SessionState::Suspended);
        session.confirmed(start + S, TTL, start + 2 * S);
        assert_eq!(session.state(start + 2 * S), SessionState::Connected);
        // An older answer that comes late does not shorten the life.
        session.confirmed(start, TTL, start + 2 * S);
        assert_eq!(session.deadline(), start + 10 * S);
        session.lose();
        session.confirmed(start + 3 * S, TTL, start + 3 * S);
        assert_eq!(session.state(start + 3 * S), SessionState::Lost);
    }

    #[test]
    fn the_longest_time_to_live_does_not_overflow() {
        let start = Instant::now();
        let mut session = Session::opened(start, Duration::MAX);
        session.confirmed(start + S, Duration::MAX, start + S);
        assert!(session.deadline() > session.next_renewal());
        assert_eq!(session.state(start + 1_000_000 * S), SessionState::Connected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shared_deadline_is_over_at_its_time_and_for_good_when_expired() {
        let start = tokio_now();
        let deadline = Deadline::at(start + S);
        let other = deadline.clone();
        assert!(!other.is_over(tokio_now()));
        tokio::time::advance(S).await;
        assert!(other.is_over(tokio_now()));
        deadline.extend_to(start + 3 * S);
        assert!(!other.is_over(tokio_now()));
        deadline.extend_to(start + 2 * S);
        assert_eq!(other.instant(), start + 3 * S);
        deadline.expire();
        deadline.extend_to(start + 9 * S);
        assert!(other.is_over(start));
        assert!(Deadline::at(start).is_over(start));
    }

    #[tokio::test]
    async fn a_state_is_told_once() {
        let sender = StateSender::default();
        let mut watch = sender.watch();
        assert_eq!(watch.get(), SessionState::Idle);
        sender.set(SessionState::Connected);
        sender.set(SessionState::Connected);
        assert_eq!(watch.changed().await, Some(SessionState::Connected));
        drop(sender);
        assert_eq!(watch.changed().await, None);
    }
}
