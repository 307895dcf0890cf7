//! A process of its own: this test program once more, told by its environment what to do.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::{PATIENCE, closing, commits, crash, full, memory, opening};

const ROLE: &str = "LIBKV_FILE_CHILD";
const FILE: &str = "LIBKV_FILE_CHILD_FILE";
const WORDS: &str = "LIBKV_FILE_CHILD_WORDS";
/// What its lines begin with, among those of the test runner.
const MARK: &str = "@ ";
const PANIC: &str = "panic: ";

/// What the child does.
#[test]
#[ignore = "the other tests start it as a process of its own"]
fn process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let file = std::env::var_os(FILE).unwrap();
    // A process that is in trouble ends, so that whoever started it hears of it.
    std::panic::set_hook(Box::new(|panic| {
        say(format_args!("{PANIC}{}", panic.to_string().replace('\n', " ")));
        std::process::exit(1);
    }));
    let (file, words) = (Path::new(&file), std::env::var(WORDS).unwrap_or_default());
    match &*role {
        "write" => crash::write(file, &words),
        "hold" => opening::hold(file),
        "open" => opening::open_once(file, &words),
        "write-together" => commits::write_together(file),
        "close-and-stay" => closing::close_and_stay(file),
        "wait-on-a-full-disk" => full::wait(file),
        "read-all" => memory::read_all(file),
        other => panic!("no child does {other:?}"),
    }
}

/// Tells the parent something; it has it when this returns.
pub(super) fn say(line: impl std::fmt::Display) {
    println!("{MARK}{line}");
    std::io::stdout().flush().unwrap();
}

/// Waits until the parent says that it is enough.
pub(super) fn wait_for_the_end() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// A process that was started. It is killed when this is dropped.
pub(super) struct Child {
    process: Process,
    lines: Receiver<String>,
}

impl Child {
    pub(super) fn start(role: &str, file: &Path, words: &str) -> Self {
        Self::run(Command::new(std::env::current_exe().unwrap()), role, file, words)
    }

    /// A process that may do nothing but what everybody may.
    pub(super) fn start_unprivileged(role: &str, file: &Path, words: &str) -> Self {
        const NOBODY: u32 = 65534;
        let program = std::env::current_exe().unwrap();
        if !is_root() {
            return Self::run(Command::new(program), role, file, words);
        }
        // Nobody may look into the folder that the program is in.
        let reachable = file.parent().unwrap().join("program");
        std::fs::copy(program, &reachable).unwrap();
        let mut command = Command::new(reachable);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        Self::run(command, role, file, words)
    }

    fn run(mut command: Command, role: &str, file: &Path, words: &str) -> Self {
        command.args(["--exact", "file::child::process", "--ignored", "--nocapture"]);
        command.env(ROLE, role).env(FILE, file).env(WORDS, words);
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

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next line it says.
    pub(super) fn line(&self) -> String {
        sound(self.lines.recv_timeout(PATIENCE).expect("the child says something"))
    }

    /// The next line, if it comes in time.
    pub(super) fn line_within(&self, wait: Duration) -> Option<String> {
        self.lines.recv_timeout(wait).ok().map(sound)
    }

    /// Kills it and returns what it had said by then.
    pub(super) fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.lines.iter().map(sound).collect()
    }

    /// Says that it is enough.
    pub(super) fn let_go(&mut self) {
        drop(self.process.stdin.take());
    }

    pub(super) fn wait(mut self) -> ExitStatus {
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

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}
