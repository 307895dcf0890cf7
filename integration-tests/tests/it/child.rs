//! A process of its own: this test program once more, told by its environment what to do.

#![allow(clippy::unwrap_used, reason = "this is for tests")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// How long to wait for what it must say. Only one that is broken ever takes this long, also where
/// everything else runs beside it.
const PATIENCE: Duration = Duration::from_secs(60);
/// What its lines begin with, among those of the test runner.
const MARK: &str = "@ ";
const PANIC: &str = "panic: ";

/// Has a process that is in trouble end, so that whoever started it hears of it.
#[allow(clippy::exit, reason = "the process is for one task")]
pub(crate) fn end_in_trouble() {
    std::panic::set_hook(Box::new(|panic| {
        say(format_args!("{PANIC}{}", panic.to_string().replace('\n', " ")));
        std::process::exit(1);
    }));
}

/// Tells the parent something; it has it when this returns.
#[allow(clippy::print_stdout, reason = "this is how it tells")]
pub(crate) fn say(line: impl std::fmt::Display) {
    println!("{MARK}{line}");
    std::io::stdout().flush().unwrap();
}

/// Waits for a line of the parent, or for its word that it is enough, which is an empty one.
pub(crate) fn hear() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// A process that was started. It is killed when this is dropped.
pub(crate) struct Child {
    process: Process,
    lines: Receiver<String>,
}

impl Child {
    /// Starts this program, as `command` says, with one of its tests that is otherwise ignored.
    pub(crate) fn start(mut command: Command, test: &str, environment: &[(&str, &OsStr)]) -> Self {
        command.args(["--exact", test, "--ignored", "--nocapture"]);
        command.envs(environment.iter().copied());
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let output = BufReader::new(process.stdout.take().unwrap());
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // A line that was not finished when it was killed was not told.
            let mut output = output;
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
                // The test runner does not end its own line before the first of ours.
                let at = line.find(MARK).map(|at| at + MARK.len());
                if at.is_some_and(|at| tell.send(line[at..].trim_end().to_owned()).is_err()) {
                    return;
                }
                line.clear();
            }
        });
        Self { process, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next line it says.
    pub(crate) fn line(&self) -> String {
        sound(self.lines.recv_timeout(PATIENCE).expect("the child says something"))
    }

    /// The next line, if it comes in time.
    pub(crate) fn line_within(&self, wait: Duration) -> Option<String> {
        self.lines.recv_timeout(wait).ok().map(sound)
    }

    /// Says something to it.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Kills it and returns what it had said by then.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.lines.iter().map(sound).collect()
    }

    /// Says that it is enough.
    pub(crate) fn let_go(&mut self) {
        drop(self.process.stdin.take());
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        self.let_go();
        self.process.wait().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn sound(line: String) -> String {
    assert!(!line.starts_with(PANIC), "the child ended: {line}");
    line
}
