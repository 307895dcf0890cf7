use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use libkv_core::Error;

use crate::client::Entry;

/// A name whose state is another one than before.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) name: String,
    /// None where it is gone.
    pub(crate) entry: Option<Entry>,
    /// The index of the answer that showed it.
    pub(crate) index: u64,
}

/// What a feed has to say to one of those who listen.
#[derive(Debug)]
pub(crate) enum Note {
    /// From now on changes are said. What was there before is not.
    Begun,
    Change(Arc<Change>),
    /// All changes up to this index have been said, as far as they were not folded.
    Level {
        index: u64,
    },
    /// The consumer was too slow: changes were dropped, and are until it listens again.
    Lagged,
    /// The server's history went back. All that is there now follows as changes, then what is gone.
    Rewound,
    /// The feed has ended for good.
    Failed(Error),
    /// The handle was closed.
    Closed,
}

/// Where notes wait for a consumer. Its side that fills it never waits.
#[derive(Debug)]
pub(crate) struct Mailbox(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    notes: VecDeque<Note>,
    changes: usize,
    capacity: usize,
    lagging: bool,
    waker: Option<Waker>,
}

impl Mailbox {
    /// A mailbox that holds at most `capacity` changes.
    pub(crate) fn new(capacity: usize) -> Self {
        let (notes, waker) = (VecDeque::new(), None);
        Self(Mutex::new(Inner { notes, changes: 0, capacity, lagging: false, waker }))
    }

    /// Adds changes that came together.
    pub(crate) fn add(&self, changes: &[Arc<Change>]) {
        let mut inner = self.inner();
        if inner.lagging || changes.is_empty() {
            return;
        }
        if inner.changes + changes.len() <= inner.capacity {
            inner.changes += changes.len();
            inner.notes.extend(changes.iter().cloned().map(Note::Change));
        } else {
            inner.lag();
        }
        wake(inner);
    }

    /// Says that there were more changes than anybody takes.
    pub(crate) fn lag(&self) {
        let mut inner = self.inner();
        if !inner.lagging {
            inner.lag();
        }
        wake(inner);
    }

    /// How many changes it holds.
    pub(crate) fn capacity(&self) -> usize {
        self.inner().capacity
    }

    /// Says up to where all has been said. Of several in a row the last one counts.
    pub(crate) fn level(&self, index: u64) {
        let mut inner = self.inner();
        if inner.lagging {
            return;
        }
        match inner.notes.back_mut() {
            Some(Note::Level { index: said }) => *said = index,
            _ => inner.notes.push_back(Note::Level { index }),
        }
        wake(inner);
    }

    /// Adds what is not a change.
    pub(crate) fn say(&self, note: Note) {
        let mut inner = self.inner();
        inner.notes.push_back(note);
        wake(inner);
    }

    /// Takes changes again after a [`Note::Lagged`].
    pub(crate) fn listen_again(&self) {
        self.inner().lagging = false;
    }

    /// The next note.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Note> {
        let mut inner = self.inner();
        let Some(note) = inner.notes.pop_front() else {
            inner.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if matches!(note, Note::Change(_)) {
            inner.changes -= 1;
        }
        Poll::Ready(note)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Drops what waits, since the state must be looked at anyway.
    fn lag(&mut self) {
        self.notes.retain(|note| !matches!(note, Note::Change(_) | Note::Level { .. }));
        self.changes = 0;
        self.lagging = true;
        self.notes.push_back(Note::Lagged);
    }
}

/// Wakes the consumer once the mailbox is not locked any more.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(mailbox: &Mailbox) -> Vec<String> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut taken = Vec::new();
        while let Poll::Ready(note) = mailbox.poll(&mut cx) {
            taken.push(match note {
                Note::Change(change) => change.name.clone(),
                note => format!("{note:?}"),
            });
        }
        taken
    }

    fn changes(names: &[&str]) -> Vec<Arc<Change>> {
        let change =
            |name: &&str| Arc::new(Change { name: (*name).to_owned(), entry: None, index: 1 });
        names.iter().map(change).collect()
    }

    #[test]
    fn what_does_not_fit_is_said_once_and_dropped_until_somebody_listens() {
        let mailbox = Mailbox::new(2);
        mailbox.say(Note::Begun);
        mailbox.add(&changes(&["a", "b"]));
        mailbox.level(3);
        mailbox.add(&changes(&["c"]));
        mailbox.level(4);
        assert_eq!(take(&mailbox), ["Begun", "Lagged"]);
        mailbox.add(&changes(&["d"]));
        assert!(take(&mailbox).is_empty());
        mailbox.listen_again();
        mailbox.add(&changes(&["e", "f"]));
        assert_eq!(take(&mailbox), ["e", "f"]);
    }

    #[test]
    fn of_levels_in_a_row_the_last_one_counts() {
        let mailbox = Mailbox::new(9);
        (1..5).for_each(|index| mailbox.level(index));
        mailbox.add(&changes(&["a"]));
        mailbox.level(6);
        assert_eq!(take(&mailbox), ["Level { index: 4 }", "a", "Level { index: 6 }"]);
    }
}
