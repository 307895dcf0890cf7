//! Which store is meant, and its whole URL.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::failure::{Failure, Outcome};
#[cfg(any(feature = "consul", feature = "etcd"))]
use crate::native;

/// A URL that leaves nothing out.
#[derive(Debug)]
pub(crate) struct Whole {
    /// What is opened.
    pub(crate) text: String,
    /// What is shown: with the servers, without what else came from the environment.
    pub(crate) shown: String,
}

/// The store where there is no `--store`, and who named it.
pub(crate) fn default_store() -> Outcome<(String, &'static str)> {
    match std::env::var("LIBKV_STORE") {
        Ok(text) if !text.is_empty() => Ok((text, "in LIBKV_STORE")),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failure::usage("LIBKV_STORE is not UTF-8; write %XX for such bytes"))
        }
        _ => Ok((own_store()?, "in your data directory")),
    }
}

/// The URL with what it leaves to the environment.
pub(crate) fn whole(text: String) -> Outcome<Whole> {
    match &*scheme(&text) {
        "mem" => Err(Failure::usage(
            "a mem: store lives in one process and would be empty at each call; use file:PATH",
        )),
        #[cfg(feature = "consul")]
        "consul" | "consuls" => native::consul(&text, |name| std::env::var_os(name)),
        #[cfg(feature = "etcd")]
        "etcd" | "etcds" => native::etcd(&text, |name| std::env::var_os(name)),
        #[allow(unreachable_patterns, reason = "what is built in was matched above")]
        left_out @ ("consul" | "consuls" | "etcd" | "etcds") => {
            let feature = left_out.trim_end_matches('s');
            Err(Failure::usage(format!(
                "this libkv was built without {feature}; build one with `cargo install --path \
                 libkv-cli --features {feature}`"
            )))
        }
        _ => Ok(Whole { shown: text.clone(), text }),
    }
}

/// Adds a parameter, whose value must be encoded.
pub(crate) fn add_parameter(url: &mut String, name: &str, value: &str) {
    let separator = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    url.push_str(&format!("{separator}{name}={value}"));
}

fn scheme(url: &str) -> String {
    url.split(':').next().unwrap_or_default().to_ascii_lowercase()
}

/// The store that is there without any set-up; its directory is made.
fn own_store() -> Outcome<String> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .ok_or_else(|| {
            Failure::usage("no store is named and HOME is not set; name one with --store URL")
        })?;
    let directory = data.join("libkv");
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(|error| {
        Failure::io(format!("the directory {} cannot be made", directory.display()), &error)
    })?;
    let path = directory.join("store.redb");
    let path = path.to_str().ok_or_else(|| {
        Failure::usage("the path of the data directory is not UTF-8; name a store with --store URL")
    })?;
    Ok(format!("file://{}", utf8_percent_encode(path, PATH)))
}

/// All that could be taken for a part of a URL.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
