use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use libkv::{BackendName, Capabilities, Key};

use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::output::say;

/// What is to be written, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Plan {
    dir: Key,
    /// What is read, as the user knows it.
    source: String,
    /// In the order in which they were read.
    pub(super) entries: Vec<Entry>,
    places: HashMap<Key, usize>,
    problems: Vec<String>,
    /// Whether names that are no keys are left out, and are no problems.
    skip_foreign: bool,
    foreign: usize,
    /// Entries that are locks of Consul's, which are no data.
    pub(super) locks: usize,
    /// Entries with flags, which are not kept.
    pub(super) flags: usize,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// Where it was read, such as `line 3`.
    place: String,
    pub(super) value: Bytes,
    pub(super) ttl: Option<Duration>,
}

impl Plan {
    pub(super) fn new(dir: Key, source: String, skip_foreign: bool) -> Self {
        let (entries, places, problems) = Default::default();
        let (foreign, locks, flags) = Default::default();
        Self { dir, source, entries, places, problems, skip_foreign, foreign, locks, flags }
    }

    pub(super) fn dir(&self) -> &Key {
        &self.dir
    }

    /// Adds an entry, or what is wrong with it.
    pub(super) fn add(&mut self, place: String, key: &str, value: Bytes, ttl: Option<Duration>) {
        let key = match self.key(key) {
            Ok(key) => key,
            Err(reason) => return self.no_key(place, reason),
        };
        if let Some(earlier) = self.entry(&key) {
            let reason = format!("the key {key} was there already, in {}", earlier.place);
            return self.problem(place, reason);
        }
        self.places.insert(key.clone(), self.entries.len());
        self.entries.push(Entry { key, place, value, ttl });
    }

    pub(super) fn entry(&self, key: &Key) -> Option<&Entry> {
        self.places.get(key).and_then(|place| self.entries.get(*place))
    }

    /// Leaves out a name that is no key, or takes it as a problem.
    pub(super) fn no_key(&mut self, place: String, reason: impl Into<String>) {
        self.foreign += 1;
        if !self.skip_foreign {
            self.problem(place, reason);
        }
    }

    pub(super) fn problem(&mut self, place: String, reason: impl Into<String>) {
        self.problems.push(format!("{place}: {}", reason.into()));
    }

    /// Checks what only the store can say: how long a value and a time to live may be.
    pub(super) fn check_limits(&mut self, facts: &Capabilities) {
        for entry in &self.entries {
            let (key, place, bytes) = (&entry.key, &entry.place, entry.value.len());
            if bytes > facts.max_value_bytes {
                self.problems.push(format!(
                    "{place}: the value of {key} has {bytes} bytes, the limit of this store is {}",
                    facts.max_value_bytes
                ));
            }
            let Some(ttl) = entry.ttl else { continue };
            // The name is not shown: only the words after it are.
            let limits = facts.ttl.map(|limits| limits.checked(ttl, ANY, "put").map(drop));
            match limits {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    let text = error.to_string();
                    let words = text.rsplit(": ").next().unwrap_or_default();
                    self.problems.push(format!("{place}: {key} has {words}"));
                }
                None => self.problems.push(format!(
                    "{place}: {key} has a time to live, which this store does not know"
                )),
            }
        }
    }

    /// Ends the import where anything is wrong, with all that is.
    pub(super) fn refuse_if_wrong(&self) -> Outcome<()> {
        let count = self.problems.len();
        let what = match self.problems.as_slice() {
            [] => return Ok(()),
            // A folder that cannot be read is both.
            [problem] if problem.starts_with(&self.source) => problem.clone(),
            [problem] => format!("{}: {problem}", self.source),
            problems => {
                for problem in &problems[..count.min(SHOWN)] {
                    say(crate::failure::one_line(problem));
                }
                if count > SHOWN {
                    say(format_args!("and {} more", count - SHOWN));
                }
                format!("{}: {count} problems", self.source)
            }
        };
        let it = if count == 1 { "it" } else { "them" };
        let or = match self.foreign {
            0 => "",
            _ => ", or leave out what is no key with --skip-foreign",
        };
        Err(Failure::failed(format!(
            "import of {what}; nothing was written; mend {it} and import again{or}"
        )))
    }

    /// Says what will not be there as it was.
    pub(super) fn tell(&self, app: &App) {
        for (count, what) in [
            (self.foreign, "names that are no keys, left out"),
            (self.locks, "locks, left out"),
            (self.flags, "entries whose flags are not kept"),
        ] {
            if count > 0 {
                app.note(format_args!("{what}: {count}"));
            }
        }
    }

    fn key(&self, text: &str) -> Result<Key, String> {
        if text.bytes().all(|byte| byte == b'/') {
            return Err("no key".to_owned());
        }
        input::key(text)?;
        // Both together may be too long, where each is not.
        self.dir.join(text).map_err(|error| error.to_string())
    }
}

/// How many problems are listed one by one.
const SHOWN: usize = 50;

const ANY: BackendName = BackendName::new("any");
