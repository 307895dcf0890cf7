use std::io::Write as _;

use clap::Args;
use libkv::{GetOptions, Key, KvPair, Store as _};

use crate::app::App;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::json::Pair;
use crate::output::{Format, Out};

/// Write a key's value to standard output, byte for byte
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The key to read
    #[arg(value_parser = input::key)]
    key: Key,
    /// Write version and index too: two lines and an empty one before the value, or JSON fields
    #[arg(long)]
    meta: bool,
}

impl Get {
    pub(crate) async fn run(self, app: &App, out: &mut Out) -> Outcome {
        let format = app.format("get", &[Format::Json, Format::Jsonl, Format::Raw])?;
        if format == Format::Raw && self.meta {
            return Err(Failure::usage("--output raw writes the value alone; leave out --meta"));
        }
        let store = app.open().await?;
        let options = GetOptions::default().with_deadline(app.deadline());
        let pair = store.get_opts(&self.key, options).await?;
        match format.is_json() {
            true => out.form(format, &self.form(&pair)).await?,
            false => self.write(&pair, format, out).await?,
        }
        Ok(Exit::Done)
    }

    fn form<'a>(&self, pair: &'a KvPair) -> Pair<'a> {
        let form = Pair::of(pair).with_value(pair);
        if self.meta { form.with_version(pair) } else { form }
    }

    async fn write(&self, pair: &KvPair, format: Format, out: &mut Out) -> Outcome<()> {
        let to_terminal = out.is_terminal();
        if to_terminal && format != Format::Raw && !is_printable(&pair.value) {
            return Err(Failure::failed(format!(
                "the {} bytes of {} are not text, and this is a terminal; send them elsewhere, or \
                 write them all the same with --output raw",
                pair.value.len(),
                pair.key
            )));
        }
        if self.meta {
            out.line(format!("version: {}", pair.version)).await?;
            out.line(format!("index: {}\n", pair.last_index())).await?;
        }
        out.bytes(&pair.value).await?;
        out.flush().await?;
        if to_terminal && !pair.value.ends_with(b"\n") {
            // The prompt gets a line of its own, and the output stays what the value is.
            let _ = std::io::stderr().write_all(b"\n");
        }
        Ok(())
    }
}

/// Whether a terminal shows these bytes and obeys none of them.
fn is_printable(value: &[u8]) -> bool {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    std::str::from_utf8(value).is_ok_and(|text| text.chars().all(harmless))
}
