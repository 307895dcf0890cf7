use clap::Args;
use libkv::{GetOptions, Key, Store as _};

use crate::app::App;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::input;
use crate::json::{Pair, lifetime};
use crate::output::{Format, Out};

/// Print a key's version, index, lifetime and size
#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// The key to look at
    #[arg(value_parser = input::key)]
    key: Key,
}

impl Stat {
    pub(crate) async fn run(self, app: &App, out: &mut Out) -> Outcome {
        let format = app.format("stat", &[Format::Json, Format::Jsonl])?;
        let store = app.open().await?;
        let options = GetOptions::default().with_deadline(app.deadline());
        let pair = store.get_opts(&self.key, options).await?;
        if format.is_json() {
            out.form(format, &Pair::of(&pair).with_facts(&pair)).await?;
            return Ok(Exit::Done);
        }
        out.line(format!("key       {}", out.style.key(&pair.key))).await?;
        out.line(format!("version   {}", pair.version)).await?;
        out.line(format!("index     {}", pair.last_index())).await?;
        out.line(format!("lifetime  {}", lifetime(pair.lifetime))).await?;
        out.line(format!("size      {}", pair.value.len())).await?;
        Ok(Exit::Done)
    }
}
