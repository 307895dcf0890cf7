//! A tour of libkv over a folder of real files, in the embedded memory store: no server is needed,
//! the folder is only read, and every line it prints is what the store answered.
//!
//! ```text
//! cargo run -p libkv --example tour --features embedded -- /usr/share/zoneinfo
//! ```

mod changes;
mod folder;
mod listing;
mod owners;
mod show;
mod tree;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libkv::{EmbeddedStore, Key, KvPair, Result, Store};

use crate::show::Show;

/// What ends a tour early: an error of the store, of the folder or of the terminal.
type Failure = Box<dyn Error + Send + Sync>;

const USAGE: &str = "usage: cargo run -p libkv --example tour --features embedded -- FOLDER";

// Two threads, so that two tasks can meet on a machine with one core too.
#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let folder = match folder_argument() {
        Ok(folder) => folder,
        Err(reason) => {
            eprintln!("tour: {reason}; {USAGE}");
            return ExitCode::from(2);
        }
    };
    match tour(&folder).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if is_broken_pipe(&*failure) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tour: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn folder_argument() -> Result<PathBuf, String> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = match (arguments.next(), arguments.next()) {
        (Some(folder), None) if !folder.is_empty() => PathBuf::from(folder),
        (_, Some(_)) => return Err("one folder at a time".to_owned()),
        _ => return Err("which folder?".to_owned()),
    };
    match std::fs::metadata(&folder) {
        Ok(found) if found.is_dir() => Ok(folder),
        Ok(_) => Err(format!("{folder:?} is no folder")),
        Err(error) => Err(format!("{folder:?}: {error}")),
    }
}

/// Whoever reads the output has seen enough, as `head` does.
fn is_broken_pipe(failure: &(dyn Error + Send + Sync + 'static)) -> bool {
    let error = failure.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn tour(folder: &Path) -> Result<(), Failure> {
    // `libkv::open("mem:")` gives the same kind of store. Opened by its own type, it can also give
    // a second handle, which is to it what a second program is to a server.
    let first = EmbeddedStore::memory().await?;
    let second: Arc<dyn Store> = Arc::new(first.new_handle().await?);
    let store: Arc<dyn Store> = Arc::new(first);
    let mut show = Show::begin(&*store, folder)?;

    listing::load(&mut show, &*store, folder).await?;
    let pairs = listing::draw(&mut show, &*store).await?;
    let Some(before) = pairs.first() else {
        return Err(
            format!("nothing in {folder:?} could be loaded, so there is no more to show").into()
        );
    };
    listing::turn_pages(&mut show, &*store, &pairs).await?;
    let own = free_name(&pairs)?;
    let mut events = changes::begin_watch(&mut show, &*store).await?;
    changes::compare_and_set(&mut show, &store, &mut events, before).await?;
    changes::update(&mut show, &store, &mut events, &own.join("counter")?).await?;
    changes::transact(&mut show, &*store, before, &own).await?;
    changes::delete(&mut show, &*store, &mut events, &before.key).await?;

    owners::hand_over_a_lock(&mut show, &*store, &second, &own).await?;
    owners::outlive_a_ttl(&mut show, &*store, &mut events, &own.join("notice")?).await?;
    owners::end_a_session(&mut show, &*store, &*second, &mut events, &own.join("member")?).await?;
    show.end(&*store).await
}

/// A name that no file has, for the tour's own keys.
fn free_name(pairs: &[KvPair]) -> Result<Key> {
    let is_free =
        |name: &Key| !pairs.iter().any(|pair| pair.key == *name || pair.key.is_below(name));
    let mut name = Key::new("tour")?;
    for number in 2.. {
        if is_free(&name) {
            break;
        }
        name = Key::new(&format!("tour-{number}"))?;
    }
    Ok(name)
}
