//! The tables of a file, written by one and read by many.

use std::fmt;
use std::ops::Bound;

use bytes::Bytes;
use libkv_core::Result;
use redb::{
    AccessGuard, Database, Key, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    Table, TableDefinition, Value, WriteTransaction,
};

use super::guarded::Guarded;
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
pub(crate) fn begin_file(database: &Guarded<Database>, format: u64) -> Result<(), redb::Error> {
    let transaction = database.make(|database| Ok(database.begin_write()?))?;
    let mut tables = Tables::open(&transaction)?;
    set(&mut tables.meta, FORMAT, format)?;
    tables.finish()?;
    transaction.end(|transaction| Ok(transaction.commit()?))
}

pub(crate) fn begin_read(
    database: &Guarded<Database>,
) -> Result<Guarded<ReadTransaction>, redb::Error> {
    database.make(|database| Ok(database.begin_read()?))
}

/// A number of the file's own.
pub(crate) fn number(
    transaction: &Guarded<ReadTransaction>,
    name: &str,
) -> Result<Option<u64>, redb::Error> {
    number_in(&open_to_read(transaction, META)?, name)
}

/// All of a table, each entry as `take` makes it.
pub(crate) fn all<K: Key + 'static, V: Value + 'static, T>(
    transaction: &Guarded<ReadTransaction>,
    table: TableDefinition<'_, K, V>,
    take: impl Fn(K::SelfType<'_>, V::SelfType<'_>) -> T,
) -> Result<Vec<T>, redb::Error> {
    open_to_read(transaction, table)?.call(|table| {
        let mut all = Vec::new();
        for entry in table.iter()? {
            let (key, value) = entry?;
            all.push(take(key.value(), value.value()));
        }
        Ok(all)
    })
}

fn open_to_read<K: Key + 'static, V: Value + 'static>(
    transaction: &Guarded<ReadTransaction>,
    table: TableDefinition<'_, K, V>,
) -> Result<Guarded<ReadOnlyTable<K, V>>, redb::Error> {
    transaction.make(|transaction| Ok(transaction.open_table(table)?))
}

fn open_to_write<'t, K: Key + 'static, V: Value + 'static>(
    transaction: &'t Guarded<WriteTransaction>,
    table: TableDefinition<'_, K, V>,
) -> Result<Guarded<Table<'t, K, V>>, redb::Error> {
    transaction.make(|transaction| Ok(transaction.open_table(table)?))
}

fn number_in(
    meta: &Guarded<impl ReadableTable<&'static str, u64>>,
    name: &str,
) -> Result<Option<u64>, redb::Error> {
    meta.call(|meta| Ok(meta.get(name)?.map(|number| number.value())))
}

fn set(
    meta: &mut Guarded<Table<'_, &'static str, u64>>,
    name: &str,
    number: u64,
) -> Result<(), redb::Error> {
    meta.make_mut(|meta| Ok(meta.insert(name, number)?))?.close()
}

/// A write on its way: done, and then committed or dropped.
pub(crate) struct Writing {
    transaction: Guarded<WriteTransaction>,
    dirty: bool,
}

