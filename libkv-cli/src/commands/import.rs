mod dry_run;
mod folder;
mod plan;
mod stream;
mod write;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use libkv::Key;

use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::forms::Form;
use crate::input::{self, Source};
use crate::output::{Format, Out};

use self::plan::Plan;

/// Write keys and values that `libkv export` or `consul kv export` wrote
#[derive(Debug, Args)]
#[command(after_help = "\
Everything is checked first: where anything is wrong, nothing is written. With DIR the keys are put
below it. Entries of Consul's form that are locks are left out, and its flags are not kept, which is
told.")]
#[command(override_usage = "libkv import [OPTIONS] [DIR] <FILE|->
       libkv import [OPTIONS] --dir <PATH> [DIR]")]
pub(crate) struct Import {
    /// Where to put the keys, and the file to read; - is standard input
    #[arg(value_name = "DIR|FILE|-", num_args = 0..=2)]
    places: Vec<OsString>,
    /// Load this folder instead: one key a file, named by its path below the folder
    #[arg(long = "dir", value_name = "PATH")]
    folder: Option<PathBuf>,
    /// What is read: JSON Lines, or the array that `consul kv export` writes [default: as it begins]
    #[arg(long, value_name = "FORM", conflicts_with = "folder")]
    format: Option<Form>,
    /// Leave out names that are no keys, and count them; without this nothing is written
    #[arg(long)]
    skip_foreign: bool,
    /// Print what is new, changed, same and gone, and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl Import {
    pub(crate) async fn run(self, app: &App, out: &mut Out) -> Outcome {
        let forms: &[_] = if self.dry_run { &[Format::Json, Format::Jsonl] } else { &[] };
        let format = app.format("import", forms)?;
        let dry_run = self.dry_run;
        let mut plan = self.plan().await?;
        plan.refuse_if_wrong()?;
        let store = app.open().await?;
        plan.check_limits(&store.capabilities());
        plan.refuse_if_wrong()?;
        plan.tell(app);
        match dry_run {
            true => dry_run::show(app, &*store, &plan, format, out).await,
            false => write::all(app, store, plan.entries).await,
        }
    }

    /// Reads everything before the store is opened.
    async fn plan(self) -> Outcome<Plan> {
        let mut places = self.places.into_iter();
        if let Some(folder) = self.folder {
            let dir = directory(places.next())?;
            if places.next().is_some() {
                return Err(Failure::usage("--dir names what is read; leave out the file"));
            }
            let mut plan = Plan::new(dir, folder.display().to_string(), self.skip_foreign);
            folder::read(&folder, &mut plan);
            return Ok(plan);
        }
        let (dir, file) = match (places.next(), places.next()) {
            (Some(file), None) => (None, file),
            (dir, Some(file)) => (dir, file),
            (None, None) => {
                return Err(Failure::usage("nothing to read; name a file, - or --dir PATH"));
            }
        };
        let dir = directory(dir)?;
        let (bytes, name) = if file == "-" {
            (Source::Input.read().await?, "standard input".to_owned())
        } else {
            let name = file.display().to_string();
            if name.starts_with('@') && !Path::new(&file).exists() {
                return Err(Failure::usage(format!("there is no file {name}; leave out the @")));
            }
            (Source::File(file.into()).read().await?, name)
        };
        let mut plan = Plan::new(dir, name, self.skip_foreign);
        stream::read(&bytes, self.format, &mut plan);
        Ok(plan)
    }
}

fn directory(text: Option<OsString>) -> Outcome<Key> {
    let Some(text) = text else { return Ok(Key::root()) };
    let wrong =
        |reason: &str| Failure::usage(format!("{text:?} is no directory of the store: {reason}"));
    let key = text.to_str().ok_or_else(|| wrong("it is not UTF-8"))?;
    input::directory(key).map_err(|reason| wrong(&reason))
}
