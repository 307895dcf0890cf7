use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    completions, del, exists, export, get, import, lock, ls, put, stat, tree, watch,
};
use crate::input;
use crate::output::Format;

/// One set of verbs over several key-value stores
#[derive(Debug, Parser)]
#[command(name = "libkv", version, after_help = AFTER, disable_help_subcommand = true)]
#[command(subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What stands before any verb, or after it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options for every verb")]
pub(crate) struct Options {
    /// The store, such as file:PATH, etcd://HOST:2379 or consul://HOST:8500 [default: $LIBKV_STORE, else a file of your own]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// plain, json, jsonl, raw or table, where a verb has that form
    #[arg(long, global = true, value_name = "FORM", value_enum, hide_possible_values = true)]
    pub(crate) output: Option<Format>,
    /// How long to wait for the store, and for each answer
    #[arg(long, global = true, value_name = "TIME", value_parser = input::duration, default_value = "5s")]
    pub(crate) timeout: Duration,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Tell on standard error what happens inside
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// Every verb, in the order in which help shows them.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Get(get::Get),
    Put(put::Put),
    Del(del::Del),
    Exists(exists::Exists),
    Ls(ls::Ls),
    Tree(tree::Tree),
    Stat(stat::Stat),
    Watch(watch::Watch),
    Lock(lock::Lock),
    Export(export::Export),
    Import(import::Import),
    Completions(completions::Completions),
}

/// The options of [`Options`] that take a value, which may be given once, on whichever side of the
/// verb. The parser counts each side on its own.
pub(crate) const ONCE: [&str; 3] = ["--store", "--output", "--timeout"];

const AFTER: &str = "\
Exit codes:
  0 done                  4 exists, or was modified  8 permission denied
  1 failed                5 lock not acquired        9 outcome unknown
  2 wrong usage           6 lock lost
  3 not found             7 not reachable or timed out";
