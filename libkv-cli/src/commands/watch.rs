use std::ffi::{OsStr, OsString};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use libkv::{Event, Store as _, WatchOptions, WatchTarget};

use crate::app::App;
use crate::child::Child;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::json::{Change, compact};
use crate::output::{Format, Out};
use crate::signals::Signals;

/// Show the present state of a key or a tree, then every change
#[derive(Debug, Args)]
#[command(after_help = "\
It ends after --count events, on Ctrl-C, and when the reader of its output goes away. A command that
fails is told and the watch goes on; libkv then exits with 1 in the end. In LIBKV_EVENT a value has
no room beyond 128 KiB: it is on standard input only.")]
pub(crate) struct Watch {
    /// A key, or with a slash behind it the tree below; / is everything
    #[arg(value_name = "KEY|DIR/", value_parser = input::target)]
    target: WatchTarget,
    /// Leave out the present state
    #[arg(long)]
    no_initial: bool,
    /// Begin with the changes after this index, where the store has a history
    #[arg(long, value_name = "INDEX", value_parser = input::index)]
    from: Option<u64>,
    /// End after this many events, not counting `synced`
    #[arg(long, value_name = "N", value_parser = input::count)]
    count: Option<usize>,
    /// Run a command for each change, one at a time: the event is JSON on its standard input and in
    /// LIBKV_EVENT, the key is in LIBKV_KEY
    #[arg(long, requires = "command")]
    exec: bool,
    /// The command and its arguments
    #[arg(last = true, requires = "exec", value_name = "CMD")]
    command: Vec<OsString>,
}

impl Watch {
    pub(crate) async fn run(self, app: &App, out: &mut Out) -> Outcome {
        let forms: &[_] = if self.exec { &[] } else { &[Format::Json, Format::Jsonl] };
        let format = app.format("watch", forms)?;
        let store = app.open().await?;
        let mut signals = Signals::ending()?;
        app.warn_of_shutting_out();
        let mut options = WatchOptions::default();
        options.initial = !self.no_initial;
        options.from = self.from;
        let mut events = store.watch_opts(&self.target, options);
        let reader_left = out.reader_left();
        tokio::pin!(reader_left);
        let mut left = self.count;
        let mut exit = Exit::Done;
        while left != Some(0) {
            let event = tokio::select! {
                biased;
                signal = signals.next() => return Ok(Exit::by_signal(signal.as_raw())),
                () = &mut reader_left, if !self.exec => return Err(Failure::BrokenPipe),
                event = events.next() => event,
            };
            let event = event.ok_or_else(|| Failure::failed("the watch has ended"))??;
            let handled = match self.exec {
                true => self.execute(app, &event, &mut signals).await?,
                false => show(&event, format, out, &mut signals).await?,
            };
            match handled {
                Handled::Interrupted(signal) => return Ok(signal),
                Handled::Failed => exit = Exit::Failed,
                Handled::Well => {}
            }
            if !matches!(event, Event::Synced { .. }) {
                left = left.map(|left| left - 1);
            }
        }
        Ok(exit)
    }

    /// Runs the command for a change.
    async fn execute(&self, app: &App, event: &Event, signals: &mut Signals) -> Outcome<Handled> {
        let key = match event {
            Event::Put(pair) => &pair.key,
            Event::Delete { key, .. } => key,
            Event::Resync { reason, .. } => {
                app.note(format_args!("changes may have been missed: {reason}"));
                return Ok(Handled::Well);
            }
            _ => return Ok(Handled::Well),
        };
        let json = compact(&Change::from(event));
        let short = match json.len() > LONGEST_VARIABLE {
            true => compact(&Change::without_value(event)),
            false => json.clone(),
        };
        let env = [("LIBKV_EVENT", OsStr::new(&short)), ("LIBKV_KEY", OsStr::new(key.as_str()))];
        let mut child = Child::start(&self.command, &env, Some(Bytes::from(json)))?;
        let ended = tokio::select! {
            biased;
            ended = child.wait() => ended?,
            signal = signals.next() => {
                child.pass(signal);
                // It has got what asked us to end; should it go on, it is ended.
                if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                    child.end(GRACE).await?;
                }
                return Ok(Handled::Interrupted(Exit::by_signal(signal.as_raw())));
            }
        };
        if ended.code() == 0 {
            return Ok(Handled::Well);
        }
        app.note(format_args!("the command for {key} ended with {}", ended.code()));
        Ok(Handled::Failed)
    }
}

/// What became of one event.
enum Handled {
    Well,
    Failed,
    Interrupted(Exit),
}

/// Prints an event at once. A reader that does not read must not keep a signal from ending us.
async fn show(
    event: &Event,
    format: Format,
    out: &mut Out,
    signals: &mut Signals,
) -> Outcome<Handled> {
    let line = match format.is_json() {
        true => compact(&Change::from(event)),
        false => line(event, out),
    };
    let shown = async {
        out.line(line).await?;
        out.flush().await
    };
    tokio::select! {
        biased;
        shown = shown => shown.map(|()| Handled::Well),
        signal = signals.next() => {
            out.abandon();
            Ok(Handled::Interrupted(Exit::by_signal(signal.as_raw())))
        }
    }
}

/// An event for eyes, always on one line.
fn line(event: &Event, out: &Out) -> String {
    let style = out.style;
    match event {
        Event::Put(pair) => {
            let value = match std::str::from_utf8(&pair.value) {
                Ok(text) => text.escape_debug().to_string(),
                Err(_) => style.faint(format_args!("({} bytes)", pair.value.len())),
            };
            format!("{}     {}  {value}", style.came("put"), style.key(&pair.key))
        }
        Event::Delete { key, .. } => format!("{}  {}", style.went("delete"), style.key(key)),
        Event::Synced { index } => style.faint(format_args!("synced  at {index}")),
        Event::Resync { reason, .. } => format!("{}  {reason}", style.went("resync")),
        _ => "unknown".to_owned(),
    }
}

/// What one variable of a command's environment may hold on Linux, less its name.
const LONGEST_VARIABLE: usize = 128 * 1024 - 64;

/// How long a command may take to end when we are asked to.
const GRACE: Duration = Duration::from_secs(10);
