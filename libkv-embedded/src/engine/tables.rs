//! The tables of a file, written by one and read by many.

use std::fmt;
use std::ops::Bound;

use bytes::Bytes;
use libkv_core::Result;
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, Table,
    TableDefinition, WriteTransaction,
};

use super::{Engine, Owner, Path, Record, Span, Visit};
use crate::error;
use crate::machine::{Change, Time};

pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("libkv-meta");
const RECORDS: TableDefinition<'_, &str, Stored<'_>> = TableDefinition::new("libkv-records");
/// Keys with an end, by its time.
pub(crate) const DUE: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("libkv-due");
/// Keys that live as long as a session or a lock attempt, by its id.
pub(crate) const OWNED: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("libkv-owned");
/// The latest changes, by revision: whether the key existed before, whether it does now, and what
/// it holds now.
pub(crate) const LOG: TableDefinition<'_, (u64, &str), Logged<'_>> =
    TableDefinition::new("libkv-log");

pub(crate) const FORMAT: &str = "format";
pub(crate) const REVISION: &str = "revision";
/// Changes of this revision and older ones are not in the log.
pub(crate) const FLOOR: &str = "floor";
/// Revisions up to this one may have been given out without a write.
pub(crate) const SET_ASIDE: &str = "set-aside";
/// How many are set aside at once, so that a lock's token need not be stored each time.
const LOT: u64 = 1000;

/// A record: its revision, the kind of its owner and the owner's number, and the value.
type Stored<'a> = (u64, u8, u64, &'a [u8]);
type Logged<'a> = (bool, bool, u8, u64, &'a [u8]);

/// Makes the tables of a new file.
pub(crate) fn begin_file(database: &Database, format: u64) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(FORMAT, format)?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(DUE)?;
    transaction.open_table(OWNED)?;
    transaction.open_table(LOG)?;
    Ok(transaction.commit()?)
}

/// A number of the file's own.
pub(crate) fn number(
    transaction: &ReadTransaction,
    name: &str,
) -> Result<Option<u64>, redb::Error> {
    Ok(transaction.open_table(META)?.get(name)?.map(|number| number.value()))
}

/// A write on its way: done, and then committed or dropped.
pub(crate) struct Writing {
    transaction: WriteTransaction,
    dirty: bool,
}

impl Writing {
    pub(crate) fn new(transaction: WriteTransaction) -> Self {
        Self { transaction, dirty: false }
    }

    pub(crate) fn work(&mut self, work: impl FnOnce(&mut Tables<'_>) -> Result<()>) -> Result<()> {
        let mut tables = Tables::open(&self.transaction).map_err(failed)?;
        work(&mut tables)?;
        self.dirty = tables.dirty;
        tables.finish().map_err(failed)
    }

    /// Makes it durable, where anything was written.
    pub(crate) fn commit(self, revision: u64) -> Result<()> {
        if !self.dirty {
            return Ok(());
        }
        let commit = || -> Result<(), redb::Error> {
            self.transaction.open_table(META)?.insert(REVISION, revision)?;
            Ok(self.transaction.commit()?)
        };
        commit().map_err(failed)
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("dirty", &self.dirty).finish_non_exhaustive()
    }
}

/// The tables, opened for the length of a batch.
pub(crate) struct Tables<'t> {
    meta: Table<'t, &'static str, u64>,
    records: Table<'t, &'static str, Stored<'static>>,
    due: Table<'t, (u64, &'static str), ()>,
    owned: Table<'t, (u64, &'static str), ()>,
    log: Table<'t, (u64, &'static str), Logged<'static>>,
    set_aside: u64,
    floor: Option<u64>,
    dirty: bool,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let meta = transaction.open_table(META)?;
        let set_aside = meta.get(SET_ASIDE)?.map_or(0, |number| number.value());
        Ok(Self {
            meta,
            records: transaction.open_table(RECORDS)?,
            due: transaction.open_table(DUE)?,
            owned: transaction.open_table(OWNED)?,
            log: transaction.open_table(LOG)?,
            set_aside,
            floor: None,
            dirty: false,
        })
    }

    /// Drops what the log need not keep any more.
    fn finish(mut self) -> Result<(), redb::Error> {
        let Some(floor) = self.floor else {
            return Ok(());
        };
        self.meta.insert(FLOOR, floor)?;
        self.log.retain_in(..(floor + 1, ""), |_, _| false)?;
        Ok(())
    }

    fn forget_owner(&mut self, path: &str, owner: Owner) -> Result<(), redb::Error> {
        match owner {
            Owner::Nobody => {}
            Owner::Until(time) => {
                self.due.remove((time.nanos(), path))?;
            }
            Owner::Session(id) | Owner::Guard(id) => {
                self.owned.remove((id, path))?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &str, record: &Record) -> Result<Option<Owner>, redb::Error> {
        let (kind, number) = owner_to_numbers(record.owner);
        let stored = (record.revision, kind, number, &*record.value);
        let old = self.records.insert(path, stored)?.map(|old| {
            let (_, kind, number, _) = old.value();
            owner_from_numbers(kind, number)
        });
        if let Some(old) = old {
            self.forget_owner(path, old)?;
        }
        match record.owner {
            Owner::Nobody => {}
            Owner::Until(time) => {
                self.due.insert((time.nanos(), path), ())?;
            }
            Owner::Session(id) | Owner::Guard(id) => {
                self.owned.insert((id, path), ())?;
            }
        }
        Ok(old)
    }

    fn take(&mut self, path: &str) -> Result<Option<Owner>, redb::Error> {
        let old = self.records.remove(path)?.map(|old| {
            let (_, kind, number, _) = old.value();
            owner_from_numbers(kind, number)
        });
        if let Some(old) = old {
            self.forget_owner(path, old)?;
        }
        Ok(old)
    }
}

impl Engine for Tables<'_> {
    fn get(&self, path: &str) -> Result<Option<Record>> {
        get(&self.records, path).map_err(failed)
    }

    fn put(&mut self, path: &Path, record: &Record) -> Result<Option<Owner>> {
        self.dirty = true;
        self.insert(path, record).map_err(failed)
    }

    fn remove(&mut self, path: &str) -> Result<Option<Owner>> {
        let old = self.take(path).map_err(failed)?;
        self.dirty |= old.is_some();
        Ok(old)
    }

    fn scan(&self, span: &Span, visit: Visit<'_>) -> Result<()> {
        scan(&self.records, span, visit).map_err(failed)
    }

    fn log(&mut self, change: &Change) -> Result<()> {
        let owner = change.record.as_ref().map_or(Owner::Nobody, |record| record.owner);
        let (kind, number) = owner_to_numbers(owner);
        let value: &[u8] = change.record.as_ref().map_or(&[], |record| &record.value);
        let logged = (change.existed, change.record.is_some(), kind, number, value);
        let key = (change.revision, &*change.path);
        self.log.insert(key, logged).map_err(|error| failed(error.into()))?;
        Ok(())
    }

    fn forget(&mut self, floor: u64) -> Result<()> {
        self.floor = Some(floor);
        Ok(())
    }

    fn reserve(&mut self, revision: u64) -> Result<()> {
        if revision <= self.set_aside {
            return Ok(());
        }
        self.set_aside = revision + LOT;
        self.dirty = true;
        self.meta.insert(SET_ASIDE, self.set_aside).map_err(|error| failed(error.into()))?;
        Ok(())
    }
}

