use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::{Id, Path};

/// A point in time on the store's own monotonic clock, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(u64);

impl Time {
    pub(crate) fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Tokio's clock, counted from the opening of the store, so that a test can pause it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { base: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        Time(0).after(self.base.elapsed())
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.base + Duration::from_nanos(time.0)
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
