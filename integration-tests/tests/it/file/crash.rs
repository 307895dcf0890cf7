//! A process that writes is killed at random moments: every acknowledged write is there, and none
//! is half there.

mod ledger;
mod steps;
mod writer;

use std::time::{Duration, Instant};

use super::child;
use super::{Place, run};
use crate::soak::Soak;
pub(super) use writer::write;

use ledger::Ledger;

/// One in so many rounds begins a new file.
const NEW_FILE: usize = 4;

#[test]
fn every_acknowledged_write_outlives_a_kill_and_none_is_half_there() {
    let (Soak { rounds, mut random }, begun) = (Soak::of("kills", 20), Instant::now());
    let mut totals = Totals::default();
    let mut place = Place::new();
    let mut ledger = Ledger::default();
    for round in 0..rounds {
        if round % NEW_FILE == 0 {
            totals.add(&ledger);
            (place, ledger) = (Place::new(), Ledger::default());
        }
        kill_some(&place, &mut ledger, &mut random, &mut totals);
        run(ledger.check(&place.file()));
    }
    totals.add(&ledger);
    println!("soak: kills: {totals} in {:.0?}", begun.elapsed());
    assert!(totals.acknowledged > 0, "nothing was ever written");
}

/// Kills a process while it writes, and perhaps others while they open what it left.
fn kill_some(place: &Place, ledger: &mut Ledger, random: &mut fastrand::Rng, totals: &mut Totals) {
    if ledger.acknowledged == 0 && random.bool() {
        kill_while_opening(place, random, totals);
    }
    let child = child::start("write", &place.file(), &ledger.words());
    assert_eq!(child.line(), "opening");
    ledger.note(&child.line());
    std::thread::sleep(Duration::from_micros(random.u64(..300_000)));
    child.kill().iter().for_each(|line| ledger.note(line));
    ledger.end_of_process();
    totals.kills += 1;
    for _ in 0..random.usize(..=2) {
        kill_while_opening(place, random, totals);
    }
}

fn kill_while_opening(place: &Place, random: &mut fastrand::Rng, totals: &mut Totals) {
    let child = child::start("hold", &place.file(), "");
    assert_eq!(child.line(), "opening");
    std::thread::sleep(Duration::from_micros(random.u64(..15_000)));
    totals.kills += 1;
    totals.while_opening += usize::from(child.kill().is_empty());
}

#[derive(Debug, Default)]
struct Totals {
    kills: usize,
    while_opening: usize,
    acknowledged: usize,
    files: usize,
}

impl Totals {
    fn add(&mut self, ledger: &Ledger) {
        self.acknowledged += ledger.acknowledged;
        self.files += usize::from(ledger.acknowledged > 0);
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kills, while_opening, acknowledged, files } = self;
        write!(
            f,
            "{kills} kills, {while_opening} of them while opening; {acknowledged} acknowledged \
             writes in {files} files, none lost and none half there"
        )
    }
}
