use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use etcd_client::proto::PbEvent;
use libkv_core::Error;

/// What the shared stream has to say to one watch.
#[derive(Debug)]
pub(crate) enum Note {
    /// The server watches; the changes after this revision come, or those from the revision that
    /// was asked for. It is said once, and not after a reconnection.
    Opened { revision: i64 },
    /// One change.
    Change(PbEvent),
    /// All changes up to this revision have been said.
    Level { revision: i64 },
    /// The consumer was too slow: changes were dropped, and are until it listens again.
    Lagged,
    /// The server has forgotten changes that were not said yet, and the watch has ended there.
    Compacted,
    /// The server's history went back, and the watch has ended there.
    Rewound,
    /// The watch has ended for good.
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
        let notes = VecDeque::new();
        Self(Mutex::new(Inner { notes, changes: 0, capacity, lagging: false, waker: None }))
    }

    /// Adds changes that happened together. Where they do not fit, all that wait are dropped: the
    /// consumer must look at the state again anyway.
    pub(crate) fn add(&self, events: impl ExactSizeIterator<Item = PbEvent>) {
        let mut inner = self.inner();
        if inner.lagging {
            return;
        }
        if inner.changes + events.len() > inner.capacity {
            inner.notes.retain(|note| !matches!(note, Note::Change(_)));
            inner.changes = 0;
            inner.lagging = true;
            inner.notes.push_back(Note::Lagged);
        } else {
            inner.changes += events.len();
            inner.notes.extend(events.map(Note::Change));
        }
        wake(inner);
    }

    /// Adds what is not a change.
    pub(crate) fn say(&self, note: Note) {
        let mut inner = self.inner();
        // Most mailboxes never hold more at once, and there may be thousands.
        inner.notes.reserve_exact(1);
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
                Note::Change(_) => "change".to_owned(),
                note => format!("{note:?}"),
            });
        }
        taken
    }

    fn events(count: usize) -> impl ExactSizeIterator<Item = PbEvent> {
        vec![PbEvent::default(); count].into_iter()
    }

    #[test]
    fn what_does_not_fit_is_said_once_and_dropped_until_somebody_listens() {
        let mailbox = Mailbox::new(2);
        mailbox.say(Note::Opened { revision: 1 });
        mailbox.add(events(2));
        mailbox.add(events(1));
        mailbox.add(events(1));
        assert_eq!(take(&mailbox), ["Opened { revision: 1 }", "Lagged"]);
        mailbox.add(events(1));
        assert!(take(&mailbox).is_empty());
        mailbox.listen_again();
        mailbox.add(events(2));
        assert_eq!(take(&mailbox), ["change", "change"]);
        mailbox.add(events(3));
        assert_eq!(take(&mailbox), ["Lagged"]);
    }
}
