use std::path::PathBuf;

use crate::command::{Done, cargo, read, run, work_dir};

/// Each crate with features, so that what one turns on does not hide what another lacks.
const ALONE: &[&[&str]] = &[
    &["--package", "libkv-core"],
    &["--package", "libkv-embedded"],
    &["--package", "libkv-etcd"],
    &["--package", "libkv-consul"],
    &["--package", "libkv-zk"],
    &["--package", "libkv"],
    &["--package", "libkv", "--features", "consul"],
    &["--package", "libkv", "--features", "embedded"],
    &["--package", "libkv", "--features", "etcd"],
    &["--package", "libkv-cli"],
    &["--package", "libkv-cli", "--features", "consul"],
    &["--package", "libkv-cli", "--features", "etcd"],
    &["--package", "libkv-bench"],
    &["--package", "integration-tests"],
    &["--package", "xtask"],
];

/// The most crates that the core may bring into a program, itself included.
const CORE_CRATES: usize = 25;

/// Runs everything that is not a test.
pub(crate) fn run_all() -> Done {
    run(cargo(&["fmt", "--all", "--check"]))?;
    clippy(&["--workspace", "--all-features"])?;
    for package in ALONE {
        clippy(package)?;
    }
    let mut doc =
        cargo(&["doc", "--workspace", "--no-deps", "--all-features", "--document-private-items"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run(doc)?;
    core_is_light()?;
    dependencies()
}

fn clippy(packages: &[&str]) -> Done {
    let args = [&["clippy", "--all-targets"], packages, &["--", "--deny", "warnings"]].concat();
    run(cargo(&args))
}

fn core_is_light() -> Done {
    let tree = cargo(&["tree", "--package", "libkv-core", "--edges", "normal", "--prefix", "none"]);
    let tree = read(tree)?;
    let mut crates: Vec<&str> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    crates.sort_unstable();
    crates.dedup();
    println!("xtask: libkv-core is {} crates with itself, of at most {CORE_CRATES}", crates.len());
    if crates.len() > CORE_CRATES {
        return Err(format!("libkv-core brings too many crates: {}", crates.join(" ")));
    }
    Ok(())
}

/// Checks licences, sources and bans, with a tool that is made once where it is missing.
fn dependencies() -> Done {
    let mut deny = match read(cargo(&["deny", "--version"])) {
        Ok(_) => cargo(&["deny"]),
        Err(_) => {
            let mut deny = std::process::Command::new(made_deny()?);
            deny.current_dir(crate::command::root());
            deny
        }
    };
    // Which crates come twice is worth a line each, and not all the ways that lead to them.
    deny.args(["--all-features", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
    run(deny)
}

fn made_deny() -> Done<PathBuf> {
    let home = work_dir()?.join("tools");
    let program = home.join("bin/cargo-deny");
    if !program.exists() {
        println!("xtask: cargo-deny is not here; building it into {}", home.display());
        let mut install = cargo(&["install", "--quiet", "--locked", "cargo-deny", "--root"]);
        install.arg(&home);
        run(install)?;
    }
    Ok(program)
}
