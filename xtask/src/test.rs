use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::command::{Done, cargo, run_reading, work_dir};
use crate::images;

/// The packages whose tests are made against real servers.
const WITH_SERVERS: [&str; 2] = ["integration-tests", "libkv-cli"];

/// The suites that must have run, as the first two parts of their tests' names.
const SUITES: &[&str] = &["embedded::memory", "embedded::file", "etcd::plain", "consul::plain"];

/// Prepares, runs every test, and counts.
pub(crate) fn run(args: &[String]) -> Done {
    let mut counts = Counts::default();
    let whole = args.is_empty();
    let mut given: Vec<&str> = args.iter().map(String::as_str).collect();
    if !names_packages(&given) {
        given.insert(0, "--workspace");
    }
    let mut tests = cargo(&[&["test", "--all-features", "--no-fail-fast"], &given[..]].concat());
    let with_servers = |arg: &&str| {
        arg.contains("workspace") || WITH_SERVERS.iter().any(|name| arg.contains(name))
    };
    if given.iter().any(with_servers) {
        match images::prepare() {
            Ok(images) => drop(tests.envs(images)),
            // A part of the tests may need no server; those that do will fail.
            Err(error) if !whole => eprintln!("xtask: {error}"),
            Err(error) => return Err(error),
        }
    }
    let mut ended = run_reading(tests, |line| counts.read(line));
    if whole {
        // What a program sees that leaves the backends out.
        let bare = cargo(&["test", "--package", "libkv", "--no-fail-fast"]);
        let bare = run_reading(bare, |line| counts.read(line));
        ended = ended.and(bare);
    }
    let summary = counts.summary();
    println!("\n{summary}");
    if whole {
        let path = work_dir()?.join("counts.txt");
        std::fs::write(&path, &summary)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    ended?;
    let idle = SUITES.iter().find(|suite| whole && !counts.suites.contains_key(**suite));
    idle.map_or(Ok(()), |suite| Err(format!("no conformance case ran for {suite}")))
}

/// Prints what the last whole run counted.
pub(crate) fn print_counts() -> Done {
    let path = work_dir()?.join("counts.txt");
    let summary = std::fs::read_to_string(&path)
        .map_err(|_| "nothing was counted yet; run `cargo xtask test` first".to_owned())?;
    println!("{summary}");
    Ok(())
}

/// Whether the arguments say which packages are tested. What follows `--` is for the tests.
fn names_packages(args: &[&str]) -> bool {
    let names = |arg: &&str| {
        ["--package", "--workspace", "--all", "--manifest-path"].iter().any(|name| {
            arg.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        }) || (arg.starts_with("-p") && !arg.starts_with("--"))
    };
    args.iter().take_while(|arg| **arg != "--").any(names)
}

/// What the test runner said.
#[derive(Debug, Default)]
struct Counts {
    results: Vec<String>,
    suites: BTreeMap<String, usize>,
}

impl Counts {
    fn read(&mut self, line: &str) {
        if line.starts_with("test result: ") {
            self.results.push(line.to_owned());
        }
        let name = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... ok"));
        let suite = name.and_then(|name| SUITES.iter().find(|suite| is_case_of(name, suite)));
        if let Some(suite) = suite {
            *self.suites.entry((*suite).to_owned()).or_default() += 1;
        }
    }

    fn summary(&self) -> String {
        let mut text = String::new();
        for (suite, cases) in &self.suites {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "conformance cases run for {suite}: {cases}");
        }
        for result in &self.results {
            let _ = writeln!(text, "{result}");
        }
        let _ =
            write!(text, "in all: {} passed, {} failed", self.sum("passed"), self.sum("failed"));
        text
    }

    /// Adds up a number of the runner's result lines.
    fn sum(&self, what: &str) -> usize {
        let parts = self.results.iter().flat_map(|line| line.split(['.', ';']));
        parts.filter_map(|part| part.trim().strip_suffix(what)?.trim().parse::<usize>().ok()).sum()
    }
}

/// A case is `suite::module::case`.
fn is_case_of(name: &str, suite: &str) -> bool {
    name.strip_prefix(suite).is_some_and(|rest| rest.starts_with("::") && rest[2..].contains("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_seen_among_the_arguments() {
        for args in [&["-p", "x"][..], &["-px"], &["--package=x", "y"], &["--workspace"]] {
            assert!(names_packages(args), "{args:?}");
        }
        for args in [&[][..], &["name"], &["--packages"], &["name", "--", "-p"]] {
            assert!(!names_packages(args), "{args:?}");
        }
    }

    #[test]
    fn the_runners_words_are_counted() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test embedded::memory::keys::folds ... ok",
            "test embedded::memory::keys::refuses ... FAILED",
            "test embedded::memory_is_shared ... ok",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            "test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            counts.read(line);
        }
        assert_eq!(counts.suites, BTreeMap::from([("embedded::memory".to_owned(), 1)]));
        assert!(counts.summary().ends_with("in all: 12 passed, 1 failed"), "{}", counts.summary());
    }
}
