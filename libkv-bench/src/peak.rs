//! The most memory that a process has, one process for each figure.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use libkv_embedded::EmbeddedStore;

use crate::lab::{Done, Lab, runtime};
use crate::load;
use crate::sides::{Bare, Map, Ours, Side};
use crate::table::{Aim, Unit};
use crate::{file, place};

/// What this program is called with as a child: the side, the number of keys, and a file.
pub(crate) const COMMAND: &str = "peak";

/// A file several times as large as the memory for its pages, and one four times that.
pub(crate) const SMALL: usize = 250_000;
pub(crate) const LARGE: usize = 1_000_000;
const MEMORY_KEYS: usize = 100_000;
const GETS: usize = 50_000;
const PUTS: usize = 64 * 20;
const BARE_PUTS: usize = 64;

pub(crate) fn measure(lab: &mut Lab, dir: &Path) -> Done {
    if !lab.wants_some_of("peak") {
        return Ok(());
    }
    lab.compare(
        "peak memory, memory store of 100,000 keys (map)",
        Unit::Bytes,
        Aim::Ratio(1.5),
        |_| peak("memory", MEMORY_KEYS, "".as_ref()),
        |_| peak("map", MEMORY_KEYS, "".as_ref()),
    )?;
    let (small, small_bare) = prepared(lab, dir, SMALL)?;
    let (large, large_bare) = prepared(lab, dir, LARGE)?;
    lab.compare(
        "peak memory, file of 250,000 keys (redb)",
        Unit::Bytes,
        Aim::Nothing,
        |_| peak("file", SMALL, &small),
        |_| peak("redb", SMALL, &small_bare),
    )?;
    lab.compare(
        "peak memory, file of 1,000,000 keys (redb)",
        Unit::Bytes,
        Aim::Nothing,
        |_| peak("file", LARGE, &large),
        |_| peak("redb", LARGE, &large_bare),
    )?;
    lab.compare(
        "peak memory, file of 1,000,000 (ours of 250,000)",
        Unit::Bytes,
        Aim::Ratio(1.2),
        |_| peak("file", LARGE, &large),
        |_| peak("file", SMALL, &small),
    )
}

/// A file of ours and one of redb with so many keys; made at the first call.
pub(crate) fn prepared(lab: &Lab, dir: &Path, keys: usize) -> Done<(PathBuf, PathBuf)> {
    let (ours, bare) = (dir.join(format!("ours-{keys}")), dir.join(format!("bare-{keys}")));
    if !ours.exists() {
        let names = load::names(keys)?;
        let store = file::open(lab, &ours)?;
        lab.run(load::fill(store.clone(), names.clone()))?;
        file::close(lab, store)?;
        lab.run(load::fill(Bare::open(&bare)?, names))?;
    }
    Ok((ours, bare))
}

/// Runs a workload in a process of its own and returns the most memory that it had.
fn peak(side: &str, keys: usize, file: &Path) -> Done<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args([COMMAND, side, &keys.to_string()]).arg(file).output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the process for {side} failed: {words}").into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Does the work of such a process.
pub(crate) fn child(side: &str, keys: usize, file: &Path) -> Done {
    let runtime = runtime()?;
    // On the runtime's own threads, as a program's tasks are.
    let file = file.to_owned();
    let work = match side {
        "memory" => runtime.spawn(async move {
            in_memory(Ours(Arc::new(EmbeddedStore::memory().await?)), keys).await
        }),
        "map" => runtime.spawn(in_memory(Map::default(), keys)),
        "file" => runtime.spawn(async move {
            let store = Ours(Arc::new(EmbeddedStore::file(file).await?));
            in_file(store.clone(), keys, PUTS).await?;
            Ok(store.0.close().await?)
        }),
        "redb" => runtime.spawn(in_file(Bare::open(&file)?, keys, BARE_PUTS)),
        _ => return Err(format!("what is the side {side:?}?").into()),
    };
    runtime.block_on(work)??;
    println!("{}", place::peak_memory()?);
    Ok(())
}

/// Everything is put and then overwritten.
async fn in_memory(side: impl Side, keys: usize) -> Done {
    let names = load::names(keys)?;
    load::fill(side.clone(), names.clone()).await?;
    load::fill(side, names).await
}

/// A file is walked through, read at random and written to, by many at once.
async fn in_file(side: impl Side, keys: usize, puts: usize) -> Done {
    let walked = side.walk().await?;
    if walked != keys {
        return Err(format!("walked through {walked} of {keys} keys").into());
    }
    let names = load::some_names(keys, GETS)?;
    load::gets(side.clone(), names.clone(), 64, GETS).await?;
    load::puts(side, names, 64, puts).await?;
    Ok(())
}