/// The records of one moment, for readers. It begins like every use of a table of redb's with some
/// effort, and is shared.
pub(crate) struct Moment {
    records: ReadOnlyTable<&'static str, Stored<'static>>,
    revision: u64,
}

impl Moment {
    pub(crate) fn now(database: &Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        let revision = number(&transaction, REVISION)?.unwrap_or_default();
        Ok(Self { records: transaction.open_table(RECORDS)?, revision })
    }

    /// The revision of the last write.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, path: &str) -> Result<Option<Record>, redb::Error> {
        get(&self.records, path)
    }

    pub(crate) fn scan(&self, span: &Span, visit: Visit<'_>) -> Result<(), redb::Error> {
        scan(&self.records, span, visit)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment").field("revision", &self.revision).finish_non_exhaustive()
    }
}

fn get(
    records: &impl ReadableTable<&'static str, Stored<'static>>,
    path: &str,
) -> Result<Option<Record>, redb::Error> {
    let found = records.get(path)?;
    Ok(found.map(|found| record(found.value())))
}

fn scan(
    records: &impl ReadableTable<&'static str, Stored<'static>>,
    span: &Span,
    visit: Visit<'_>,
) -> Result<(), redb::Error> {
    for entry in records.range::<&str>((span.start(), Bound::Unbounded))? {
        let (path, stored) = entry?;
        let path = path.value();
        if !span.holds(path) || !visit(path.into(), record(stored.value())) {
            break;
        }
    }
    Ok(())
}

fn record((revision, kind, number, value): Stored<'_>) -> Record {
    let owner = owner_from_numbers(kind, number);
    Record { value: Bytes::copy_from_slice(value), revision, owner }
}

/// Reads a change of the log.
pub(crate) fn change((revision, path): (u64, &str), logged: Logged<'_>) -> Change {
    let (existed, exists, kind, number, value) = logged;
    let record = exists.then(|| record((revision, kind, number, value)));
    Change { revision, path: path.into(), record, existed }
}

fn owner_to_numbers(owner: Owner) -> (u8, u64) {
    match owner {
        Owner::Nobody => (0, 0),
        Owner::Until(time) => (1, time.nanos()),
        Owner::Session(id) => (2, id),
        Owner::Guard(id) => (3, id),
    }
}

fn owner_from_numbers(kind: u8, number: u64) -> Owner {
    match kind {
        1 => Owner::Until(Time::from_nanos(number)),
        2 => Owner::Session(number),
        3 => Owner::Guard(number),
        _ => Owner::Nobody,
    }
}

fn failed(error: redb::Error) -> libkv_core::Error {
    error::storage(error)
}
