use std::process::Command;
use std::time::{Duration, Instant};

use crate::child::{Child, end_in_trouble, hear, say};
use crate::harness::consul::Cluster;

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
const ROLE: &str = "LIBKV_REAPING_CHILD";

/// What Docker has of a process's run: its containers, or its networks.
fn left(list: &[&str], process: u32) -> Vec<String> {
    let format = r#"{{.Label "libkv-test-run"}} {{.ID}}"#;
    let output = Command::new("docker").args(list).args(["--format", format]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let mine = lines.lines().filter(|line| line.starts_with(&format!("{process}-")));
    mine.map(str::to_owned).collect()
}

fn containers(process: u32) -> Vec<String> {
    left(&["ps", "--all"], process)
}

fn networks(process: u32) -> Vec<String> {
    left(&["network", "ls"], process)
}

/// A run of tests with a server, which does not get to its end.
#[tokio::test]
#[ignore = "the other test starts it as a process of its own"]
async fn process() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    end_in_trouble();
    let _cluster = Cluster::start(1).await;
    say("started");
    hear();
}

#[test]
fn what_a_killed_run_has_started_is_removed() {
    let program = Command::new(std::env::current_exe().unwrap());
    let environment = [(ROLE, "".as_ref())];
    let child = Child::start(program, "harness_tests::reaping::process", &environment);
    assert_eq!(child.line(), "started");
    let process = child.id();
    assert_eq!((containers(process).len(), networks(process).len()), (1, 1));
    child.kill();
    let start = Instant::now();
    while !(containers(process).is_empty() && networks(process).is_empty()) {
        assert!(start.elapsed() < PATIENCE, "{:?} {:?}", containers(process), networks(process));
        std::thread::sleep(PAUSE);
    }
}
