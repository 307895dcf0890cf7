use crate::command::{Done, cargo, run_reading};
use crate::images;

const ROUNDS_VARIABLE: &str = "LIBKV_SOAK_ROUNDS";
/// What the lines begin with that a test has to say.
const MARK: &str = "soak: ";

/// Tests that go on for long.
struct Soak {
    name: &'static str,
    /// How often each does the same, unless the environment says otherwise.
    rounds: &'static str,
    tests: &'static [&'static str],
}

/// Kills processes that write to the embedded store's file.
const EMBEDDED: Soak = Soak {
    name: "embedded",
    rounds: "500",
    tests: &["file::crash::every_acknowledged_write_outlives_a_kill_and_none_is_half_there"],
};

/// Kills a server, cuts connections to it, compacts its history and lets tokens expire, under a
/// watch.
const ETCD: Soak = Soak {
    name: "etcd",
    rounds: "100",
    tests: &[
        "etcd::healing::a_watch_goes_on_when_its_server_is_killed_and_comes_back",
        "etcd::healing::a_watch_goes_on_when_its_connection_is_cut_or_stands_still",
        "etcd::healing::a_watch_is_made_good_when_the_history_is_compacted_while_it_is_cut_off",
        "etcd::healing::tokens::a_watch_goes_on_when_its_token_expires",
    ],
};

/// Kills a server and cuts connections to it, under a watch.
const CONSUL: Soak = Soak {
    name: "consul",
    rounds: "100",
    tests: &[
        "consul::healing::a_watch_goes_on_when_its_server_is_killed_and_comes_back",
        "consul::healing::a_watch_goes_on_when_its_connection_is_cut_or_stands_still",
    ],
};

/// Runs for long what is short in a test run.
pub(crate) fn run(args: &[String]) -> Done {
    match args.first().map(String::as_str) {
        None | Some("embedded") => EMBEDDED.run(),
        Some("etcd") => ETCD.run(),
        Some("consul") => CONSUL.run(),
        Some(other) => {
            Err(format!("{other:?} cannot be soaked; these can: embedded, etcd, consul"))
        }
    }
}

impl Soak {
    fn run(&self) -> Done {
        let test = ["test", "--package", "integration-tests", "--test", "it", "--"];
        let mut tests = cargo(&[&test[..], &["--exact", "--nocapture"], self.tests].concat());
        if std::env::var_os(ROUNDS_VARIABLE).is_none() {
            tests.env(ROUNDS_VARIABLE, self.rounds);
        }
        if self.name != EMBEDDED.name {
            tests.envs(images::prepare()?);
        }
        let mut said = Vec::new();
        let ended = run_reading(tests, |line| {
            said.extend(line.split_once(MARK).map(|(_, text)| text.to_owned()));
        });
        println!("\nsoak of {}:", self.name);
        said.iter().for_each(|line| println!("  {line}"));
        ended?;
        // Of each, its rounds with their seed, and what came of them.
        let missing = 2 * self.tests.len() - said.len().min(2 * self.tests.len());
        if missing > 0 { Err(format!("{missing} lines of tests are missing")) } else { Ok(()) }
    }
}
