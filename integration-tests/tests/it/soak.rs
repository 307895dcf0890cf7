//! Tests that can go on for long, and repeat what they did.

#![allow(clippy::unwrap_used, reason = "this is for tests")]

const ROUNDS: &str = "LIBKV_SOAK_ROUNDS";
const SEED: &str = "LIBKV_SOAK_SEED";

/// How often a test does the same, and what its random numbers come from.
pub(crate) struct Soak {
    pub(crate) rounds: usize,
    pub(crate) random: fastrand::Rng,
}

impl Soak {
    /// So many rounds, or as many as `LIBKV_SOAK_ROUNDS` says; `LIBKV_SOAK_SEED` repeats a run.
    #[allow(clippy::print_stdout, reason = "the numbers are to be seen")]
    pub(crate) fn of(what: &str, rounds: usize) -> Self {
        let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let rounds = number(ROUNDS).map_or(rounds, |rounds| usize::try_from(rounds).unwrap());
        let seed = number(SEED).unwrap_or_else(|| fastrand::u64(..));
        println!("soak: {what}: {rounds} rounds with {SEED}={seed}");
        Self { rounds, random: fastrand::Rng::with_seed(seed) }
    }
}
