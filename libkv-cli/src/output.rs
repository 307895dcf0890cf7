use std::fmt::Display;
use std::io::{self, IsTerminal};

use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use tokio::io::{AsyncWriteExt, Stdout};
use tokio::sync::oneshot;

use crate::failure::{Failure, Outcome};
use crate::json;

/// The forms of what is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For eyes and line-based tools
    Plain,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
    /// The bytes of the value and nothing else, to a terminal too
    Raw,
    /// Columns with a head
    Table,
}

impl Format {
    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}

/// Standard output: all data goes through here, and nothing else does.
///
/// It is buffered until [`flush`](Self::flush), and a reader that went away is
/// [`Failure::BrokenPipe`], which ends the program quietly.
#[derive(Debug)]
pub(crate) struct Out {
    inner: Stdout,
    buffer: Vec<u8>,
    is_abandoned: bool,
    pub(crate) style: Style,
}

impl Out {
    pub(crate) fn new() -> Self {
        let style = Style { on: io::stdout().is_terminal() && colours_wanted() };
        Self { inner: tokio::io::stdout(), buffer: Vec::new(), is_abandoned: false, style }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Resolves when the reader of a pipe went away, which is never where output is no pipe.
    pub(crate) fn reader_left(&self) -> impl Future<Output = ()> + use<> {
        reader_left()
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= FULL {
            return self.flush().await;
        }
        Ok(())
    }

    pub(crate) async fn line(&mut self, line: impl Display) -> Outcome<()> {
        self.bytes(format!("{line}\n").as_bytes()).await
    }

    /// Writes a form in one of the two forms of JSON.
    pub(crate) async fn form(
        &mut self,
        format: Format,
        form: &(impl Serialize + Sync),
    ) -> Outcome<()> {
        match format {
            Format::Json => self.line(json::pretty(form)).await,
            _ => self.line(json::compact(form)).await,
        }
    }

    /// Writes several forms: an array, or one a line.
    pub(crate) async fn forms(
        &mut self,
        format: Format,
        forms: &[impl Serialize + Sync],
    ) -> Outcome<()> {
        if format == Format::Json {
            return self.form(format, &forms).await;
        }
        for form in forms {
            self.form(format, form).await?;
        }
        Ok(())
    }

    /// Gives up on what is not written yet, because the reader does not read.
    pub(crate) fn abandon(&mut self) {
        self.is_abandoned = true;
    }

    /// Writes out what is buffered.
    ///
    /// When the future is dropped, a part may have been written.
    pub(crate) async fn flush(&mut self) -> Outcome<()> {
        if self.is_abandoned {
            return Ok(());
        }
        let written = async {
            self.inner.write_all(&self.buffer).await?;
            self.inner.flush().await
        };
        let written = written.await;
        self.buffer.clear();
        written.map_err(|error| Failure::output(&error))
    }
}

/// Waits until nobody reads our output any more, which is never where it is no pipe.
///
/// A thread of its own, because the system only tells who waits; it ends with the program.
async fn reader_left() {
    let (tell, told) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let stdout = io::stdout();
        loop {
            // Nothing is asked for, so only the reader's end wakes it.
            let mut waited = [PollFd::new(&stdout, PollFlags::empty())];
            match rustix::event::poll(&mut waited, None) {
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return std::thread::park(),
                Ok(_) => break,
            }
        }
        drop(tell);
    });
    // It ends by being dropped.
    let _ = told.await;
}

const FULL: usize = 64 * 1024;

/// Colours, where they are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    on: bool,
}

impl Style {
    pub(crate) fn key(self, text: impl Display) -> String {
        self.paint("1", text)
    }

    pub(crate) fn directory(self, text: impl Display) -> String {
        self.paint("34", text)
    }

    pub(crate) fn came(self, text: impl Display) -> String {
        self.paint("32", text)
    }

    pub(crate) fn went(self, text: impl Display) -> String {
        self.paint("31", text)
    }

    pub(crate) fn faint(self, text: impl Display) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: impl Display) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Nobody asked for plain text: <https://no-color.org>.
fn colours_wanted() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Words for the user, on standard error. Nobody is left to tell when that fails.
pub(crate) fn say(line: impl Display) {
    use std::io::Write as _;
    let line = format!("libkv: {line}\n");
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Shows help to somebody who did not ask for it, and so not as data.
pub(crate) fn show_help(text: &str) {
    use std::io::Write as _;
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
