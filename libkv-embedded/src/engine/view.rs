use std::sync::{Arc, Mutex, PoisonError};

use libkv_core::Result;
use redb::{Database, ReadableDatabase};

use super::tables::{self, REVISION, Reading};
use super::{File, Path, Record, Span};
use crate::error;

/// The records of a file at one moment. Where the file fails and is opened again, the moment lasts
/// as long as nothing is written after it.
#[derive(Debug)]
pub(crate) struct FileView {
    file: Arc<File>,
    reading: Mutex<Arc<Reading>>,
    revision: u64,
}

impl FileView {
    pub(super) fn new(file: &Arc<File>) -> Result<Self> {
        let (reading, revision) = file.read(begin)?;
        Ok(Self { file: Arc::clone(file), reading: Mutex::new(Arc::new(reading)), revision })
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, path: &str) -> Result<Option<Record>> {
        loop {
            match self.reading().get(path) {
                Err(error) if error::is_passing(&error) => self.renew()?,
                found => return found.map_err(error::storage),
            }
        }
    }

    pub(crate) fn scan(
        &self,
        span: &Span,
        visit: &mut dyn FnMut(&Path, &Record) -> bool,
    ) -> Result<()> {
        let mut rest = span.clone();
        loop {
            let mut last = None;
            let scanned = self.reading().scan(&rest, &mut |path, record| {
                last = Some(Arc::clone(path));
                visit(path, record)
            });
            match scanned {
                Err(error) if error::is_passing(&error) => self.renew()?,
                scanned => return scanned.map_err(error::storage),
            }
            if last.is_some() {
                rest = rest.after(last);
            }
        }
    }

    fn reading(&self) -> Arc<Reading> {
        Arc::clone(&self.reading.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the same moment in the file that was opened again.
    fn renew(&self) -> Result<()> {
        let (reading, revision) = self.file.read(begin)?;
        if revision != self.revision {
            return Err(error::moved_on());
        }
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(reading);
        Ok(())
    }
}

fn begin(database: &Database) -> Result<(Reading, u64), redb::Error> {
    let transaction = database.begin_read()?;
    let revision = tables::number(&transaction, REVISION)?.unwrap_or_default();
    Ok((Reading::new(&transaction)?, revision))
}
