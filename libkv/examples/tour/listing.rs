use std::path::Path;
use std::time::{Duration, Instant};

use libkv::{Key, KvPair, ListOptions, Result, Store, StoreExt};

use crate::show::{Show, count};
use crate::{Failure, folder, tree};

const LEFT_OUT_SHOWN: usize = 4;
const PAGE: usize = 3;

/// Puts every file of a folder.
pub(crate) async fn load(show: &mut Show, store: &dyn Store, path: &Path) -> Result<(), Failure> {
    show.step("Load: the bytes of each file are put under its path below the folder.")?;
    let begun = Instant::now();
    let found = folder::read(path, store.capabilities().max_value_bytes)?;
    let reading = begun.elapsed();
    let (keys, bytes) = (count(found.files.len(), "key"), count(found.bytes, "byte"));

    let begun = Instant::now();
    for (key, value) in found.files {
        store.put(key, value).await?;
    }
    let (reading, putting) = (seconds(reading), seconds(begun.elapsed()));
    show.line(format_args!("{keys}, {bytes}; read in {reading}, put in {putting}"))?;

    if found.cut_short {
        show.line("this is as much as a tour takes; the rest of the folder was not looked at")?;
    }
    if !found.left_out.is_empty() {
        show.line(format_args!("{} left out:", count(found.left_out.len(), "name")))?;
    }
    for (path, reason) in found.left_out.iter().take(LEFT_OUT_SHOWN) {
        show.line(format_args!("  {path:?}: {reason}"))?;
    }
    if let Some(more) = found.left_out.len().checked_sub(LEFT_OUT_SHOWN).filter(|more| *more > 0) {
        show.line(format_args!("  … and {more} more"))?;
    }
    Ok(())
}

/// Lists everything and draws it as a tree.
pub(crate) async fn draw(show: &mut Show, store: &dyn Store) -> Result<Vec<KvPair>, Failure> {
    show.step("List: one call reads all keys with their values, at one point in time.")?;
    let pairs = store.list(Key::root()).await?;
    show.line(format_args!("{} ({})", Key::root(), count(pairs.len(), "key")))?;
    for line in tree::draw(&pairs) {
        show.line(line)?;
    }
    Ok(pairs)
}

/// Lists in pages, each beginning after the last key of the one before.
pub(crate) async fn turn_pages(
    show: &mut Show,
    store: &dyn Store,
    pairs: &[KvPair],
) -> Result<(), Failure> {
    show.step("Pages: keys come in the order of their bytes; a page begins after a given key.")?;
    if let [first, .., last] = pairs {
        let (first, last) = (&first.key, &last.key);
        show.line(format_args!("{}, from {first} to {last}", count(pairs.len(), "key")))?;
    }
    let mut options = ListOptions::default().with_limit(PAGE).with_keys_only();
    for page in 1..=2 {
        let pairs = store.list_opts(&Key::root(), options.clone()).collect_pairs().await?;
        let Some(last) = pairs.last() else { break };
        options = options.with_start_after(last.key.clone());
        let keys: Vec<_> = pairs.iter().map(|pair| pair.key.as_str()).collect();
        show.line(format_args!("page {page}: {}", keys.join(", ")))?;
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
