use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io::{ErrorKind as IoErrorKind, Read};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libkv_core::Result;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableHandle};

use super::tables::{self, DUE, FLOOR, FORMAT, LOG, META, OWNED, REVISION, SET_ASIDE, Writing};
use super::{Id, Path, Record, Span};
use crate::error::{self, FILE};
use crate::machine::{Due, History, State, Time};

/// The layout of the tables. A file of a later one is refused and not touched.
const OUR_FORMAT: u64 = 1;
/// How much of the file is kept in memory.
const CACHE_BYTES: usize = 32 << 20;
/// How often to look whether another process has let go of the file.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What every file of redb begins with.
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

/// An opened file, which no other process can open meanwhile.
pub(crate) struct File {
    path: PathBuf,
    /// None once it is closed.
    database: Mutex<Option<Arc<Database>>>,
}

impl File {
    /// Opens a file or makes it, and waits for another process that has it. Blocks.
    pub(crate) fn open(path: &FilePath, wait: Duration) -> Result<Self> {
        let until = Instant::now() + wait;
        loop {
            match Self::try_open(path) {
                Err(Failed::Held) if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
                Err(Failed::Held) => return Err(error::held(path, wait)),
                Err(Failed::Error(error)) => return Err(error),
                Ok(database) => {
                    let database = Mutex::new(Some(Arc::new(database)));
                    return Ok(Self { path: path.to_owned(), database });
                }
            }
        }
    }

    fn try_open(path: &FilePath) -> Result<Database, Failed> {
        let known = is_ours(path)?;
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|error| Failed::of(error, path))?;
        if !known {
            let begun = tables::begin_file(&database, OUR_FORMAT);
            begun.map_err(|error| error::file(error, "open", path))?;
        }
        Ok(database)
    }

    /// Begins to write. There is one who does, the writer's thread.
    pub(crate) fn begin(&self) -> Result<Writing> {
        let transaction = self.database()?.begin_write();
        Ok(Writing::new(transaction.map_err(|error| self.error(error.into()))?))
    }

    /// The records as they are stored now.
    pub(crate) fn view(&self) -> Result<FileView> {
        FileView::new(&*self.database()?).map_err(|error| self.error(error))
    }

    /// What the state is made from.
    pub(crate) fn load(&self) -> Result<Loaded> {
        Loaded::read(&*self.database()?).map_err(|error| self.error(error))
    }

    /// Closes and opens the file again, after it failed.
    pub(crate) fn reopen(&self) -> Result<()> {
        let mut database = self.lock();
        *database = None;
        match Self::try_open(&self.path) {
            Ok(opened) => {
                *database = Some(Arc::new(opened));
                Ok(())
            }
            Err(Failed::Held) => Err(error::held(&self.path, Duration::ZERO)),
            Err(Failed::Error(error)) => Err(error),
        }
    }

    /// Lets others open the file. Whoever still reads is told that it is closed.
    pub(crate) fn close(&self) {
        *self.lock() = None;
    }

    fn database(&self) -> Result<Arc<Database>> {
        self.lock().clone().ok_or_else(|| error::closed(FILE, "read"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Database>>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, error: redb::Error) -> libkv_core::Error {
        error::file(error, "file", &self.path)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.path).finish()
    }
}

/// Why a file was not opened.
enum Failed {
    /// Another process has it.
    Held,
    Error(libkv_core::Error),
}

impl Failed {
    fn of(error: DatabaseError, path: &FilePath) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::Held,
            error => Self::Error(error::file(error.into(), "open", path)),
        }
    }
}

impl From<libkv_core::Error> for Failed {
    fn from(error: libkv_core::Error) -> Self {
        Self::Error(error)
    }
}

