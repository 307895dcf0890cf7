use clap::Args;
use libkv::{ErrorKind, Foreign, GetOptions, Key, KvPair, LifetimeKind, ListOptions, Store};

use crate::app::App;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::forms::{Form, Line, consul_entry};
use crate::input;
use crate::json::compact;
use crate::output::Out;

/// Write keys and values to standard output, for `libkv import`
#[derive(Debug, Args)]
#[command(after_help = "\
DIR is exported as a key too, where it is one. What is left of a time to live is not known, so such
keys are exported as permanent, which is told. Locks are no data and are left out, and Consul's flags
are not kept: its form has 0 there.")]
pub(crate) struct Export {
    /// What to export; / is everything
    #[arg(value_parser = input::directory, default_value = "/", hide_default_value = true)]
    dir: Key,
    /// JSON Lines, or the array that `consul kv import` reads
    #[arg(long, value_name = "FORM", default_value = "jsonl")]
    format: Form,
    /// Ephemeral keys too, which become permanent where they are imported
    #[arg(long)]
    ephemeral: bool,
    /// Leave out names that are no keys, and count them; without this they end the export
    #[arg(long)]
    skip_foreign: bool,
}

impl Export {
    pub(crate) async fn run(self, app: &App, out: &mut Out) -> Outcome {
        app.format("export", &[])?;
        let store = app.open().await?;
        let mut counts = Counts::default();
        let own = self.own_pair(app, &*store).await?;
        let has_own = own.is_some();
        if let Some(pair) = own {
            self.write(&pair, &mut counts, out).await?;
        }
        let foreign = if self.skip_foreign { Foreign::Skip } else { Foreign::Fail };
        let mut listing = store.list_opts(&self.dir, ListOptions::default().with_foreign(foreign));
        loop {
            match app.next_pair(&mut listing).await {
                Ok(Some(pair)) => self.write(&pair, &mut counts, out).await?,
                // Present a moment ago: a directory of one key that is gone by now.
                Err(failure) if has_own && failure.exit() == Exit::NotFound => break,
                Err(failure) => return Err(with_way_out(failure, app)),
                Ok(None) => break,
            }
        }
        if self.format == Form::Consul {
            out.line(if counts.written == 0 { "[]" } else { "\n]" }).await?;
        }
        out.flush().await?;
        counts.tell(app);
        Ok(Exit::Done)
    }

    async fn own_pair(&self, app: &App, store: &dyn Store) -> Outcome<Option<KvPair>> {
        if self.dir.is_root() {
            return Ok(None);
        }
        let options = GetOptions::default().with_deadline(app.deadline());
        match store.get_opts(&self.dir, options).await {
            Ok(pair) => Ok(Some(pair)),
            Err(error) if error.kind() == ErrorKind::KeyNotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn write(&self, pair: &KvPair, counts: &mut Counts, out: &mut Out) -> Outcome<()> {
        match pair.lifetime {
            LifetimeKind::Ephemeral if !self.ephemeral => {
                counts.left_out += 1;
                return Ok(());
            }
            LifetimeKind::Ephemeral => counts.ephemeral += 1,
            LifetimeKind::Ttl => counts.ttl += 1,
            _ => {}
        }
        let is_first = counts.written == 0;
        counts.written += 1;
        match self.format {
            Form::Jsonl => out.line(compact(&Line::of(pair))).await,
            Form::Consul => {
                let before = if is_first { "[\n" } else { ",\n" };
                out.bytes(before.as_bytes()).await?;
                out.bytes(consul_entry(pair).as_bytes()).await
            }
        }
    }
}

/// Says how to go on where a stored name is no key.
fn with_way_out(failure: Failure, app: &App) -> Failure {
    match &failure {
        Failure::Store(error) if error.kind() == ErrorKind::InvalidKey => {
            let line = failure.line(app.place().as_deref()).unwrap_or_default();
            Failure::failed(format!("{line}; --skip-foreign leaves such names out"))
        }
        _ => failure,
    }
}

#[derive(Debug, Default)]
struct Counts {
    written: usize,
    ttl: usize,
    ephemeral: usize,
    left_out: usize,
}

impl Counts {
    /// Says what an import will not give back as it was.
    fn tell(&self, app: &App) {
        for (count, what) in [
            (self.ttl, "with a time to live exported as permanent"),
            (self.ephemeral, "that end with a session exported as permanent"),
            (self.left_out, "that end with a session left out (--ephemeral takes them too)"),
        ] {
            if count > 0 {
                app.note(format_args!("keys {what}: {count}"));
            }
        }
    }
}
