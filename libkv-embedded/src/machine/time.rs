use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::engine::{Id, Path};

/// A point in time on the store's own clock, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(u64);

impl Time {
    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) fn nanos(self) -> u64 {
        self.0
    }

    pub(crate) fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Tokio's monotonic clock, counted from the opening of the store, so that a test can pause it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Instant,
    /// What the clock showed at the base.
    start: Time,
}

impl Clock {
    /// A clock that begins at nought, for what ends with the process.
    pub(crate) fn start() -> Self {
        Self { base: Instant::now(), start: Time(0) }
    }

    /// A clock that begins at the time of day, for what outlives the process. It is monotonic from
    /// then on; a time of day that was changed meanwhile shows at the next opening.
    pub(crate) fn start_at_time_of_day() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let start = Time(0).after(since_epoch.unwrap_or_default());
        Self { base: Instant::now(), start }
    }

    pub(crate) fn now(&self) -> Time {
        self.start.after(self.base.elapsed())
    }

    /// When a time is, or was at the earliest at the opening.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.base + Duration::from_nanos(time.0.saturating_sub(self.start.0))
    }
}

/// The time of a turn: the same for all of it, and only looked at where it matters.
#[derive(Debug)]
pub(crate) struct Now {
    clock: Clock,
    time: OnceCell<Time>,
}

impl Now {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, time: OnceCell::new() }
    }

    pub(crate) fn get(&self) -> Time {
        *self.time.get_or_init(|| self.clock.now())
    }
}

/// What is due at some time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// The key is gone.
    Key(Path),
    /// The lock is lost.
    Lock(Id),
}

/// What is due, by time.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(Time, Due)>);

impl FromIterator<(Time, Due)> for Timers {
    fn from_iter<I: IntoIterator<Item = (Time, Due)>>(timers: I) -> Self {
        Self(timers.into_iter().collect())
    }
}

impl Timers {
    pub(crate) fn set(&mut self, time: Time, due: Due) {
        self.0.insert((time, due));
    }

    pub(crate) fn clear(&mut self, time: Time, due: Due) {
        self.0.remove(&(time, due));
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.0.first().map(|(time, _)| *time)
    }

    /// Takes the first that is due at `now`.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<Due> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, due)| due)
    }
}
