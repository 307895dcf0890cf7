//! Opening a file: one that is ours, or a new one. What is neither is not touched.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Path as FilePath, PathBuf};

use redb::{Builder, Database, TableHandle};

use super::careful::Careful;
use super::guarded::Guarded;
use super::tables::{self, FORMAT, META};
use crate::error;

/// The layout of the tables. A file of a later one is refused and not touched.
const OUR_FORMAT: u64 = 1;
/// How much of the file is kept in memory.
const CACHE_BYTES: usize = 32 << 20;
/// What every file of redb begins with.
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// What the name of a file ends in while it is being made.
const UNFINISHED: &str = ".new";

/// Why a file was not opened.
pub(super) enum Failed {
    /// Another process has it.
    Held,
    Error(libkv_core::Error),
}

impl From<libkv_core::Error> for Failed {
    fn from(error: libkv_core::Error) -> Self {
        Self::Error(error)
    }
}

/// What is found under a name.
enum Found {
    Nothing,
    /// An empty file, such as one that was made for its name.
    Empty,
    /// A file of redb.
    Database,
}

/// A file that was opened, and redb's use of it.
pub(super) type Opened = (Careful, Guarded<Database>);

/// Opens a file, which is made where there is none yet.
pub(super) fn open_or_make(path: &FilePath) -> Result<Opened, Failed> {
    match look(path)? {
        Found::Database => open(path),
        Found::Nothing | Found::Empty => make(path),
    }
}

/// Opens a file once more that is open already, after redb gave up on it.
pub(super) fn open_again(file: &Careful, path: &FilePath) -> Result<Guarded<Database>, Failed> {
    database(file.anew(), path)
}

fn look(path: &FilePath) -> Result<Found, Failed> {
    let failed = |error| Failed::from(error::file(redb::Error::Io(error), path));
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return if fs::symlink_metadata(path).is_ok() {
                Err(error::unusable(path, "it is a link to nowhere").into())
            } else {
                Ok(Found::Nothing)
            };
        }
        Err(error) => return Err(failed(error)),
    };
    if about.is_dir() {
        return Err(error::unusable(path, "it is a folder").into());
    }
    if !about.is_file() {
        return Err(error::unusable(path, "it is no plain file").into());
    }
    let mut start = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(failed)?;
    match &*start {
        [] => Ok(Found::Empty),
        MAGIC => Ok(Found::Database),
        _ => Err(error::not_ours(path, "it is no file of libkv").into()),
    }
}

fn open(path: &FilePath) -> Result<Opened, Failed> {
    let failed = |error| Failed::from(error::file(error, path));
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(|error| failed(error.into()))?;
    let careful = Careful::foreign(file).map_err(failed)?;
    let database = database(careful.clone(), path)?;
    check_format(&database, path)?;
    careful.go_ahead().map_err(|error| failed(error.into()))?;
    Ok((careful, database))
}

fn database(file: Careful, path: &FilePath) -> Result<Guarded<Database>, Failed> {
    let opened = Guarded::new(|| {
        Ok(Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(file)?)
    });
    opened.map_err(|error| match error {
        redb::Error::DatabaseAlreadyOpen => Failed::Held,
        error => error::file(error, path).into(),
    })
}

fn check_format(database: &Guarded<Database>, path: &FilePath) -> Result<(), Failed> {
    let format = || -> Result<Option<u64>, redb::Error> {
        let transaction = tables::begin_read(database)?;
        let is_ours = transaction.call(|transaction| {
            Ok(transaction.list_tables()?.any(|table| table.name() == META.name()))
        })?;
        if !is_ours {
            return Ok(None);
        }
        tables::number(&transaction, FORMAT)
    };
    let why = match format().map_err(|error| error::file(error, path))? {
        Some(OUR_FORMAT) => return Ok(()),
        Some(later) => format!("its format is {later}, and this libkv reads format {OUR_FORMAT}"),
        None => "it is a file of redb that another program made".to_owned(),
    };
    Err(error::not_ours(path, &why).into())
}

/// Makes a file under another name and gives it its own when it is whole: whoever is killed half
/// way leaves nothing behind that cannot be opened.
fn make(path: &FilePath) -> Result<Opened, Failed> {
    let failed = |error| Failed::from(error::file(error, path));
    // An empty file may be reached by a link, and is replaced where it is.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let unfinished = unfinished(path);
    let mut file = OpenOptions::new();
    let file = file.read(true).write(true).create(true).truncate(false).open(&unfinished);
    let file = file.map_err(|error| failed(error.into()))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(Failed::Held),
        // Without locks there is nobody to be told apart.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    // Whoever had the lock before may have finished: then it is that very file under its own name.
    if let Found::Database = look(path)? {
        let _ = fs::remove_file(&unfinished);
        return Err(Failed::Held);
    }
    let made = fill(file, path, &unfinished);
    if made.is_err() {
        // It is as unusable as it is empty, and whoever comes next begins anew.
        let _ = fs::remove_file(&unfinished);
    }
    made
}

fn fill(file: fs::File, path: &FilePath, unfinished: &FilePath) -> Result<Opened, Failed> {
    let failed = |error| Failed::from(error::file(error, path));
    let begin = || -> io::Result<()> {
        file.set_len(0)?;
        match fs::metadata(path) {
            Ok(empty) => file.set_permissions(empty.permissions()),
            Err(_) => Ok(()),
        }
    };
    begin().map_err(|error| failed(error.into()))?;
    let file = Careful::ours(file).map_err(failed)?;
    let database = database(file.clone(), path)?;
    tables::begin_file(&database, OUR_FORMAT).map_err(failed)?;
    let name = || -> io::Result<()> {
        fs::rename(unfinished, path)?;
        // The name must outlive a power failure as the file does.
        fs::File::open(path.parent().unwrap_or(path))?.sync_all()
    };
    name().map_err(|error| failed(error.into()))?;
    Ok((file, database))
}

fn unfinished(path: &FilePath) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(UNFINISHED);
    name.into()
}
