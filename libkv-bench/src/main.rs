//! Side-by-side measurements of libkv against what a program would use without it.
//!
//! `cargo xtask bench` runs them. Each line of the table is measured in turn with what stands beside
//! it, round by round; the ratio is taken within a round.

#![allow(clippy::print_stdout, reason = "a command-line program talks to its user")]

mod consul;
mod etcd;
mod file;
mod lab;
mod load;
mod memory;
mod peak;
mod place;
mod remote;
mod sides;
mod table;
mod watch;
mod watched;

use std::path::PathBuf;
use std::process::ExitCode;

use consul::Consul;
use etcd::Etcd;
use lab::{Done, Lab};
use remote::Subject;

const HELP: &str = "\
libkv-bench embedded [--rounds N] [--dir DIR] [--only TEXT]
libkv-bench consul [--rounds N] [--only TEXT]
libkv-bench etcd [--rounds N] [--only TEXT]

--rounds N     how often each pair is measured; 5 where it is not said, and fewer only show that it runs
--dir DIR      where the files are made, on the disk that is to be measured
--only TEXT    only the lines that begin with TEXT

The server of `etcd` is started from the image that LIBKV_TEST_IMAGE_ETCD names, or it is the running
one whose host and port LIBKV_TEST_ETCD names; that of `consul` is named by LIBKV_TEST_IMAGE_CONSUL or
LIBKV_TEST_CONSUL.";

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
        ["embedded", ref options @ ..] => embedded(&Options::read(options)?),
        [Consul::NAME, ref options @ ..] => remote::measure::<Consul>(&Options::read(options)?),
        [Etcd::NAME, ref options @ ..] => remote::measure::<Etcd>(&Options::read(options)?),
        // What this program runs itself as, to have a process for each memory figure.
        [peak::COMMAND, side, keys, file] => peak::child(side, keys.parse()?, file.as_ref()),
        [remote::COMMAND, Consul::NAME, side, work, address] => {
            remote::child::<Consul>(side, work, address)
        }
        [remote::COMMAND, Etcd::NAME, side, work, address] => {
            remote::child::<Etcd>(side, work, address)
        }
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => Err(format!("what is {:?}?\n\n{HELP}", args.join(" ")).into()),
    }
}

/// How to measure.
#[derive(Debug)]
struct Options {
    rounds: usize,
    dir: PathBuf,
    only: String,
}

impl Options {
    fn read(mut options: &[&str]) -> Done<Self> {
        let mut read = Self { rounds: 5, dir: PathBuf::from("."), only: String::new() };
        while let [name, value, rest @ ..] = options {
            match *name {
                "--rounds" => read.rounds = value.parse()?,
                "--dir" => read.dir = value.into(),
                "--only" => read.only = (*value).to_owned(),
                _ => return Err(format!("there is no option {name}\n\n{HELP}").into()),
            }
            options = rest;
        }
        match options {
            [name] => Err(format!("{name} is no option, or lacks its value\n\n{HELP}").into()),
            _ => Ok(read),
        }
    }
}

fn embedded(options: &Options) -> Done {
    std::fs::create_dir_all(&options.dir)?;
    let dir = tempfile::Builder::new().prefix("libkv-bench-").tempdir_in(&options.dir)?;
    let mut lab = Lab::new(options.rounds, options.only.clone())?;
    println!("{}, files on {}", place::describe()?, place::file_system(dir.path())?);
    println!("{}\n\n{}", table::legend(options.rounds), table::header(false));
    memory::measure(&mut lab)?;
    watch::measure(&mut lab, dir.path())?;
    file::measure(&mut lab, dir.path())?;
    peak::measure(&mut lab, dir.path())?;
    println!("\n{}", lab.summary());
    Ok(())
}
