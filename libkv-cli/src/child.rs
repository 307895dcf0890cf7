use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, getpgrp, kill_process, kill_process_group};
use rustix::termios::tcgetpgrp;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome, plain};

/// A command that is run on behalf of the user.
///
/// In the foreground of a terminal it shares our process group, so that it can read the terminal
/// and gets its keys. Elsewhere it has a group of its own, so that a signal reaches whatever it
/// started too.
#[derive(Debug)]
pub(crate) struct Child {
    inner: tokio::process::Child,
    pid: Option<Pid>,
    own_group: bool,
}

impl Child {
    /// Starts `command` with `env` added to our own environment; `input` is its standard input,
    /// which is ours where there is none.
    pub(crate) fn start(
        command: &[OsString],
        env: &[(&str, &OsStr)],
        input: Option<Bytes>,
    ) -> Outcome<Self> {
        let Some((program, args)) = command.split_first() else {
            return Err(Failure::usage("no command is given; write it after --"));
        };
        let own_group = !is_in_foreground();
        let mut start = Command::new(program);
        start.args(args).envs(env.iter().copied());
        if own_group {
            start.process_group(0);
        }
        if input.is_some() {
            start.stdin(Stdio::piped());
        }
        let mut inner = start.spawn().map_err(|error| not_started(program, &error))?;
        if let (Some(mut stdin), Some(input)) = (inner.stdin.take(), input) {
            // Beside the waiting: a command that reads nothing must not hold us up, and one that
            // ends without reading is no failure.
            tokio::spawn(async move {
                let _ = stdin.write_all(&input).await;
            });
        }
        let pid = inner.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { inner, pid, own_group })
    }

    /// Waits for its end.
    ///
    /// # Cancel safety
    ///
    /// Safe: it can be waited for again.
    pub(crate) async fn wait(&mut self) -> Outcome<Exit> {
        let status = self.inner.wait().await;
        Ok(exit(status.map_err(|error| Failure::io("the command cannot be waited for", &error))?))
    }

    /// Passes a signal on that was sent to us, unless the terminal sent it to the command too.
    pub(crate) fn pass(&self, signal: Signal) {
        let from_keys = matches!(signal, Signal::INT | Signal::QUIT);
        if self.own_group || !from_keys || !is_in_foreground() {
            self.send(signal);
        }
    }

    /// Ends it: asks, and after `grace` does not ask.
    pub(crate) async fn end(&mut self, grace: Duration) -> Outcome<Exit> {
        self.send(Signal::TERM);
        if let Ok(ended) = tokio::time::timeout(grace, self.wait()).await {
            return ended;
        }
        self.send(Signal::KILL);
        self.wait().await
    }

    fn send(&self, signal: Signal) {
        // Only while it is not reaped, so that its number is nobody else's.
        let Some(pid) = self.pid.filter(|_| self.inner.id().is_some()) else { return };
        let sent = match self.own_group {
            true => kill_process_group(pid, signal),
            false => kill_process(pid, signal),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, ?signal, "signal not passed on");
        }
    }
}

fn not_started(program: &OsStr, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::Command(127),
        _ => Exit::Command(126),
    };
    let text = format!("the command {} cannot be run: {}", program.display(), plain(error));
    Failure::Told { exit, text }
}

fn exit(status: ExitStatus) -> Exit {
    let by_signal = || status.signal().map_or(Exit::Failed, Exit::by_signal);
    status.code().map_or_else(by_signal, |code| Exit::Command(u8::try_from(code).unwrap_or(1)))
}

/// Whether the keys of a terminal reach our process group.
fn is_in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|tty| tcgetpgrp(&tty).is_ok_and(|group| group == getpgrp()))
}
