use clap::Args;
use libkv::{ErrorKind, GetOptions, Key, Store as _};

use crate::app::App;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::input;

/// Tell by the exit code whether a key exists: 0 or 3
#[derive(Debug, Args)]
pub(crate) struct Exists {
    /// The key to look for
    #[arg(value_parser = input::key)]
    key: Key,
}

impl Exists {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        app.format("exists", &[])?;
        let store = app.open().await?;
        let options = GetOptions::default().with_keys_only().with_deadline(app.deadline());
        match store.get_opts(&self.key, options).await {
            Ok(_) => Ok(Exit::Done),
            Err(error) if error.kind() == ErrorKind::KeyNotFound => Ok(Exit::NotFound),
            Err(error) => Err(error.into()),
        }
    }
}
