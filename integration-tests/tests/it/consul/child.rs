//! The processes that these tests start.

use super::load::list_much;
use crate::faults::{holding, process};
use crate::harness::consul::Consul;

/// What the child does.
#[test]
#[ignore = "the other tests start it as a process of its own"]
fn process() {
    let Some((role, endpoint)) = process::role() else {
        return;
    };
    match &*role {
        "list-much" => list_much(&endpoint),
        "hold-a-lock" => holding::hold::<Consul>(&endpoint),
        other => panic!("no child does {other:?}"),
    }
}
