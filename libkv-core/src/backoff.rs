use std::time::Duration;

/// How long to wait before each further try: about twice as long each time, up to a cap.
///
/// A wait is a random time between half of its step and the whole, so that clients who lost the
/// same server do not come back in the same moment. Nothing sleeps here; that is the caller's.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    tries: u32,
}

impl Backoff {
    /// Begins with waits of at most `base`; none will be longer than `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, tries: 0 }
    }

    /// The next wait, where `random` is at least 0 and below 1; anything else counts as 0.
    pub fn next(&mut self, random: f64) -> Duration {
        let step = self.base.saturating_mul(2_u32.saturating_pow(self.tries)).min(self.cap);
        self.tries = self.tries.saturating_add(1);
        let random = if (0.0..1.0).contains(&random) { random } else { 0.0 };
        let half = step / 2;
        half.saturating_add(half.mul_f64(random)).min(step)
    }

    /// The next wait, by a random number of its own.
    pub fn next_jittered(&mut self) -> Duration {
        self.next(fastrand::f64())
    }

    /// Begins anew, as after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_double_up_to_the_cap_and_begin_anew() {
        let mut backoff = Backoff::new(100 * MS, 1_000 * MS);
        for (random, millis) in
            [(0.0, 50), (0.0, 100), (0.5, 300), (0.0, 400), (0.0, 500), (0.5, 750), (0.0, 500)]
        {
            assert_eq!(backoff.next(random), millis * MS);
        }
        backoff.reset();
        assert_eq!(backoff.next(0.5), 75 * MS);
    }

    #[test]
    fn a_number_out_of_range_counts_as_zero() {
        for random in [-0.1, 1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert_eq!(Backoff::new(100 * MS, 1_000 * MS).next(random), 50 * MS, "{random}");
        }
    }

    #[test]
    fn a_cap_below_the_base_wins() {
        assert_eq!(Backoff::new(100 * MS, 10 * MS).next(0.0), 5 * MS);
    }

    #[test]
    fn the_longest_times_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        backoff.tries = u32::MAX - 1;
        for _ in 0..3 {
            assert!(backoff.next(1.0_f64.next_down()) >= Duration::MAX / 2);
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_between_half_of_its_step_and_the_whole(
            base in 1_u64..10_000,
            cap in 1_u64..100_000,
            tries in 0_u32..200,
            random in 0.0..1.0,
        ) {
            let (base, cap) = (Duration::from_millis(base), Duration::from_millis(cap));
            let mut backoff = Backoff { base, cap, tries };
            let step = (0..tries.min(40)).fold(base, |step, _| (step * 2).min(cap)).min(cap);
            let wait = backoff.next(random);
            prop_assert!(step / 2 <= wait && wait <= step, "{:?} of {:?}", wait, step);
            let own = Backoff { base, cap, tries }.next_jittered();
            prop_assert!(step / 2 <= own && own <= step, "{:?} of {:?}", own, step);
        }
    }
}
