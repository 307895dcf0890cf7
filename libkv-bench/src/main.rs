//! Side-by-side measurements of libkv against what a program would use without it.
//!
//! `cargo xtask bench embedded` runs them. Each line of the table is measured in turn with what
//! stands beside it, round by round; the ratio is taken within a round.

#![allow(clippy::print_stdout, reason = "a command-line program talks to its user")]

mod file;
mod lab;
mod load;
mod memory;
mod peak;
mod place;
mod sides;
mod table;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use lab::{Done, Lab};

const HELP: &str = "\
libkv-bench embedded [--rounds N] [--dir DIR] [--only TEXT]

--rounds N     how often each pair is measured; 5 where it is not said
--dir DIR      where the files are made, on the disk that is to be measured
--only TEXT    only the lines that begin with TEXT";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("libkv-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Done {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["embedded", ref options @ ..] => embedded(options),
        // What this program runs itself as, to have a process for each memory figure.
        [peak::COMMAND, side, keys, file] => peak::child(side, keys.parse()?, file.as_ref()),
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => Err(format!("what is {:?}?\n\n{HELP}", args.join(" ")).into()),
    }
}

fn embedded(mut options: &[&str]) -> Done {
    let (mut rounds, mut dir, mut only) = (5, PathBuf::from("."), String::new());
    while let [name, value, rest @ ..] = options {
        match *name {
            "--rounds" => rounds = value.parse()?,
            "--dir" => dir = value.into(),
            "--only" => only = (*value).to_owned(),
            _ => return Err(format!("there is no option {name}\n\n{HELP}").into()),
        }
        options = rest;
    }
    if let [name] = options {
        return Err(format!("{name} is no option, or lacks its value\n\n{HELP}").into());
    }
    std::fs::create_dir_all(&dir)?;
    let dir = tempfile::Builder::new().prefix("libkv-bench-").tempdir_in(dir)?;
    let mut lab = Lab::new(rounds, only)?;
    println!("{}", place::describe(dir.path())?);
    println!("{}\n\n{}", table::legend(rounds), table::header());
    memory::measure(&mut lab)?;
    watch::measure(&mut lab, dir.path())?;
    file::measure(&mut lab, dir.path())?;
    peak::measure(&mut lab, dir.path())?;
    println!("\n{}", lab.summary());
    Ok(())
}
