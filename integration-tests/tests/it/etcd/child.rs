//! The processes that these tests start.

use std::process::Command;

use super::{holding, streams};
use crate::child::{Child, end_in_trouble};

const ROLE: &str = "LIBKV_ETCD_CHILD";
const ENDPOINT: &str = "LIBKV_ETCD_CHILD_ENDPOINT";

/// What the child does.
#[test]
#[ignore = "the other tests start it as a process of its own"]
fn process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let endpoint = std::env::var(ENDPOINT).unwrap();
    end_in_trouble();
    match &*role {
        "watch-much" => streams::watch_much(&endpoint),
        "fall-behind" => streams::fall_behind(&endpoint),
        "hold-a-lock" => holding::hold(&endpoint),
        other => panic!("no child does {other:?}"),
    }
}

pub(super) fn start(role: &str, endpoint: &str) -> Child {
    let environment = [(ROLE, role.as_ref()), (ENDPOINT, endpoint.as_ref())];
    let program = Command::new(std::env::current_exe().unwrap());
    Child::start(program, "etcd::child::process", &environment)
}

/// Runs what a child does in a runtime of its own.
pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// The bytes of this process that are in memory.
pub(super) fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
