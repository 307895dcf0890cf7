use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use super::history::Change;
use crate::engine::{Id, Path};

/// Below this many there is nothing to gain from looking for dropped ones.
const FEW_WATCHERS: usize = 64;
/// The same for those of one session.
const FEW_OF_ONE: usize = 8;

/// What waits for one consumer: bounded, and written to without waiting.
#[derive(Debug)]
pub(crate) struct Buffer {
    session: Id,
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    changes: VecDeque<Change>,
    state: Flow,
    waker: Option<Waker>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Flow {
    #[default]
    Open,
    /// Changes after this revision were dropped.
    Lagged(u64),
    Closed,
}

/// What a consumer finds.
#[derive(Debug)]
pub(crate) enum Found {
    Change(Change),
    /// Changes after this revision were dropped, and nothing more comes until it is reopened.
    Lagged(u64),
    Closed,
}

impl Buffer {
    pub(crate) fn new(session: Id, capacity: usize) -> Arc<Self> {
        Arc::new(Self { session, capacity: capacity.max(1), inner: Mutex::default() })
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Found> {
        let mut inner = self.lock();
        if let Flow::Closed = inner.state {
            return Poll::Ready(Found::Closed);
        }
        if let Some(change) = inner.changes.pop_front() {
            return Poll::Ready(Found::Change(change));
        }
        if let Flow::Lagged(after) = inner.state {
            return Poll::Ready(Found::Lagged(after));
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes changes again, after the consumer made good what was dropped.
    pub(crate) fn reopen(&self) {
        let mut inner = self.lock();
        if let Flow::Lagged(_) = inner.state {
            inner.state = Flow::Open;
        }
    }

    /// Takes a change, and returns who is to be woken for it.
    fn push(&self, change: &Change) -> Option<Waker> {
        let mut inner = self.lock();
        let Flow::Open = inner.state else {
            return None;
        };
        if inner.changes.len() < self.capacity {
            inner.changes.push_back(change.clone());
        } else {
            inner.state = Flow::Lagged(change.revision - 1);
        }
        inner.waker.take()
    }

    fn close(&self) -> Option<Waker> {
        let mut inner = self.lock();
        inner.state = Flow::Closed;
        inner.changes.clear();
        inner.waker.take()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is told of which change. A dropped stream takes its buffer with it; what is left of it here
/// goes at the next change it would have seen, or when there are many.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    keys: HashMap<Path, Vec<Weak<Buffer>>>,
    trees: HashMap<Path, Vec<Weak<Buffer>>>,
    /// The same by session, so that the end of one does not look at all the others' watches.
    sessions: HashMap<Id, Own>,
    count: usize,
    count_to_sweep_at: usize,
}

/// The watches of one session, dropped ones that were not noticed yet included.
#[derive(Debug, Default)]
struct Own {
    buffers: Vec<Weak<Buffer>>,
    count_to_sweep_at: usize,
}

impl Own {
    fn add(&mut self, buffer: &Arc<Buffer>) {
        if self.buffers.len() >= self.count_to_sweep_at.max(FEW_OF_ONE) {
            self.sweep();
        }
        self.buffers.push(Arc::downgrade(buffer));
    }

    fn sweep(&mut self) {
        self.buffers.retain(|buffer| buffer.strong_count() > 0);
        self.count_to_sweep_at = 2 * self.buffers.len();
    }
}

impl Watchers {
    pub(crate) fn watch_key(&mut self, path: Path, buffer: &Arc<Buffer>) {
        self.make_room(buffer);
        self.keys.entry(path).or_default().push(Arc::downgrade(buffer));
    }

    pub(crate) fn watch_tree(&mut self, dir: Path, buffer: &Arc<Buffer>) {
        self.make_room(buffer);
        self.trees.entry(dir).or_default().push(Arc::downgrade(buffer));
    }

    /// Hands a change to those who watch it, and adds to `woken` who waits for it.
    pub(crate) fn publish(&mut self, change: &Change, woken: &mut Vec<Waker>) {
        if self.count == 0 {
            return;
        }
        let path = &*change.path;
        self.count -= tell(&mut self.keys, path, change, woken);
        let slashes = path.match_indices('/').map(|(at, _)| at);
        for end in std::iter::once(0).chain(slashes) {
            self.count -= tell(&mut self.trees, &path[..end], change, woken);
        }
    }

    /// Ends the watches of a session, and adds to `woken` who waits for them.
    pub(crate) fn close(&mut self, session: Id, woken: &mut Vec<Waker>) {
        let own = self.sessions.remove(&session).unwrap_or_default();
        woken.extend(own.buffers.iter().filter_map(|buffer| buffer.upgrade()?.close()));
    }

    /// How many watches there are, dropped ones that were not noticed yet included.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Forgets dropped ones whenever their number can have doubled, so that it costs next to
    /// nothing for each watch.
    fn make_room(&mut self, buffer: &Arc<Buffer>) {
        if self.count >= self.count_to_sweep_at.max(FEW_WATCHERS) {
            for map in [&mut self.keys, &mut self.trees] {
                map.retain(|_, buffers| {
                    buffers.retain(|buffer| buffer.strong_count() > 0);
                    !buffers.is_empty()
                });
            }
            self.sessions.retain(|_, own| {
                own.sweep();
                !own.buffers.is_empty()
            });
            self.count = self.keys.values().chain(self.trees.values()).map(Vec::len).sum();
            self.count_to_sweep_at = 2 * self.count;
        }
        self.sessions.entry(buffer.session).or_default().add(buffer);
        self.count += 1;
    }
}

/// Tells the watchers of one path, and returns how many dropped ones were found.
fn tell(
    map: &mut HashMap<Path, Vec<Weak<Buffer>>>,
    path: &str,
    change: &Change,
    woken: &mut Vec<Waker>,
) -> usize {
    let Some(buffers) = map.get_mut(path) else {
        return 0;
    };
    let before = buffers.len();
    buffers.retain(|buffer| {
        let buffer = buffer.upgrade();
        if let Some(buffer) = &buffer {
            woken.extend(buffer.push(change));
        }
        buffer.is_some()
    });
    let left = buffers.len();
    if left == 0 {
        map.remove(path);
    }
    before - left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quickly_opened_and_dropped_watches_do_not_pile_up() {
        let mut watchers = Watchers::default();
        let kept = Buffer::new(1, 1);
        watchers.watch_tree("kept".into(), &kept);
        for i in 0..10_000 {
            watchers.watch_key(format!("k/{i}").into(), &Buffer::new(1, 1));
        }
        assert!(watchers.count() <= FEW_WATCHERS, "{}", watchers.count());
        let change = Change { revision: 1, path: "kept/a".into(), record: None, existed: true };
        watchers.publish(&change, &mut Vec::new());
        assert_eq!(kept.lock().changes.len(), 1);
    }

    #[test]
    fn the_end_of_a_session_ends_its_watches_and_leaves_the_others() {
        let mut watchers = Watchers::default();
        let (ended, stays) = (Buffer::new(1, 1), Buffer::new(2, 1));
        watchers.watch_key("a".into(), &ended);
        watchers.watch_tree("".into(), &stays);
        for revision in 1..=1_000 {
            watchers.watch_key("b".into(), &Buffer::new(1, 1));
            let change = Change { revision, path: "b".into(), record: None, existed: true };
            watchers.publish(&change, &mut Vec::new());
        }
        assert!(watchers.sessions[&1].buffers.len() <= FEW_OF_ONE);
        watchers.close(1, &mut Vec::new());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(ended.poll(&mut cx), Poll::Ready(Found::Closed)));
        assert!(matches!(stays.poll(&mut cx), Poll::Ready(Found::Change(_))));
        assert_eq!(watchers.sessions.len(), 1);
    }

    #[test]
    fn a_full_buffer_says_after_which_revision_it_lost() {
        let buffer = Buffer::new(1, 2);
        for revision in 1..=5 {
            let path: Path = "a".into();
            buffer.push(&Change { revision, path, record: None, existed: true });
        }
        let mut cx = Context::from_waker(Waker::noop());
        for expected in 1..=2 {
            let Poll::Ready(Found::Change(change)) = buffer.poll(&mut cx) else {
                panic!("what fitted is delivered");
            };
            assert_eq!(change.revision, expected);
        }
        assert!(matches!(buffer.poll(&mut cx), Poll::Ready(Found::Lagged(2))));
        buffer.reopen();
        assert!(buffer.poll(&mut cx).is_pending());
    }
}
