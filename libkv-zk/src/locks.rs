use std::collections::BTreeMap;
use std::sync::Arc;

use libkv_core::Deadline;
use tokio::sync::watch;

/// The locks of a handle that are being taken or held.
#[derive(Debug, Clone, Default)]
pub(crate) struct Locks(Arc<watch::Sender<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    next: u64,
    /// Until when each is held.
    locks: BTreeMap<u64, Option<Deadline>>,
}

/// That there is a lock. It ends with this.
#[derive(Debug)]
pub(crate) struct Note {
    locks: Locks,
    number: u64,
}

impl Locks {
    /// Notes that a lock is about to be taken.
    pub(crate) fn note(&self) -> Note {
        let mut number = 0;
        self.0.send_modify(|notes| {
            number = notes.next;
            notes.next += 1;
            notes.locks.insert(number, None);
        });
        Note { locks: self.clone(), number }
    }

    /// Ends the possession of all, at once.
    pub(crate) fn expire(&self) {
        self.0.borrow().locks.values().flatten().for_each(Deadline::expire);
    }

    /// Waits until none is left.
    pub(crate) async fn given_back(&self) {
        // The sender is here.
        let _ = self.0.subscribe().wait_for(|notes| notes.locks.is_empty()).await;
    }
}

impl Note {
    /// The lock is held.
    pub(crate) fn held(&self, until: &Deadline) {
        self.locks.0.send_modify(|notes| {
            notes.locks.insert(self.number, Some(until.clone()));
        });
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        self.locks.0.send_modify(|notes| {
            notes.locks.remove(&self.number);
        });
    }
}
