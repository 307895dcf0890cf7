use std::collections::VecDeque;

use crate::engine::{Path, Record};

/// How much of the past is kept, for watches that begin there or fell behind.
const MAX_CHANGES: usize = 10_000;
const MAX_BYTES: usize = 16 << 20;
/// How much of what has left is forgotten by the engine at once, which is cheaper than one by one.
const LOT: usize = 512;
const LOT_BYTES: usize = 1 << 20;

/// One key's change in one revision.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) path: Path,
    /// The new state; none for a delete.
    pub(crate) record: Option<Record>,
    /// Whether the key existed before.
    pub(crate) existed: bool,
}

impl Change {
    fn bytes(&self) -> usize {
        self.path.len() + self.record.as_ref().map_or(0, |record| record.value.len())
    }
}

/// The latest changes, in order.
#[derive(Debug, Default)]
pub(crate) struct History {
    changes: VecDeque<Change>,
    bytes: usize,
    /// How many changes have left of which the engine was not told yet, and their bytes.
    left: usize,
    left_bytes: usize,
    /// Changes of this revision and older ones may be missing.
    floor: u64,
}

impl History {
    /// A history that begins after `floor`.
    pub(crate) fn load(floor: u64, changes: impl IntoIterator<Item = Change>) -> Self {
        let mut history = Self { floor, ..Self::default() };
        for change in changes {
            history.push(change);
        }
        history
    }

    /// Keeps a change; returns the floor when so many older ones had to go that the engine should
    /// forget them.
    pub(crate) fn push(&mut self, change: Change) -> Option<u64> {
        self.bytes += change.bytes();
        self.changes.push_back(change);
        while self.changes.len() > MAX_CHANGES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.changes.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            self.floor = oldest.revision;
            self.left += 1;
            self.left_bytes += oldest.bytes();
        }
        if self.left < LOT && self.left_bytes < LOT_BYTES {
            return None;
        }
        (self.left, self.left_bytes) = (0, 0);
        Some(self.floor)
    }

    /// The changes after `revision`; none where some of them are no longer here.
    pub(crate) fn after(&self, revision: u64) -> Option<impl Iterator<Item = &Change>> {
        if revision < self.floor {
            return None;
        }
        let start = self.changes.partition_point(|change| change.revision <= revision);
        Some(self.changes.range(start..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64) -> Change {
        Change { revision, path: "a".into(), record: None, existed: true }
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_gone_is_known() {
        let mut history = History::default();
        for revision in 1..=MAX_CHANGES as u64 + 5 {
            history.push(change(revision));
        }
        assert!(history.after(4).is_none());
        assert_eq!(history.after(5).unwrap().count(), MAX_CHANGES);
        assert_eq!(history.after(MAX_CHANGES as u64 + 4).unwrap().count(), 1);
        assert_eq!(history.after(u64::MAX).unwrap().count(), 0);
    }

    #[test]
    fn the_engine_forgets_in_lots_and_never_what_is_kept() {
        let mut history = History::default();
        let mut forgotten = 0;
        for revision in 1..=(MAX_CHANGES + 3 * LOT) as u64 {
            if let Some(floor) = history.push(change(revision)) {
                assert_eq!(floor, forgotten + LOT as u64);
                assert!(history.after(floor).is_some());
                forgotten = floor;
            }
        }
        assert_eq!(forgotten, 3 * LOT as u64);
    }

    #[test]
    fn large_values_leave_sooner() {
        let mut history = History::default();
        let record = Record {
            value: vec![0; MAX_BYTES / 2].into(),
            revision: 0,
            owner: crate::engine::Owner::Nobody,
        };
        let mut push =
            |revision| history.push(Change { record: Some(record.clone()), ..change(revision) });
        assert_eq!([push(1), push(2), push(3)], [None, Some(1), Some(2)]);
        assert!(history.after(1).is_none());
        assert_eq!(history.after(2).unwrap().count(), 1);
    }
}
