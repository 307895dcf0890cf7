//! The store in a file beside redb by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use libkv_embedded::EmbeddedStore;

use crate::lab::{Done, Lab};
use crate::load;
use crate::memory::counted;
use crate::peak::{LARGE, prepared};
use crate::sides::{Bare, Name, Ours, Side};
use crate::table::{Aim, Unit};

/// These fit into the memory that both sides have for a file's pages.
const KEYS: usize = 20_000;
const LISTED_KEYS: usize = 100_000;
const GETS: usize = 64_000;
/// How many puts a task does at one after the other.
const PUTS: usize = 64;
const PUTS_OF_64_TASKS: usize = 64 * 20;
/// Nine tenths of the other side's speed.
const GET_AIM: Aim = Aim::Ratio(1.0 / 0.9);
/// Ten times the other side's speed.
const PUT_AIM: Aim = Aim::Ratio(0.1);

pub(crate) fn measure(lab: &mut Lab, dir: &Path) -> Done {
    if !lab.wants_some_of("file") {
        return Ok(());
    }
    let ours = open(lab, &dir.join("ours"))?;
    let bare = Bare::open(&dir.join("bare"))?;
    let names = load::names(KEYS)?;
    lab.run(load::fill(ours.clone(), names.clone()))?;
    lab.run(load::fill(bare.clone(), names.clone()))?;
    for tasks in [1, 64] {
        lab.compare(
            &format!("file get, {} (redb, value copied)", counted(tasks)),
            Unit::Seconds,
            GET_AIM,
            |lab| lab.run(load::gets(ours.clone(), names.clone(), tasks, GETS)),
            |lab| lab.run(load::gets(bare.clone(), names.clone(), tasks, GETS)),
        )?;
    }
    lab.compare(
        "file get, 1 task (redb, value left in place)",
        Unit::Seconds,
        Aim::Nothing,
        |lab| lab.run(load::gets(ours.clone(), names.clone(), 1, GETS)),
        |lab| lab.run(load::gets(bare.without_copies(), names.clone(), 1, GETS)),
    )?;
    for (tasks, aim, our_puts) in [(1, Aim::Nothing, PUTS), (64, PUT_AIM, PUTS_OF_64_TASKS)] {
        lab.compare(
            &format!("file put, {} (redb, a commit a put)", counted(tasks)),
            Unit::Seconds,
            aim,
            |lab| lab.run(load::puts(ours.clone(), names.clone(), tasks, our_puts)),
            |lab| lab.run(load::puts(bare.clone(), names.clone(), tasks, PUTS)),
        )?;
    }
    lab.compare(
        "file put, 64 tasks (redb, 64 puts a commit)",
        Unit::Seconds,
        Aim::Nothing,
        |lab| lab.run(load::puts(ours.clone(), names.clone(), 64, PUTS_OF_64_TASKS)),
        |lab| lab.run(load::batches(bare.clone(), names.clone(), 64, PUTS_OF_64_TASKS)),
    )?;
    let names = load::names(LISTED_KEYS)?;
    lab.run(load::fill(ours.clone(), names.clone()))?;
    lab.run(load::fill(bare.clone(), names))?;
    lab.compare(
        "file list of 100,000 keys (redb)",
        Unit::Seconds,
        Aim::Nothing,
        |lab| lab.run(load::list(ours.clone(), LISTED_KEYS)),
        |lab| lab.run(load::list(bare.clone(), LISTED_KEYS)),
    )?;
    close(lab, ours)?;
    drop(bare);
    opening(lab, dir)
}

fn opening(lab: &mut Lab, dir: &Path) -> Done {
    let name = "file open, with 1,000,000 keys, and get one";
    if !lab.wants_some_of(name) {
        return Ok(());
    }
    let (ours, bare) = prepared(lab, dir, LARGE)?;
    let names = load::names(1)?;
    lab.compare(
        name,
        Unit::Seconds,
        Aim::Nothing,
        |lab| {
            let start = Instant::now();
            let store = open(lab, &ours)?;
            let took = got_one(lab, store.clone(), &names, start)?;
            close(lab, store)?;
            Ok(took)
        },
        |lab| {
            let start = Instant::now();
            let database = Bare::open(&bare)?;
            got_one(lab, database, &names, start)
        },
    )
}

fn got_one(lab: &Lab, side: impl Side, names: &Arc<[Name]>, start: Instant) -> Done<f64> {
    lab.run(load::gets(side, names.clone(), 1, 1))?;
    Ok(start.elapsed().as_secs_f64())
}

/// A store of ours in a file.
pub(crate) fn open(lab: &Lab, path: &Path) -> Done<Ours> {
    let path = path.to_owned();
    lab.run(async { Ok(Ours(Arc::new(EmbeddedStore::file(path).await?))) })
}

/// Closes a store, so that its file can be opened again.
pub(crate) fn close(lab: &Lab, ours: Ours) -> Done {
    lab.run(async move { Ok(ours.0.close().await?) })
}
