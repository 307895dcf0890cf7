use crate::command::{Done, cargo, run_reading};

/// How often a process is killed, unless the environment says otherwise.
const ROUNDS: &str = "500";
const ROUNDS_VARIABLE: &str = "LIBKV_SOAK_ROUNDS";
const CRASHES: &str =
    "file::crash::every_acknowledged_write_outlives_a_kill_and_none_is_half_there";
/// What the lines begin with that a test has to say at the end.
const MARK: &str = "soak: ";

/// Runs for long what is short in a test run.
pub(crate) fn run(args: &[String]) -> Done {
    match args.first().map(String::as_str) {
        None | Some("embedded") => embedded(),
        Some(other) => Err(format!("{other:?} cannot be soaked; this can: embedded")),
    }
}

/// Kills processes that write to the embedded store's file.
fn embedded() -> Done {
    let test = ["test", "--package", "integration-tests", "--test", "it", "--"];
    let mut tests = cargo(&[&test[..], &["--exact", CRASHES, "--nocapture"]].concat());
    if std::env::var_os(ROUNDS_VARIABLE).is_none() {
        tests.env(ROUNDS_VARIABLE, ROUNDS);
    }
    let mut said = Vec::new();
    let ended = run_reading(tests, |line| {
        said.extend(line.split_once(MARK).map(|(_, text)| text.to_owned()));
    });
    println!("\nsoak of the embedded store:");
    said.iter().for_each(|line| println!("  {line}"));
    ended?;
    // The rounds with their seed, and what came of them.
    if said.len() < 2 { Err(format!("{CRASHES} did not run")) } else { Ok(()) }
}