/// Whether a file is one of ours; false where there is none yet. What is something else, or of a
/// later format, is refused before anything could write to it.
fn is_ours(path: &FilePath) -> Result<bool, Failed> {
    let mut start = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => {
            let read = file.take(MAGIC.len() as u64).read_to_end(&mut start);
            read.map_err(|error| error::file(redb::Error::Io(error), "open", path))?;
        }
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error::file(redb::Error::Io(error), "open", path).into()),
    }
    if start.is_empty() {
        return Ok(false);
    }
    if start != MAGIC {
        return Err(error::not_ours(path, "it is no file of libkv").into());
    }
    match Builder::new().open_read_only(path) {
        Ok(database) => check_format(&database, path),
        Err(DatabaseError::DatabaseAlreadyOpen) => Err(Failed::Held),
        // It was not closed properly and must be mended first, which only a writer can do.
        Err(DatabaseError::RepairAborted) => Ok(true),
        Err(error) => Err(Failed::of(error, path)),
    }
}

fn check_format(database: &impl ReadableDatabase, path: &FilePath) -> Result<bool, Failed> {
    let format = || -> Result<Option<u64>, redb::Error> {
        let transaction = database.begin_read()?;
        let mut names = transaction.list_tables()?;
        if !names.any(|table| table.name() == META.name()) {
            return Ok(None);
        }
        tables::number(&transaction, FORMAT)
    };
    match format().map_err(|error| error::file(error, "open", path))? {
        Some(OUR_FORMAT) => Ok(true),
        Some(later) => Err(error::not_ours(
            path,
            &format!("its format is {later}, and this libkv reads format {OUR_FORMAT}"),
        )
        .into()),
        None => Err(error::not_ours(path, "it is a file of redb that another program made").into()),
    }
}

/// The records of a file at one moment.
#[derive(Debug)]
pub(crate) struct FileView {
    records: tables::Reading,
    revision: u64,
}

impl FileView {
    fn new(database: &Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        let revision = tables::number(&transaction, REVISION)?.unwrap_or_default();
        Ok(Self { records: tables::Reading::new(&transaction)?, revision })
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, path: &str) -> Result<Option<Record>> {
        self.records.get(path)
    }

    pub(crate) fn scan(
        &self,
        span: &Span,
        visit: &mut dyn FnMut(&Path, &Record) -> bool,
    ) -> Result<()> {
        self.records.scan(span, visit)
    }
}

/// What a file knows beside its records.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The revision of the last write.
    pub(crate) revision: u64,
    set_aside: u64,
    pub(crate) owned: HashMap<Id, BTreeSet<Path>>,
    due: Vec<(Time, Path)>,
    history: History,
}

impl Loaded {
    fn read(database: &Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        let number = |name| tables::number(&transaction, name).map(Option::unwrap_or_default);
        let mut due = Vec::new();
        for entry in transaction.open_table(DUE)?.iter()? {
            let (key, _) = entry?;
            let (time, path) = key.value();
            due.push((Time::from_nanos(time), path.into()));
        }
        let mut owned: HashMap<Id, BTreeSet<Path>> = HashMap::new();
        for entry in transaction.open_table(OWNED)?.iter()? {
            let (key, _) = entry?;
            let (id, path) = key.value();
            owned.entry(id).or_default().insert(path.into());
        }
        let mut changes = Vec::new();
        for entry in transaction.open_table(LOG)?.iter()? {
            let (key, logged) = entry?;
            changes.push(tables::change(key.value(), logged.value()));
        }
        let revision = number(REVISION)?;
        let history = History::load(number(FLOOR)?, changes);
        Ok(Self { revision, set_aside: number(SET_ASIDE)?, owned, due, history })
    }

    /// The revision after which nothing was given out by the process before.
    pub(crate) fn given_out(&self) -> u64 {
        self.revision.max(self.set_aside)
    }

    /// Makes the state what the file says; sessions and locks are not in the file.
    pub(crate) fn into_state(self, state: &mut State) {
        state.revision = self.revision;
        state.owned = self.owned;
        state.history = self.history;
        state.timers = self.due.into_iter().map(|(time, path)| (time, Due::Key(path))).collect();
    }
}
