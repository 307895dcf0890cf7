//! The processes that these tests start.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::{closing, commits, crash, full, memory, opening};
pub(super) use crate::child::{Child, say};
use crate::child::{end_in_trouble, hear};

const ROLE: &str = "LIBKV_FILE_CHILD";
const FILE: &str = "LIBKV_FILE_CHILD_FILE";
const WORDS: &str = "LIBKV_FILE_CHILD_WORDS";

/// What the child does.
#[test]
#[ignore = "the other tests start it as a process of its own"]
fn process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let file = std::env::var_os(FILE).unwrap();
    end_in_trouble();
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

/// Waits until the parent says that it is enough.
pub(super) fn wait_for_the_end() {
    hear();
}

pub(super) fn start(role: &str, file: &Path, words: &str) -> Child {
    run(Command::new(std::env::current_exe().unwrap()), role, file, words)
}

/// A process that may do nothing but what everybody may.
pub(super) fn start_unprivileged(role: &str, file: &Path, words: &str) -> Child {
    const NOBODY: u32 = 65534;
    let program = std::env::current_exe().unwrap();
    if !is_root() {
        return run(Command::new(program), role, file, words);
    }
    // Nobody may look into the folder that the program is in.
    let reachable = file.parent().unwrap().join("program");
    // By another process: what is open for writing here, a child that starts meanwhile has too, and
    // then the copy is busy.
    let copied = Command::new("cp").args([&program, &reachable]).status().unwrap();
    assert!(copied.success(), "the program can be copied");
    let mut command = Command::new(reachable);
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    run(command, role, file, words)
}

fn run(command: Command, role: &str, file: &Path, words: &str) -> Child {
    let environment = [(ROLE, role.as_ref()), (FILE, file.as_os_str()), (WORDS, words.as_ref())];
    Child::start(command, "file::child::process", &environment)
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}
