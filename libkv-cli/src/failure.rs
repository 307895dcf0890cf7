use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::io;

use libkv::{Error, ErrorKind};

use crate::exit::Exit;

pub(crate) type Outcome<T = Exit> = Result<T, Failure>;

/// Why the program ends before its work is done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store said no. The line adds which store that was.
    Store(Error),
    /// Anything else, as `<what failed, why>; <what to try>`.
    Told { exit: Exit, text: String },
    /// The reader of our output went away: nobody is left to tell anything.
    BrokenPipe,
}

impl Failure {
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Told { exit: Exit::Usage, text: text.into() }
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Told { exit: Exit::Failed, text: text.into() }
    }

    /// Trouble with a file or another stream that is not our output.
    pub(crate) fn io(what: impl Display, error: &io::Error) -> Self {
        Self::failed(format!("{what}: {}", plain(error)))
    }

    /// Trouble with our own output.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::io("standard output cannot be written", error)
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Store(error) => Exit::of(error.kind()),
            Self::Told { exit, .. } => *exit,
            Self::BrokenPipe => Exit::Done,
        }
    }

    /// The one line for the user, where there is anything to say. `place` is such as `on file:a`.
    pub(crate) fn line(&self, place: Option<&str>) -> Option<String> {
        match self {
            Self::Store(error) => Some(store_line(error, place)),
            Self::Told { text, .. } => Some(one_line(text)),
            Self::BrokenPipe => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// What failed, why, each cause once, on which store, and what to try.
fn store_line(error: &Error, place: Option<&str>) -> String {
    let text = error.to_string();
    // Causes and store go before the advice, where the error brings its own.
    let (what, own_advice) = match text.split_once("; ") {
        Some((what, advice)) => (what, Some(advice)),
        None => (&*text, None),
    };
    let mut line = what.to_owned();
    let mut cause = error.source();
    while let Some(source) = cause {
        let words = numberless(&source.to_string());
        if !line.contains(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        cause = source.source();
    }
    if let Some(place) = place.filter(|place| !line.contains(bare(place))) {
        line.push_str(&format!(" ({place})"));
    }
    if let Some(advice) = own_advice.or_else(|| advice(error.kind())) {
        line.push_str("; ");
        line.push_str(advice);
    }
    one_line(&line)
}

/// What of a place others quote: the path or the hosts.
fn bare(place: &str) -> &str {
    let rest = place.split_once(':').map_or(place, |(_, rest)| rest);
    rest.strip_prefix("//").unwrap_or(rest)
}

fn advice(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::KeyNotFound => Some("`libkv ls` shows the keys there are"),
        ErrorKind::KeyExists => Some("leave out --create to overwrite it"),
        ErrorKind::KeyModified => Some("`libkv stat` tells its version now"),
        ErrorKind::CannotLock => Some("wait longer with --wait"),
        ErrorKind::NotReachable | ErrorKind::Timeout => {
            Some("check the address, or wait longer with --timeout")
        }
        ErrorKind::PermissionDenied => Some("check who you are to this store, and its rights"),
        ErrorKind::OutcomeUnknown => Some("look at the key before you write it again"),
        ErrorKind::NotImplemented => Some("leave the option out, or use another store"),
        ErrorKind::LockLost => Some("what it protected may have a new owner: look before going on"),
        _ => None,
    }
}

/// Words without the number that Rust puts behind a system's error.
fn numberless(words: &str) -> String {
    let end = words.find(" (os error ").filter(|_| words.ends_with(')'));
    words[..end.unwrap_or(words.len())].to_owned()
}

/// A system error without Rust's number behind it.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

/// Keeps what others wrote, such as a path or a server, from breaking the line or the terminal.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(None).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use libkv::{BackendName, Key};

    use super::*;

    const FILE: BackendName = BackendName::new("file");

    fn line(error: Error) -> String {
        Failure::from(error).line(Some("on file:a.redb")).unwrap()
    }

    #[test]
    fn a_line_says_what_why_where_and_what_to_try() {
        let key = Key::new("a").unwrap();
        let error = Error::new(ErrorKind::KeyNotFound, FILE, "get").with_key(&key);
        assert_eq!(
            line(error),
            "file get a: key not found (on file:a.redb); `libkv ls` shows the keys there are"
        );
    }

    #[test]
    fn own_advice_comes_last_and_alone() {
        let error = Error::new(ErrorKind::Timeout, FILE, "open").with_detail("busy; come later");
        assert_eq!(line(error), "file open: timed out: busy (on file:a.redb); come later");
    }

    #[test]
    fn each_cause_is_told_once_and_a_known_store_not_again() {
        let cause = Error::local(ErrorKind::Other, "read").with_source("disk\nfull");
        let error = Error::new(ErrorKind::Other, FILE, "put")
            .with_detail("a.redb cannot be written")
            .with_source(cause);
        assert_eq!(
            line(error),
            "file put: failed: a.redb cannot be written: read: failed: disk full"
        );
        let again = Error::new(ErrorKind::Other, FILE, "put").with_detail("x y").with_source("y");
        assert_eq!(line(again), "file put: failed: x y (on file:a.redb)");
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let left = Failure::output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((left.exit(), left.line(None)), (Exit::Done, None));
        let full = Failure::output(&io::Error::from_raw_os_error(28));
        assert_eq!(full.exit(), Exit::Failed);
        assert_eq!(full.to_string(), "standard output cannot be written: no space left on device");
    }
}
