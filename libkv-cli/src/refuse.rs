//! What is wrong with a command line, in one line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::ONCE;
use crate::failure::{Failure, Outcome};

/// Refuses an option that stands on both sides of the verb, where the parser sees each but once.
pub(crate) fn repeated(args: &[OsString]) -> Outcome<()> {
    let ours = || args.iter().take_while(|arg| *arg != "--").filter_map(|arg| arg.to_str());
    for option in ONCE {
        let is_it = |arg: &&str| {
            arg.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        if ours().filter(is_it).count() > 1 {
            return Err(Failure::usage(format!("{option} is given twice; leave one out")));
        }
    }
    Ok(())
}

/// Brings the parser's words onto one line, without its usage block.
pub(crate) fn wrong(error: &clap::Error, args: &[OsString]) -> Failure {
    let text = error.render().to_string();
    let words = text.lines().map(str::trim);
    let words = words
        .take_while(|line| !line.starts_with("Usage:"))
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let mut line = String::new();
    for part in words {
        let part = part.strip_prefix("error: ").unwrap_or(part);
        match part.strip_prefix("tip: ") {
            Some(tip) => line.push_str(&format!("; {tip}")),
            None if line.is_empty() => line.push_str(part),
            None => line.push_str(&format!(" {part}")),
        }
    }
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(instead) = instead(error, args)
    {
        // The parser's own tip is a guess by the letters.
        let what = line.split_once("; ").map_or(&*line, |(what, _)| what);
        return Failure::usage(format!("{what}; {instead}"));
    }
    // Where the parser has nothing to advise, its help has.
    let says_enough = matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation);
    if !says_enough && !line.contains("; ") {
        line.push_str(&format!("; see `{} --help`", verb(error)));
    }
    Failure::usage(line)
}

/// What to write in place of an option that the servers' own clients have.
fn instead(error: &clap::Error, args: &[OsString]) -> Option<&'static str> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    // Consul's program has one dash before a word, of which the parser sees one letter.
    let is_whole = |arg: &&str| arg.starts_with(&**option) && arg.len() > option.len();
    let whole = match option.starts_with("--") {
        true => None,
        false => args.iter().filter_map(|arg| arg.to_str()).find(is_whole),
    };
    let option = whole.unwrap_or(option).trim_start_matches('-');
    match option.split('=').next().unwrap_or_default() {
        "prefix" | "recurse" => Some(
            "for what is below DIR write `ls DIR`, `export DIR`, `watch DIR/` or `del DIR --tree`",
        ),
        "endpoints" => Some("the servers are in --store etcd://HOST:PORT,HOST:PORT"),
        "http-addr" => Some("the agents are in --store consul://HOST:PORT,HOST:PORT"),
        "user" | "cacert" | "cert" | "key" => {
            Some("it is a part of --store, or ETCDCTL_USER, _CACERT, _CERT and _KEY")
        }
        "token" | "token-file" | "ca-file" | "client-cert" | "client-key" => Some(
            "it is a part of --store, or CONSUL_HTTP_TOKEN, _HTTP_TOKEN_FILE, _CACERT, \
             _CLIENT_CERT and _CLIENT_KEY",
        ),
        "datacenter" => Some("it is a part of --store, as in consul://HOST:PORT?dc=NAME"),
        "cas" | "modify-index" => Some("write `--if-version VERSION`, or `--create` for a new key"),
        "detailed" => Some("write --meta, or `stat KEY`"),
        "keys" => Some("write `ls DIR`"),
        _ => None,
    }
}

/// The command that the words are about, as its usage begins.
fn verb(error: &clap::Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let words = usage.trim_start_matches("Usage:").split_whitespace();
    let words: Vec<_> =
        words.take_while(|word| word.chars().all(|c| c.is_ascii_lowercase())).collect();
    if words.is_empty() { "libkv".to_owned() } else { words.join(" ") }
}
