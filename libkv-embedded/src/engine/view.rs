use std::sync::{Arc, Mutex, PoisonError};

use libkv_core::Result;

use super::tables::Moment;
use super::{File, Path, Record, Span, Visit};
use crate::error;

/// The records of a file at one moment. Where the file fails and is opened again, the moment lasts
/// as long as nothing is written after it.
#[derive(Debug)]
pub(crate) struct FileView {
    file: Arc<File>,
    moment: Mutex<Arc<Moment>>,
    revision: u64,
}

impl FileView {
    pub(super) fn new(file: &Arc<File>) -> Result<Self> {
        let moment = file.moment()?;
        let revision = moment.revision();
        Ok(Self { file: Arc::clone(file), moment: Mutex::new(moment), revision })
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, path: &str) -> Result<Option<Record>> {
        loop {
            let moment = self.moment();
            match moment.get(path) {
                Err(error) if error::is_passing(&error) => self.renew(&moment)?,
                found => return found.map_err(error::storage),
            }
        }
    }

    pub(crate) fn scan(&self, span: &Span, visit: Visit<'_>) -> Result<()> {
        let mut rest = span.clone();
        loop {
            let mut last: Option<Path> = None;
            let moment = self.moment();
            let scanned = moment.scan(&rest, &mut |path, record| {
                last = Some(Arc::clone(&path));
                visit(path, record)
            });
            match scanned {
                Err(error) if error::is_passing(&error) => self.renew(&moment)?,
                scanned => return scanned.map_err(error::storage),
            }
            if let Some(last) = last {
                rest = rest.after(last);
            }
        }
    }

    fn moment(&self) -> Arc<Moment> {
        Arc::clone(&self.moment.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the same moment in the file that was opened again.
    fn renew(&self, failed: &Arc<Moment>) -> Result<()> {
        self.file.discard(failed);
        let moment = self.file.moment()?;
        if moment.revision() != self.revision {
            return Err(error::moved_on());
        }
        *self.moment.lock().unwrap_or_else(PoisonError::into_inner) = moment;
        Ok(())
    }
}
