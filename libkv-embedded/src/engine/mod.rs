//! Where the state machine keeps its records.

mod careful;
mod file;
mod guarded;
mod memory;
mod opening;
mod tables;
mod view;

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use libkv_core::Result;

use crate::machine::{Change, Time};

pub(crate) use self::file::{File, Loaded};
pub(crate) use self::memory::Memory;
pub(crate) use self::view::FileView;

/// A key as the engine stores it: the handle's root and the logical key.
pub(crate) type Path = Arc<str>;

/// What is stored under a path.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) value: Bytes,
    /// The revision of the write that made this state.
    pub(crate) revision: u64,
    pub(crate) owner: Owner,
}

/// Shows the length of the value and never the value.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("value_bytes", &self.value.len())
            .field("revision", &self.revision)
            .field("owner", &self.owner)
            .finish()
    }
}

/// What a record's life hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    /// Gone at this time.
    Until(Time),
    /// Gone with this handle's session.
    Session(Id),
    /// Gone with this lock attempt, whose value it is.
    Guard(Id),
}

/// Names a handle's session or a lock attempt, once in a process's use of a store.
pub(crate) type Id = u64;

/// An ordered map from paths to records, and the log of its latest changes.
pub(crate) trait Engine {
    fn get(&self, path: &str) -> Result<Option<Record>>;

    /// Stores a record and returns the owner of the one that was there.
    fn put(&mut self, path: &Path, record: &Record) -> Result<Option<Owner>>;

    /// Removes a record and returns its owner.
    fn remove(&mut self, path: &str) -> Result<Option<Owner>>;

    /// Visits the records in `span` in the order of their paths, until `visit` says false.
    fn scan(&self, span: &Span, visit: Visit<'_>) -> Result<()>;

    /// Keeps a change for those who begin a watch in the past.
    fn log(&mut self, change: &Change) -> Result<()>;

    /// Drops the logged changes of this revision and older ones.
    fn forget(&mut self, floor: u64) -> Result<()>;

    /// Makes sure that this revision never comes again, though nothing is written at it.
    fn reserve(&mut self, revision: u64) -> Result<()>;
}

/// Who looks at records one by one, and says false to one that is not to be taken any more.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(Path, Record) -> bool;

/// The paths strictly below a directory, from a certain one on.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// `dir/`, or nothing for everything.
    prefix: String,
    start: Bound<Path>,
}

impl Span {
    pub(crate) fn below(dir: &str) -> Self {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        Self { prefix, start: Bound::Unbounded }
    }

    /// What is left after a path.
    pub(crate) fn after(self, path: Path) -> Self {
        Self { start: Bound::Excluded(path), ..self }
    }

    /// What is left from a path on.
    pub(crate) fn at(self, path: Path) -> Self {
        Self { start: Bound::Included(path), ..self }
    }

    /// Where to begin reading.
    fn start(&self) -> Bound<&str> {
        match &self.start {
            Bound::Excluded(path) if **path >= *self.prefix => Bound::Excluded(path),
            Bound::Included(path) if **path >= *self.prefix => Bound::Included(path),
            _ => Bound::Included(&self.prefix),
        }
    }

    /// Whether a path, at or after the start, is still in the span.
    pub(crate) fn holds(&self, path: &str) -> bool {
        path.len() > self.prefix.len() && path.starts_with(&self.prefix)
    }
}
