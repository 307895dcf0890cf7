use std::collections::BTreeMap;
use std::ops::Bound;

use libkv_core::Result;

use super::{Engine, Owner, Path, Record, Span, Visit};
use crate::machine::Change;

/// Records in memory: an ordered map. The state machine's own history is the log.
#[derive(Debug, Default)]
pub(crate) struct Memory(BTreeMap<Path, Record>);

impl Engine for Memory {
    fn get(&self, path: &str) -> Result<Option<Record>> {
        Ok(self.0.get(path).cloned())
    }

    fn put(&mut self, path: &Path, record: &Record) -> Result<Option<Owner>> {
        if let Some(known) = self.0.get_mut(path) {
            return Ok(Some(std::mem::replace(known, record.clone()).owner));
        }
        self.0.insert(path.clone(), record.clone());
        Ok(None)
    }

    fn remove(&mut self, path: &str) -> Result<Option<Owner>> {
        Ok(self.0.remove(path).map(|record| record.owner))
    }

    fn scan(&self, span: &Span, visit: Visit<'_>) -> Result<()> {
        for (path, record) in self.0.range::<str, _>((span.start(), Bound::Unbounded)) {
            if !span.holds(path) || !visit(path.clone(), record.clone()) {
                break;
            }
        }
        Ok(())
    }

    fn log(&mut self, _: &Change) -> Result<()> {
        Ok(())
    }

    fn forget(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn reserve(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
}
