use std::collections::BTreeMap;
use std::ops::Bound;

use libkv_core::Result;

use super::{Engine, Path, Record, Span};

/// Records in memory: an ordered map.
#[derive(Debug, Default)]
pub(crate) struct Memory(BTreeMap<Path, Record>);

impl Engine for Memory {
    fn get(&self, path: &str) -> Result<Option<Record>> {
        Ok(self.0.get(path).cloned())
    }

    fn put(&mut self, path: &Path, record: Record) -> Result<()> {
        match self.0.get_mut(path) {
            Some(known) => *known = record,
            None => {
                self.0.insert(path.clone(), record);
            }
        }
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<()> {
        self.0.remove(path);
        Ok(())
    }

    fn scan(&self, span: &Span, visit: &mut dyn FnMut(&Path, &Record) -> bool) -> Result<()> {
        let (start, exclusive) = span.start();
        let start = if exclusive { Bound::Excluded(start) } else { Bound::Included(start) };
        for (path, record) in self.0.range::<str, _>((start, Bound::Unbounded)) {
            if !span.holds(path) || !visit(path, record) {
                break;
            }
        }
        Ok(())
    }
}
