use clap::Args;
use libkv::{Key, KvPair, ListOptions, Store as _};

use crate::app::App;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::json::{Pair, lifetime};
use crate::output::{Format, Out};

/// List the keys below a directory
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Where to look; / is everything
    #[arg(value_parser = input::directory, default_value = "/", hide_default_value = true)]
    dir: Key,
    /// Only keys at most this many levels below it
    #[arg(long, value_name = "N", value_parser = input::count)]
    depth: Option<usize>,
    /// Version, lifetime and size too: a table on a terminal, else separated by tabs
    #[arg(long, short)]
    long: bool,
    /// Keys without values, in JSON too
    #[arg(long, conflicts_with = "long")]
    keys: bool,
    /// At most this many keys
    #[arg(long, value_name = "N", value_parser = input::count)]
    limit: Option<usize>,
}

impl Ls {
    pub(crate) async fn run(self, app: &App, out: &mut Out) -> Outcome {
        let format = app.format("ls", &[Format::Json, Format::Jsonl, Format::Table])?;
        if format == Format::Table && self.keys {
            return Err(Failure::usage("a table has more columns than keys; leave out --keys"));
        }
        let on_terminal = app.chooses_format() && out.is_terminal();
        let as_table = format == Format::Table || self.long && on_terminal;
        let store = app.open().await?;
        let mut listing = store.list_opts(&self.dir, self.options(format));
        if as_table || format == Format::Json {
            let mut pairs = Vec::new();
            while let Some(pair) = app.next_pair(&mut listing).await? {
                pairs.push(pair);
            }
            if as_table {
                return table(&pairs, out).await;
            }
            let forms: Vec<_> = pairs.iter().map(|pair| self.form(pair)).collect();
            out.forms(format, &forms).await?;
            return Ok(Exit::Done);
        }
        while let Some(pair) = app.next_pair(&mut listing).await? {
            match format {
                Format::Jsonl => out.form(format, &self.form(&pair)).await?,
                _ if self.long => out.line(cells(&pair).join("\t")).await?,
                _ => out.line(&pair.key).await?,
            }
        }
        Ok(Exit::Done)
    }

    fn options(&self, format: Format) -> ListOptions {
        let mut options = ListOptions::default();
        options.keys_only = self.keys || format == Format::Plain && !self.long;
        options.depth = self.depth;
        options.limit = self.limit;
        options
    }

    fn form<'a>(&self, pair: &'a KvPair) -> Pair<'a> {
        let form = Pair::of(pair);
        let form = if self.keys { form } else { form.with_value(pair) };
        if self.long { form.with_facts(pair) } else { form }
    }
}

const HEAD: [&str; 4] = ["VERSION", "LIFETIME", "SIZE", "KEY"];

/// The key comes last, because its width on a screen is anybody's guess.
fn cells(pair: &KvPair) -> [String; 4] {
    let size = pair.value.len().to_string();
    [pair.version.to_string(), lifetime(pair.lifetime).to_owned(), size, pair.key.to_string()]
}

async fn table(pairs: &[KvPair], out: &mut Out) -> Outcome {
    let rows: Vec<_> = pairs.iter().map(cells).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([HEAD[column].len()]).max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2)];
    let line = |[version, lifetime, size]: [&str; 3]| {
        let [v, l, s] = widths;
        format!("{version:v$}  {lifetime:l$}  {size:>s$}")
    };
    let [version, lifetime, size, key] = HEAD;
    let head = format!("{}  {key}", line([version, lifetime, size]));
    out.line(out.style.faint(head)).await?;
    for [version, lifetime, size, key] in &rows {
        out.line(format!("{}  {}", line([version, lifetime, size]), out.style.key(key))).await?;
    }
    Ok(Exit::Done)
}
