//! What is run as a process of its own.

use std::process::Command;

use crate::child::{Child, end_in_trouble};

const ROLE: &str = "LIBKV_FAULTS_CHILD";
const ENDPOINT: &str = "LIBKV_FAULTS_CHILD_ENDPOINT";

/// What the child is to do, if this is one, and with which server.
pub(crate) fn role() -> Option<(String, String)> {
    let role = std::env::var(ROLE).ok()?;
    end_in_trouble();
    Some((role, std::env::var(ENDPOINT).unwrap()))
}

/// Starts a child by its test, which is otherwise ignored.
pub(crate) fn start(test: &str, role: &str, endpoint: &str) -> Child {
    let environment = [(ROLE, role.as_ref()), (ENDPOINT, endpoint.as_ref())];
    Child::start(Command::new(std::env::current_exe().unwrap()), test, &environment)
}

/// Runs what a child does in a runtime of its own.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// The bytes of this process that are in memory.
pub(crate) fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
