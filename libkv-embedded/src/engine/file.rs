use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use libkv_core::{Error, Result};
use redb::Database;

use super::careful::Careful;
use super::guarded::Guarded;
use super::opening::{self, Failed};
use super::tables::{self, DUE, FLOOR, LOG, Moment, OWNED, REVISION, SET_ASIDE, Writing};
use super::{FileView, Id, Path, Record};
use crate::error::{self, FILE};
use crate::machine::{Due, History, State, Time};

/// How often to look whether another process has let go of the file.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often a reader looks whether the file has been opened again.
const LOOK_AT_ONCE: Duration = Duration::from_millis(1);
/// How long a reader waits for the writer to notice that the file failed. What takes long, which is
/// mending it, comes after.
const NOTICE: Duration = Duration::from_secs(2);
/// No file gets this far; there is room to count on.
const LAST_REVISION: u64 = u64::MAX / 2;

/// An opened file, which no other process can open meanwhile.
pub(crate) struct File {
    path: PathBuf,
    standing: RwLock<Standing>,
    /// What all readers look at until the next commit. The first of them makes it, and only while
    /// the file stands open, so that it never shows more than those who read later will find.
    moment: RwLock<Option<Arc<Moment>>>,
}

enum Standing {
    Open(Guarded<Database>, Careful),
    /// It failed and could not be opened again yet, for this reason.
    Failed(Error, Careful),
    Closed,
}

impl File {
    /// Opens a file or makes it, and waits for another process that has it. Blocks.
    pub(crate) fn open(path: &FilePath, wait: Duration) -> Result<Self> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let until = Instant::now() + wait;
        let (file, database) = loop {
            let failed = match opening::open_or_make(&path) {
                Ok(opened) => break opened,
                Err(Failed::Held) if Instant::now() < until => {
                    std::thread::sleep(LOOK_AGAIN);
                    continue;
                }
                Err(Failed::Held) => error::held(&path, wait),
                Err(Failed::Error(error)) => error,
            };
            return Err(failed.in_operation(FILE, "open"));
        };
        let standing = RwLock::new(Standing::Open(database, file));
        Ok(Self { path, standing, moment: RwLock::default() })
    }

    /// Begins to write. There is one who does, the writer's thread.
    pub(crate) fn begin(&self) -> Result<Writing> {
        Writing::begin(self.standing().database()?).map_err(error::storage)
    }

    /// The records as they are stored now.
    pub(crate) fn view(self: &Arc<Self>) -> Result<FileView> {
        FileView::new(self)
    }

    /// What the state is made from.
    pub(crate) fn load(&self) -> Result<Loaded> {
        let failed = |error| error::file(error, &self.path).in_operation(FILE, "open");
        Loaded::read(self.standing().database()?).map_err(failed)
    }

    /// Reads one record as it is stored now.
    pub(crate) fn get(&self, path: &str) -> Result<Option<Record>> {
        let mut until = None;
        loop {
            let moment = self.moment()?;
            let error = match moment.get(path) {
                Err(error) if error::is_passing(&error) => error,
                found => return found.map_err(error::storage),
            };
            self.discard(&moment);
            if Instant::now() >= *until.get_or_insert_with(|| Instant::now() + NOTICE) {
                return Err(error::storage(error));
            }
            std::thread::sleep(LOOK_AT_ONCE);
        }
    }

    /// The records as they are now. Where the file failed meanwhile, waits until it has been opened
    /// again.
    pub(super) fn moment(&self) -> Result<Arc<Moment>> {
        if let Some(moment) = &*self.moment.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(moment));
        }
        let until = Instant::now() + NOTICE;
        loop {
            match self.begin_moment()? {
                Err(error) if error::is_passing(&error) && Instant::now() < until => {
                    std::thread::sleep(LOOK_AT_ONCE);
                }
                begun => return begun.map_err(error::storage),
            }
        }
    }

    fn begin_moment(&self) -> Result<Result<Arc<Moment>, redb::Error>> {
        let standing = self.standing();
        let database = standing.database()?;
        let mut moment = self.moment.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(moment) = &*moment {
            return Ok(Ok(Arc::clone(moment)));
        }
        let begun = Moment::now(database).map(Arc::new);
        *moment = begun.as_ref().ok().cloned();
        Ok(begun)
    }

    /// Makes readers look anew. The writer calls it after each commit and before anybody is told.
    pub(crate) fn move_on(&self) {
        let old = self.moment.write().unwrap_or_else(PoisonError::into_inner).take();
        // Not behind the lock: the last use of a moment gives its pages back.
        drop(old);
    }

    /// Gives up a moment that cannot be read any more.
    pub(super) fn discard(&self, failed: &Arc<Moment>) {
        let mut moment = self.moment.write().unwrap_or_else(PoisonError::into_inner);
        moment.take_if(|moment| Arc::ptr_eq(moment, failed));
    }

    /// Opens the file again, after it failed, and lets nobody in meanwhile.
    pub(crate) fn reopen(&self) -> Result<()> {
        let mut standing = self.standing.write().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = standing.file() else {
            return Err(error::file_closed());
        };
        file.keep_locks();
        // First of all the old one must be gone: two that write would spoil the file.
        self.move_on();
        *standing = Standing::Closed;
        let failure = match opening::open_again(&file, &self.path) {
            Ok(database) => {
                *standing = Standing::Open(database, file);
                return Ok(());
            }
            Err(Failed::Error(error)) => error,
            Err(Failed::Held) => error::held(&self.path, Duration::ZERO),
        };
        *standing = Standing::Failed(failure.clone(), file);
        Err(failure)
    }

    /// Lets others open the file. Whoever still reads is told that it is closed.
    pub(crate) fn close(&self) {
        let mut standing = self.standing.write().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = standing.file() else {
            return;
        };
        file.keep_locks();
        self.move_on();
        *standing = Standing::Closed;
        file.release_locks();
    }

    fn standing(&self) -> RwLockReadGuard<'_, Standing> {
        self.standing.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn database(&self) -> Result<&Guarded<Database>> {
        match self {
            Self::Open(database, _) => Ok(database),
            Self::Failed(error, _) => Err(error.clone()),
            Self::Closed => Err(error::file_closed()),
        }
    }

    fn file(&self) -> Option<Careful> {
        match self {
            Self::Open(_, file) | Self::Failed(_, file) => Some(file.clone()),
            Self::Closed => None,
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.path).finish()
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
    fn read(database: &Guarded<Database>) -> Result<Self, redb::Error> {
        let transaction = tables::begin_read(database)?;
        let number = |name| tables::number(&transaction, name).map(Option::unwrap_or_default);
        let due = tables::all(&transaction, DUE, |(time, path), ()| {
            (Time::from_nanos(time), Path::from(path))
        })?;
        let owners = tables::all(&transaction, OWNED, |(id, path), ()| (id, Path::from(path)))?;
        let mut owned: HashMap<Id, BTreeSet<Path>> = HashMap::new();
        for (id, path) in owners {
            owned.entry(id).or_default().insert(path);
        }
        let changes = tables::all(&transaction, LOG, tables::change)?;
        let (revision, set_aside, floor) = (number(REVISION)?, number(SET_ASIDE)?, number(FLOOR)?);
        let latest = changes.iter().map(|change| change.revision).fold(floor, u64::max);
        if latest > revision || revision.max(set_aside) > LAST_REVISION {
            return Err(redb::Error::Corrupted("its revisions do not belong together".to_owned()));
        }
        let history = History::load(floor, changes);
        Ok(Self { revision, set_aside, owned, due, history })
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
