use std::collections::BTreeSet;

use crate::command::{Done, cargo, read, run};

const TABLE: [&str; 6] = ["run", "--quiet", "--package", "integration-tests", "--bin", "contract"];
/// Every test of the workspace, and those of the facade without a backend.
const LISTS: [&[&str]; 2] = [
    &["test", "--quiet", "--workspace", "--all-features", "--tests", "--", "--list"],
    &["test", "--quiet", "--package", "libkv", "--tests", "--", "--list"],
];

/// Prints the table of sentences and cases, and checks that each test it names is really there.
pub(crate) fn run_table() -> Done {
    let listed = LISTS.iter().map(|list| read(cargo(list))).collect::<Done<Vec<_>>>()?;
    let lines = listed.iter().flat_map(|list| list.lines());
    let tests: BTreeSet<&str> = lines.filter_map(|line| line.strip_suffix(": test")).collect();
    let named = read(cargo(&[&TABLE[..], &["names"]].concat()))?;
    let missing: Vec<&str> = named.lines().filter(|name| !tests.contains(name)).collect();
    if !missing.is_empty() {
        return Err(format!("the table names tests that do not exist: {}", missing.join(", ")));
    }
    run(cargo(&TABLE))
}
