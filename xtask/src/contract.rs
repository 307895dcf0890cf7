use std::collections::BTreeSet;

use crate::command::{Done, cargo, read, run};

const TABLE: [&str; 6] = ["run", "--quiet", "--package", "integration-tests", "--bin", "contract"];
const LIST: [&str; 8] =
    ["test", "--quiet", "--package", "integration-tests", "--test", "it", "--", "--list"];

/// Prints the table of sentences and cases, and checks that each test it names is really there.
pub(crate) fn run_table() -> Done {
    let listed = read(cargo(&LIST))?;
    let tests: BTreeSet<&str> =
        listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let named = read(cargo(&[&TABLE[..], &["names"]].concat()))?;
    let missing: Vec<&str> = named.lines().filter(|name| !tests.contains(name)).collect();
    if !missing.is_empty() {
        return Err(format!("the table names tests that do not exist: {}", missing.join(", ")));
    }
    run(cargo(&TABLE))
}
