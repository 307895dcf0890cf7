use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The program under test.
pub(crate) const LIBKV: &str = env!("CARGO_BIN_EXE_libkv");

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of its own with a store in it, which the program is run in.
#[derive(Debug)]
pub(crate) struct Home {
    folder: TempDir,
    store: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::with_store("file:store.redb")
    }

    /// A directory for a program that uses this store.
    pub(crate) fn with_store(url: impl Into<String>) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), store: url.into() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file below the directory.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program with nothing of the environment but what it needs.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(LIBKV);
        command.args(args).current_dir(self.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("LIBKV_STORE", &self.store);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Run {
        Run::of(self.command(args).output().unwrap())
    }

    /// Runs it with these variables too.
    #[cfg(any(feature = "consul", feature = "etcd"))]
    pub(crate) fn run_where<S: AsRef<OsStr>>(&self, variables: &[(&str, &str)], args: &[S]) -> Run {
        Run::of(self.command(args).envs(variables.iter().copied()).output().unwrap())
    }

    /// Runs it, and demands that it does what it is asked to.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> Run {
        let run = self.run(args);
        assert_eq!(run.code, 0, "{}", run.err);
        run
    }

    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Run {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // The program may end before it has read everything.
            let _ = stdin.write_all(&input);
        });
        let run = Run::of(child.wait_with_output().unwrap());
        writer.join().unwrap();
        run
    }

    /// Starts it, to be met while it runs.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::of(self.command(args).spawn().unwrap())
    }

    /// What a user would have seen: each command line, what came of it, and the exit code.
    pub(crate) fn transcript(&self, lines: &[&[&str]]) -> String {
        let mut text = String::new();
        for args in lines {
            let shown: Vec<_> = args.iter().map(|arg| quoted(arg)).collect();
            let run = self.run(args);
            writeln!(text, "$ libkv {}", shown.join(" ")).unwrap();
            text.push_str(&String::from_utf8_lossy(&run.out));
            if !run.out.is_empty() && !run.out.ends_with(b"\n") {
                text.push('\n');
            }
            let folder = self.path().display().to_string();
            let words = run.err.replace(&folder, "[FOLDER]");
            text.extend(words.lines().map(|line| format!("! {line}\n")));
            if run.code != 0 {
                writeln!(text, "[{}]", run.code).unwrap();
            }
        }
        text
    }
}

fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_/:.@=,+%".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) { arg.to_owned() } else { format!("'{arg}'") }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Run {
    fn of(output: Output) -> Self {
        let code = output.status.code();
        let err = String::from_utf8(output.stderr).unwrap();
        let code = code.unwrap_or_else(|| panic!("it died of {}: {err}", output.status));
        Self { code, out: output.stdout, err }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }
}

/// A run that goes on.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
    err: BufReader<ChildStderr>,
}

impl Running {
    fn of(mut child: Child) -> Self {
        let out = child.stdout.take().map(BufReader::new);
        let err = BufReader::new(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    /// Reads words on standard error up to a line that has these in it.
    pub(crate) fn wait_for_words(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert_ne!(self.err.read_line(&mut line).unwrap(), 0, "{words:?} was never said");
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Stops reading what it writes.
    pub(crate) fn leave(&mut self) {
        self.out = None;
    }

    /// Its exit code, with what it said to the end on both streams. Fails when it takes too long.
    pub(crate) fn end(mut self) -> Run {
        let (mut out, mut err) = (Vec::new(), String::new());
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > PATIENCE => {
                    self.child.kill().unwrap();
                    panic!("it does not end");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if let Some(stdout) = &mut self.out {
            std::io::Read::read_to_end(stdout, &mut out).unwrap();
        }
        std::io::Read::read_to_string(&mut self.err, &mut err).unwrap();
        let code = status.code().unwrap_or_else(|| panic!("it died of {status}: {err}"));
        Run { code, out, err }
    }
}
