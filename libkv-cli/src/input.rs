//! Text of the command line becomes keys, times and values here, and nowhere else.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use libkv::{Key, WatchTarget};
use tokio::io::AsyncReadExt;

use crate::failure::{Failure, Outcome};

/// A key that can hold a value.
pub(crate) fn key(text: &str) -> Result<Key, String> {
    let key = directory(text)?;
    if key.is_root() {
        return Err("the root holds no value; name a key".to_owned());
    }
    Ok(key)
}

/// A key, or `/` for the root. An empty text is no root: it is an unset variable of a script.
pub(crate) fn directory(text: &str) -> Result<Key, String> {
    if text.is_empty() {
        return Err("it is empty; write / for the root".to_owned());
    }
    Key::new(text).map_err(|error| {
        // Only the reason: the line that quotes it says already that it is about a key.
        let text = error.to_string();
        text.strip_prefix("key: invalid key: ").unwrap_or(&text).to_owned()
    })
}

/// A key, or with a slash behind it the tree below it.
pub(crate) fn target(text: &str) -> Result<WatchTarget, String> {
    if text.ends_with('/') {
        return Ok(WatchTarget::Tree(directory(text)?));
    }
    Ok(WatchTarget::Key(key(text)?))
}

/// A time such as `500ms`, `30s` or `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time above zero, such as 500ms, 30s or 2m".to_owned();
    let duration = humantime::parse_duration(text).map_err(|_| wrong())?;
    if duration.is_zero() {
        return Err(wrong());
    }
    if duration > LONGEST {
        return Err("a year is the longest time".to_owned());
    }
    Ok(duration)
}

/// A number of things, at least one.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| "write a number from 1 on".to_owned())
}

/// An index of a store, as a watch prints it.
pub(crate) fn index(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write a number, as a watch prints it".to_owned())
}

/// Keeps an addition to a point in time from overflowing.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Argument(Vec<u8>),
    File(PathBuf),
    Input,
}

impl From<OsString> for Source {
    fn from(text: OsString) -> Self {
        let bytes = text.into_vec();
        match bytes.as_slice() {
            b"-" => Self::Input,
            [b'@', path @ ..] => Self::File(OsString::from_vec(path.to_vec()).into()),
            _ => Self::Argument(bytes),
        }
    }
}

impl Source {
    /// Reads the value, whatever its bytes are.
    pub(crate) async fn read(self) -> Outcome<Bytes> {
        match self {
            Self::Argument(bytes) => Ok(bytes.into()),
            Self::File(path) if path.as_os_str().is_empty() => {
                Err(Failure::usage("@ has no path behind it; write @FILE"))
            }
            Self::File(path) => file(path).await,
            Self::Input => input().await,
        }
    }
}

/// The whole of a file.
pub(crate) async fn file(path: PathBuf) -> Outcome<Bytes> {
    let read = tokio::fs::read(&path).await;
    let what = || format!("the file {} cannot be read", path.display());
    Ok(read.map_err(|error| Failure::io(what(), &error))?.into())
}

/// The whole of standard input.
pub(crate) async fn input() -> Outcome<Bytes> {
    let mut bytes = Vec::new();
    let read = tokio::io::stdin().read_to_end(&mut bytes).await;
    read.map_err(|error| Failure::io("standard input cannot be read", &error))?;
    Ok(bytes.into())
}

/// Whether somebody sits there who can be asked.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_key_is_not_the_root() {
        assert!(directory("").unwrap_err().contains("write / for the root"));
        assert!(directory("/").unwrap().is_root());
        assert!(key("/").unwrap_err().contains("the root holds no value"));
        assert!(target("").is_err());
    }

    #[test]
    fn a_slash_behind_makes_a_tree() {
        let tree = WatchTarget::Tree(Key::new("a").unwrap());
        assert_eq!(target("a/").unwrap(), tree);
        assert_eq!(target("/").unwrap(), WatchTarget::Tree(Key::root()));
        assert_eq!(target("/a").unwrap(), WatchTarget::Key(Key::new("a").unwrap()));
    }

    #[test]
    fn times_have_a_unit_and_an_end() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("1h 30m").unwrap(), Duration::from_secs(5400));
        for wrong in ["", "5", "0s", "-1s", "5 parsecs", "2y", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_says_where_it_comes_from() {
        assert_eq!(Source::from(OsString::from("-")), Source::Input);
        assert_eq!(Source::from(OsString::from("@a b")), Source::File("a b".into()));
        assert_eq!(Source::from(OsString::from("")), Source::Argument(Vec::new()));
        assert_eq!(Source::from(OsString::from("a@b")), Source::Argument(b"a@b".to_vec()));
    }
}
