use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use libkv::{Expect, Key, Lifetime, Store as _, Version, WriteOptions};
use serde::Serialize;

use crate::app::App;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::input::{self, Source};
use crate::output::{Format, Out};

/// Write a key and print its new version
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The key to write
    #[arg(value_parser = input::key)]
    key: Key,
    /// The value; @FILE reads a file, - or nothing at all reads standard input
    #[arg(allow_negative_numbers = true, value_name = "VALUE|@FILE|-")]
    value: Option<OsString>,
    /// Only if there is no such key
    #[arg(long, conflicts_with = "if_version")]
    create: bool,
    /// Only if the key still has this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<Version>,
    /// Let the key end on its own after this time
    #[arg(long, value_name = "TIME", value_parser = input::duration)]
    ttl: Option<Duration>,
}

impl Put {
    pub(crate) async fn run(self, app: &App, out: &mut Out) -> Outcome {
        let format = app.format("put", &[Format::Json, Format::Jsonl])?;
        let value = match self.value {
            Some(text) => Source::from(text),
            None if std::io::stdin().is_terminal() => {
                return Err(Failure::usage(
                    "no value is given; write it after the key, or pipe it",
                ));
            }
            None => Source::Input,
        };
        let value = value.read().await?;
        let expect = match (self.create, self.if_version) {
            (true, _) => Expect::Absent,
            (false, Some(version)) => Expect::Version(version),
            (false, None) => Expect::Anything,
        };
        let store = app.open().await?;
        let mut options = WriteOptions::from(expect).with_deadline(app.deadline());
        options.lifetime = self.ttl.map_or(Lifetime::Permanent, Lifetime::Ttl);
        let version = store.put_opts(&self.key, value, options).await?;
        let form = Written {
            key: self.key.as_str(),
            version: version.to_string(),
            index: version.last_index(),
        };
        match format.is_json() {
            true => out.form(format, &form).await?,
            false => out.line(version).await?,
        }
        Ok(Exit::Done)
    }
}

#[derive(Debug, Serialize)]
struct Written<'a> {
    key: &'a str,
    version: String,
    index: u64,
}