impl Writing {
    pub(crate) fn begin(database: &Guarded<Database>) -> Result<Self, redb::Error> {
        let transaction = database.make(|database| Ok(database.begin_write()?))?;
        Ok(Self { transaction, dirty: false })
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
            let mut meta = open_to_write(&self.transaction, META)?;
            set(&mut meta, REVISION, revision)?;
            meta.close()?;
            self.transaction.end(|transaction| Ok(transaction.commit()?))
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
    meta: Guarded<Table<'t, &'static str, u64>>,
    records: Guarded<Table<'t, &'static str, Stored<'static>>>,
    due: Guarded<Table<'t, (u64, &'static str), ()>>,
    owned: Guarded<Table<'t, (u64, &'static str), ()>>,
    log: Guarded<Table<'t, (u64, &'static str), Logged<'static>>>,
    set_aside: u64,
    floor: Option<u64>,
    dirty: bool,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t Guarded<WriteTransaction>) -> Result<Self, redb::Error> {
        let meta = open_to_write(transaction, META)?;
        let set_aside = number_in(&meta, SET_ASIDE)?.unwrap_or_default();
        Ok(Self {
            meta,
            records: open_to_write(transaction, RECORDS)?,
            due: open_to_write(transaction, DUE)?,
            owned: open_to_write(transaction, OWNED)?,
            log: open_to_write(transaction, LOG)?,
            set_aside,
            floor: None,
            dirty: false,
        })
    }

    /// Drops what the log need not keep any more, and closes the tables, which is when what they
    /// became is noted for the commit.
    fn finish(mut self) -> Result<(), redb::Error> {
        if let Some(floor) = self.floor {
            set(&mut self.meta, FLOOR, floor)?;
            self.log.call_mut(|log| Ok(log.retain_in(..(floor + 1, ""), |_, _| false)?))?;
        }
        self.meta.close()?;
        self.records.close()?;
        self.due.close()?;
        self.owned.close()?;
        self.log.close()
    }

    fn forget_owner(&mut self, path: &str, owner: Owner) -> Result<(), redb::Error> {
        match owner {
            Owner::Nobody => {}
            Owner::Until(time) => {
                self.due.make_mut(|due| Ok(due.remove((time.nanos(), path))?))?.close()?;
            }
            Owner::Session(id) | Owner::Guard(id) => {
                self.owned.make_mut(|owned| Ok(owned.remove((id, path))?))?.close()?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &str, record: &Record) -> Result<Option<Owner>, redb::Error> {
        let (kind, number) = owner_to_numbers(record.owner);
        let stored = (record.revision, kind, number, &*record.value);
        let old = self.records.make_mut(|records| Ok(records.insert(path, stored)?))?;
        let old = owner_in(old)?;
        if let Some(old) = old {
            self.forget_owner(path, old)?;
        }
        match record.owner {
            Owner::Nobody => {}
            Owner::Until(time) => {
                self.due.make_mut(|due| Ok(due.insert((time.nanos(), path), ())?))?.close()?;
            }
            Owner::Session(id) | Owner::Guard(id) => {
                self.owned.make_mut(|owned| Ok(owned.insert((id, path), ())?))?.close()?;
            }
        }
        Ok(old)
    }

    fn take(&mut self, path: &str) -> Result<Option<Owner>, redb::Error> {
        let old = owner_in(self.records.make_mut(|records| Ok(records.remove(path)?))?)?;
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
        let old = self.log.make_mut(|log| Ok(log.insert(key, logged)?));
        old.and_then(Guarded::close).map_err(failed)
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
        set(&mut self.meta, SET_ASIDE, self.set_aside).map_err(failed)
    }
}

/// The records of one moment, for readers. It begins like every use of a table of redb's with some
/// effort, and is shared.
pub(crate) struct Moment {
    records: Guarded<ReadOnlyTable<&'static str, Stored<'static>>>,
    revision: u64,
}

impl Moment {
    pub(crate) fn now(database: &Guarded<Database>) -> Result<Self, redb::Error> {
        let transaction = begin_read(database)?;
        let revision = number(&transaction, REVISION)?.unwrap_or_default();
        Ok(Self { records: open_to_read(&transaction, RECORDS)?, revision })
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
    records: &Guarded<impl ReadableTable<&'static str, Stored<'static>>>,
    path: &str,
) -> Result<Option<Record>, redb::Error> {
    records.call(|records| Ok(records.get(path)?.map(|found| record(found.value()))))
}

fn scan(
    records: &Guarded<impl ReadableTable<&'static str, Stored<'static>>>,
    span: &Span,
    visit: Visit<'_>,
) -> Result<(), redb::Error> {
    let range = (span.start(), Bound::Unbounded);
    let mut entries = records.make(|records| Ok(records.range::<&str>(range)?))?;
    let mut next = || {
        entries.call_mut(|entries| {
            let Some((path, stored)) = entries.next().transpose()? else {
                return Ok(None);
            };
            let path = path.value();
            Ok(span.holds(path).then(|| (Path::from(path), record(stored.value()))))
        })
    };
    // Who visits is not guarded: a panic there is none of redb's.
    while let Some((path, record)) = next()? {
        if !visit(path, record) {
            break;
        }
    }
    Ok(())
}

/// The owner in a record that gives way; its end is a part of what was done to the table.
fn owner_in(
    old: Guarded<Option<AccessGuard<'_, Stored<'static>>>>,
) -> Result<Option<Owner>, redb::Error> {
    let owner = old.call(|old| {
        Ok(old.as_ref().map(|old| {
            let (_, kind, number, _) = old.value();
            owner_from_numbers(kind, number)
        }))
    })?;
    old.close()?;
    Ok(owner)
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
