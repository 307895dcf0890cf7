use std::io::{BufRead as _, Write as _};

use clap::Args;
use libkv::{
    DeleteOptions, DeleteTreeOptions, ErrorKind, Expect, GetOptions, Key, ListOptions, Store,
    Version,
};

use crate::app::App;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::json::Pair;
use crate::output::{Format, Out};

/// Delete a key, or a key and everything below it
#[derive(Debug, Args)]
pub(crate) struct Del {
    /// The key; with --tree also / for the root
    #[arg(value_parser = input::directory)]
    key: Key,
    /// Only if the key still has this version
    #[arg(long, value_name = "VERSION", conflicts_with = "tree")]
    if_version: Option<Version>,
    /// Delete everything below the key too
    #[arg(long)]
    tree: bool,
    /// Do not ask
    #[arg(long, requires = "tree", conflicts_with = "dry_run")]
    yes: bool,
    /// Print the keys that would go, and delete nothing
    #[arg(long, requires = "tree")]
    dry_run: bool,
}

impl Del {
    pub(crate) async fn run(self, app: &App, out: &mut Out) -> Outcome {
        let forms: &[_] = if self.dry_run { &[Format::Json, Format::Jsonl] } else { &[] };
        let format = app.format("del", forms)?;
        if !self.tree {
            return self.delete_one(app).await;
        }
        if !self.yes && !self.dry_run && !input::can_ask() {
            return Err(Failure::usage(
                "del --tree asks first, and here is no terminal to ask on; add --yes or --dry-run",
            ));
        }
        let store = app.open().await?;
        if !self.yes {
            let keys = self.keys(app, &*store).await?;
            if self.dry_run {
                show(&keys, format, out).await?;
                return Ok(Exit::Done);
            }
            if !agreed(&self.key, keys.len(), &app.address().unwrap_or_default()) {
                return Err(Failure::failed("nothing was deleted"));
            }
        }
        let options = DeleteTreeOptions::default().with_deadline(app.deadline());
        store.delete_tree_opts(&self.key, options).await?;
        Ok(Exit::Done)
    }

    async fn delete_one(self, app: &App) -> Outcome {
        if self.key.is_root() {
            return Err(Failure::usage("the root is no key; add --tree to delete everything"));
        }
        let store = app.open().await?;
        let expect = self.if_version.map_or(Expect::Anything, Expect::Version);
        let options = DeleteOptions::from(expect).with_deadline(app.deadline());
        store.delete_opts(&self.key, options).await?;
        Ok(Exit::Done)
    }

    /// The keys that would go. An empty tree is fine, as it is for the deletion.
    async fn keys(&self, app: &App, store: &dyn Store) -> Outcome<Vec<Key>> {
        let mut keys = Vec::new();
        if !self.key.is_root() {
            let options = GetOptions::default().with_keys_only().with_deadline(app.deadline());
            match store.get_opts(&self.key, options).await {
                Ok(pair) => keys.push(pair.key),
                Err(error) if error.kind() == ErrorKind::KeyNotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut listing = store.list_opts(&self.key, ListOptions::default().with_keys_only());
        loop {
            match app.next_pair(&mut listing).await {
                Ok(Some(pair)) => keys.push(pair.key),
                Ok(None) => return Ok(keys),
                Err(failure) if failure.exit() == Exit::NotFound => return Ok(keys),
                Err(failure) => return Err(failure),
            }
        }
    }
}

async fn show(keys: &[Key], format: Format, out: &mut Out) -> Outcome<()> {
    if format.is_json() {
        let forms: Vec<_> = keys.iter().map(Pair::of_key).collect();
        return out.forms(format, &forms).await;
    }
    for key in keys {
        out.line(key).await?;
    }
    Ok(())
}

/// Asks on the terminal. Blocking is fine: nothing else happens meanwhile.
fn agreed(dir: &Key, keys: usize, store: &str) -> bool {
    let noun = if keys == 1 { "key" } else { "keys" };
    let _ = write!(std::io::stderr(), "delete {keys} {noun} at and below {dir} on {store}? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
