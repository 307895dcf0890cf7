//! The chores of the workspace. `cargo xtask help` lists them.

#![allow(clippy::print_stdout, reason = "a command-line program talks to its user")]

mod apt;
mod bench;
mod command;
mod contract;
mod engine;
mod images;
mod lint;
mod protoc;
mod soak;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

test [ARGS]    prepare what this machine lacks, run every test, count the cases of each backend
               (ARGS go to cargo test, such as -p libkv-core or a part of a test's name)
images         make the Docker image with the servers of the tests, once, as root
protoc         print the path of a protoc, made once where none is here, for cargo commands that are
               not run through this: export PROTOC=$(cargo xtask protoc)
lint           formatting, clippy with denied warnings, documentation, dependencies
soak [WHAT]    run for long what is short in a test run: embedded, where processes that write to the
               file are killed 500 times, or etcd or consul, where each fault comes to a watch 100
               times
bench WHAT     measure side by side and print medians and ratios; WHAT is `consul`, `embedded` or
               `etcd` (further ARGS: --rounds N, --only TEXT, and --dir DIR for `embedded`)
counts         print the counts of the last `test` once more
contract       print every sentence of the contract with the cases that show it
help           this text";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    let done = match command.as_deref() {
        Some("test") => protoc::prepare().and_then(|()| test::run(&rest)),
        Some("lint") => protoc::prepare().and_then(|()| lint::run_all()),
        Some("soak") => protoc::prepare().and_then(|()| soak::run(&rest)),
        Some("bench") => protoc::prepare().and_then(|()| bench::run_all(&rest)),
        Some("contract") => protoc::prepare().and_then(|()| contract::run_table()),
        Some("counts") => test::print_counts(),
        Some("images") => images::run_all(),
        Some("protoc") => protoc::print_path(),
        None | Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        Some(other) => Err(format!("there is no command {other:?}\n\n{HELP}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
