//! The store in memory beside a map with a lock.

use std::sync::Arc;

use libkv_embedded::EmbeddedStore;

use crate::lab::{Done, Lab};
use crate::load;
use crate::sides::{Map, Ours};
use crate::table::{Aim, Unit};

const KEYS: usize = 20_000;
const LISTED_KEYS: usize = 100_000;
const OPS: usize = 128_000;
const AIM: Aim = Aim::Ratio(1.5);

pub(crate) fn measure(lab: &mut Lab) -> Done {
    if !lab.wants_some_of("memory") {
        return Ok(());
    }
    let (ours, map) = (open(lab)?, Map::default());
    let names = load::names(KEYS)?;
    lab.run(load::fill(ours.clone(), names.clone()))?;
    lab.run(load::fill(map.clone(), names.clone()))?;
    for tasks in [1, 64] {
        lab.compare(
            &format!("memory get, {} (map)", counted(tasks)),
            Unit::Seconds,
            AIM,
            |lab| lab.run(load::gets(ours.clone(), names.clone(), tasks, OPS)),
            |lab| lab.run(load::gets(map.clone(), names.clone(), tasks, OPS)),
        )?;
    }
    for tasks in [1, 64] {
        lab.compare(
            &format!("memory put, {} (map)", counted(tasks)),
            Unit::Seconds,
            AIM,
            |lab| lab.run(load::puts(ours.clone(), names.clone(), tasks, OPS)),
            |lab| lab.run(load::puts(map.clone(), names.clone(), tasks, OPS)),
        )?;
    }
    let names = load::names(LISTED_KEYS)?;
    lab.run(load::fill(ours.clone(), names.clone()))?;
    lab.run(load::fill(map.clone(), names))?;
    lab.compare(
        "memory list of 100,000 keys (map)",
        Unit::Seconds,
        AIM,
        |lab| lab.run(load::list(ours.clone(), LISTED_KEYS)),
        |lab| lab.run(load::list(map.clone(), LISTED_KEYS)),
    )
}

/// A store in memory, empty.
pub(crate) fn open(lab: &Lab) -> Done<Ours> {
    lab.run(async { Ok(Ours(Arc::new(EmbeddedStore::memory().await?))) })
}

pub(crate) fn counted(tasks: usize) -> String {
    if tasks == 1 { "1 task".to_owned() } else { format!("{tasks} tasks") }
}
