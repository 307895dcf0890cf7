//! Programs run inside a server's container, such as its own command-line client.

use bytes::Bytes;
use futures_util::StreamExt;
use testcontainers::bollard::container::LogOutput;
use testcontainers::bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::container::Container;
use super::{docker, on_harness};

/// What a program left when it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i64,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Output {
    /// What it wrote as text, if it ended well; otherwise a panic with what it said.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        let stderr = String::from_utf8_lossy(&self.stderr);
        assert_eq!(self.code, 0, "a program in a container failed: {stderr}");
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A program that runs on. It is interrupted when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    exec: String,
    keys: mpsc::UnboundedSender<u8>,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Container {
    /// Runs a program to its end, with `input` as its input.
    pub(super) async fn exec(&self, command: &[&str], input: Bytes) -> Output {
        let (container, command) = (self.clone(), owned(command));
        on_harness(async move {
            let (exec, started) = start(&container, command, false).await;
            let StartExecResults::Attached { mut output, input: mut stdin } = started else {
                unreachable!("it was started attached");
            };
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let write = async {
                // A program may end without having read its input.
                let _ = stdin.write_all(&input).await;
                let _ = stdin.shutdown().await;
            };
            let read = async {
                while let Some(piece) = output.next().await {
                    match piece.expect("the output comes to its end") {
                        LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                        other => stdout.extend_from_slice(&other.into_bytes()),
                    }
                }
            };
            tokio::join!(write, read);
            Output { code: code(&exec).await, stdout, stderr }
        })
        .await
    }

    /// Starts a program and leaves it running.
    pub(super) async fn spawn(&self, command: &[&str]) -> Running {
        let (container, command) = (self.clone(), owned(command));
        on_harness(async move {
            // Keys of a terminal are the only signals that Docker passes to such a program.
            let (exec, started) = start(&container, command, true).await;
            let StartExecResults::Attached { mut output, mut input } = started else {
                unreachable!("it was started attached");
            };
            let (keys, mut pressed) = mpsc::unbounded_channel();
            let (told, lines) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                while let Some(key) = pressed.recv().await {
                    let _ = input.write_all(&[key]).await;
                }
                let _ = input.write_all(&[INTERRUPT]).await;
            });
            tokio::spawn(async move {
                // The container is kept as long as a program runs in it.
                let _container = container;
                let mut unfinished = Vec::new();
                while let Some(Ok(piece)) = output.next().await {
                    unfinished.extend_from_slice(&piece.into_bytes());
                    while let Some(end) = unfinished.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = unfinished.drain(..=end).collect();
                        let line = String::from_utf8_lossy(&line);
                        let _ = told.send(line.trim_end().to_owned());
                    }
                }
            });
            Running { exec, keys, lines }
        })
        .await
    }
}

/// Control-C: a program tidies up and ends.
const INTERRUPT: u8 = 3;
/// Control-backslash: a program ends at once, without tidying up.
const QUIT: u8 = 28;

impl Running {
    /// The next line that it writes, or nothing if it has ended.
    pub(crate) async fn line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Asks it to end in an orderly way, as Control-C does, and returns its code.
    pub(crate) async fn interrupt(self) -> i64 {
        self.end(INTERRUPT).await
    }

    /// Ends it at once, so that it cannot tidy up.
    pub(crate) async fn crash(self) -> i64 {
        self.end(QUIT).await
    }

    async fn end(mut self, key: u8) -> i64 {
        let _ = self.keys.send(key);
        while self.lines.recv().await.is_some() {}
        on_harness(async move { code(&self.exec).await }).await
    }
}

async fn start(container: &Container, cmd: Vec<String>, tty: bool) -> (String, StartExecResults) {
    let program = cmd.join(" ");
    let options = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(tty),
        cmd: Some(cmd),
        ..Default::default()
    };
    let wrong = |error| -> ! { panic!("{program} cannot be run in a container: {error}") };
    let exec = docker().await.create_exec(container.id(), options).await;
    let exec = exec.unwrap_or_else(|error| wrong(error)).id;
    let attached = StartExecOptions { detach: false, tty, output_capacity: None };
    let started = docker().await.start_exec(&exec, Some(attached)).await;
    (exec, started.unwrap_or_else(|error| wrong(error)))
}

async fn code(exec: &str) -> i64 {
    let exec = docker().await.inspect_exec(exec).await.expect("a program can be looked at");
    exec.exit_code.unwrap_or(-1)
}

fn owned(command: &[&str]) -> Vec<String> {
    command.iter().map(|part| (*part).to_owned()).collect()
}
