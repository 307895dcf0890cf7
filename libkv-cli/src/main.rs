//! The `libkv` program: one set of verbs over every store.

mod address;
mod app;
mod args;
mod child;
mod commands;
mod exit;
mod failure;
mod forms;
mod input;
mod json;
#[cfg(any(feature = "consul", feature = "etcd"))]
mod native;
mod output;
mod refuse;
mod signals;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use tokio::runtime;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::app::App;
use crate::args::{Cli, Options, Verb};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{Out, say};

fn main() -> ExitCode {
    let runtime = match runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say(Failure::io("the program cannot be started", &error));
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(run(std::env::args_os().collect()));
    // Not waited for: a thread may still read standard input.
    runtime.shutdown_background();
    exit.into()
}

async fn run(args: Vec<OsString>) -> Exit {
    let mut out = Out::new();
    let (app, done) = match parse(&args, &mut out).await {
        Ok(Parsed::Verb(cli)) => {
            tell_what_happens(&cli.options);
            let app = App::new(cli.options);
            let done = carry_out(cli.verb, &app, &mut out).await;
            app.close().await;
            (Some(app), done)
        }
        Ok(Parsed::Ended(exit)) => (None, Ok(exit)),
        Err(failure) => (None, Err(failure)),
    };
    done.unwrap_or_else(|failure| {
        let store = app.and_then(|app| app.place());
        if let Some(line) = failure.line(store.as_deref()) {
            say(line);
        }
        failure.exit()
    })
}

/// What a command line asks for.
enum Parsed {
    Verb(Cli),
    /// Nothing more than what was shown.
    Ended(Exit),
}

async fn parse(args: &[OsString], out: &mut Out) -> Outcome<Parsed> {
    refuse::repeated(args)?;
    let error = match Cli::try_parse_from(args) {
        Ok(cli) if cli.options.quiet && cli.options.verbose => {
            return Err(Failure::usage("--quiet and --verbose contradict; leave one out"));
        }
        Ok(cli) => return Ok(Parsed::Verb(cli)),
        Err(error) => error,
    };
    let text = error.render().to_string();
    if !error.use_stderr() {
        out.bytes(text.as_bytes()).await?;
        out.flush().await?;
        return Ok(Parsed::Ended(Exit::Done));
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        output::show_help(&text);
        return Ok(Parsed::Ended(Exit::Usage));
    }
    Err(refuse::wrong(&error, args))
}

async fn carry_out(verb: Verb, app: &App, out: &mut Out) -> Outcome {
    let done = match verb {
        Verb::Get(get) => get.run(app, out).await,
        Verb::Put(put) => put.run(app, out).await,
        Verb::Del(del) => del.run(app, out).await,
        Verb::Exists(exists) => exists.run(app).await,
        Verb::Ls(ls) => ls.run(app, out).await,
        Verb::Tree(tree) => tree.run(app, out).await,
        Verb::Stat(stat) => stat.run(app, out).await,
        Verb::Watch(watch) => watch.run(app, out).await,
        Verb::Lock(lock) => lock.run(app).await,
        Verb::Export(export) => export.run(app, out).await,
        Verb::Import(import) => import.run(app, out).await,
        Verb::Completions(completions) => completions.run(app, out).await,
    };
    // What was found before a failure is shown too.
    match out.flush().await {
        Err(failure) if done.is_ok() => Err(failure),
        _ => done,
    }
}

/// Shows warnings, with `-v` more, with `-q` nothing.
fn tell_what_happens(options: &Options) {
    let shown = match (options.quiet, options.verbose) {
        (true, _) => return,
        // What clients of servers tell of themselves, frame by frame, would bury it.
        (_, true) => Targets::new().with_default(Level::WARN).with_target("libkv", Level::DEBUG),
        // The loss of a lock is told by the verb itself.
        _ => Targets::new().with_default(Level::WARN).with_target("libkv_core::lock", Level::ERROR),
    };
    let events = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let events = events.with_ansi(false).without_time().with_target(false);
    tracing_subscriber::registry().with(events.with_filter(shown)).init();
}
