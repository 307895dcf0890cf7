//! The processes that these tests start.

use super::streams;
use crate::faults::{holding, process};
use crate::harness::etcd::Etcd;

/// What the child does.
#[test]
#[ignore = "the other tests start it as a process of its own"]
fn process() {
    let Some((role, endpoint)) = process::role() else {
        return;
    };
    match &*role {
        "watch-much" => streams::watch_much(&endpoint),
        "fall-behind" => streams::fall_behind(&endpoint),
        "hold-a-lock" => holding::hold::<Etcd>(&endpoint),
        other => panic!("no child does {other:?}"),
    }
}
