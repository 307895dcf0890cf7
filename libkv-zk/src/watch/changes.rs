use std::collections::BTreeMap;

use zookeeper_client::{EventType, WatchedEvent};

use crate::paths::{Paths, lock_sequence, name, parent};

/// What a watch is of, as paths.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    paths: Paths,
    top: String,
    /// Whether it is of what is below the node, and not of the node.
    tree: bool,
}

impl Scope {
    pub(super) fn node(paths: &Paths, top: String) -> Self {
        Self { paths: paths.clone(), top, tree: false }
    }

    pub(super) fn tree(paths: &Paths, top: String) -> Self {
        Self { paths: paths.clone(), top, tree: true }
    }

    pub(super) fn top(&self) -> &str {
        &self.top
    }

    /// Whether a path is one that is watched.
    pub(super) fn covers(&self, path: &str) -> bool {
        if !self.tree {
            return path == self.top;
        }
        let root = self.top == "/";
        let below = path.strip_prefix(if root { "" } else { &self.top });
        below.is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
    }
}

/// What happened to a node since it was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) created: bool,
    /// It was deleted, by this transaction if the server tells.
    pub(super) deleted: Option<i64>,
}

impl Change {
    /// It was deleted, nobody knows when.
    pub(super) const GONE: Self = Self { created: false, deleted: Some(WatchedEvent::NO_ZXID) };

    /// Adds what happened before or afterwards.
    fn and(self, other: Self) -> Self {
        Self { created: self.created || other.created, deleted: self.deleted.max(other.deleted) }
    }
}

/// Nodes that changed, by path. Several changes of a node are one.
pub(super) type Changed = BTreeMap<String, Change>;

/// Adds a change to others.
pub(super) fn add(changed: &mut Changed, path: String, change: Change) {
    let known = changed.entry(path).or_default();
    *known = known.and(change);
}

/// The nodes that changed and were not looked at yet, up to a bound.
#[derive(Debug)]
pub(super) struct Changes {
    scope: Scope,
    changed: Changed,
    capacity: usize,
    lagging: bool,
    /// How many events had a name that no key can express.
    foreign: usize,
}

impl Changes {
    pub(super) fn new(scope: Scope, capacity: usize) -> Self {
        Self { scope, changed: Changed::new(), capacity, lagging: false, foreign: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && !self.lagging
    }

    /// Takes an event of a node, unless there are too many.
    pub(super) fn note(&mut self, event: WatchedEvent) {
        let change = match event.event_type {
            EventType::NodeCreated => Change { created: true, deleted: None },
            EventType::NodeDeleted => Change { created: false, deleted: Some(event.zxid) },
            _ => Change::default(),
        };
        // What a child is may tell whether its parent is a key.
        let above = parent(&event.path).filter(|above| self.scope.covers(above));
        let above = above.filter(|_| change != Change::default()).map(str::to_owned);
        let covered = self.scope.covers(&event.path);
        let (path, change) = match (covered, above) {
            (true, above) if self.scope.paths.key(&event.path).is_none() => {
                self.foreign += usize::from(is_foreign(&event.path));
                match above {
                    Some(above) => (above, Change::default()),
                    None => return,
                }
            }
            (true, _) | (false, Some(_)) => (event.path, change),
            (false, None) => return,
        };
        if self.lagging {
            return;
        }
        add(&mut self.changed, path, change);
        if self.changed.len() > self.capacity {
            self.changed.clear();
            self.lagging = true;
        }
    }

    /// Sets how many nodes may have changed.
    pub(super) fn allow(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Takes what changed; none where that was more than is allowed.
    pub(super) fn take(&mut self) -> Option<Changed> {
        let lagging = std::mem::take(&mut self.lagging);
        (!lagging).then(|| std::mem::take(&mut self.changed))
    }

    /// Takes how many names no key could express.
    pub(super) fn take_foreign(&mut self) -> usize {
        std::mem::take(&mut self.foreign)
    }
}

/// Whether a name is somebody's that no key can express, and not a lock's or ZooKeeper's own.
fn is_foreign(path: &str) -> bool {
    let own = path == "/zookeeper" || path.starts_with("/zookeeper/");
    !own && lock_sequence(name(path)).is_none()
}

#[cfg(test)]
mod tests {
    use libkv_core::Key;

    use super::EventType::{NodeCreated, NodeDataChanged, NodeDeleted};
    use super::*;

    fn paths() -> Paths {
        Paths::below_root(&Key::root())
    }

    fn note(changes: &mut Changes, events: &[(EventType, &str, i64)]) {
        for (kind, path, zxid) in events {
            changes.note(WatchedEvent::new(*kind, *path).with_zxid(*zxid));
        }
    }

    fn change(created: bool, deleted: Option<i64>) -> Change {
        Change { created, deleted }
    }

    #[test]
    fn a_tree_is_what_is_below_and_a_node_is_itself() {
        let tree = Scope::tree(&paths(), "/d".to_owned());
        let root = Scope::tree(&paths(), "/".to_owned());
        let node = Scope::node(&paths(), "/d/a".to_owned());
        for (path, in_tree, in_root, is_node) in [
            ("/", false, false, false),
            ("/d", false, true, false),
            ("/d/a", true, true, true),
            ("/d/a/b", true, true, false),
            ("/d-", false, true, false),
            ("/d-/a", false, true, false),
        ] {
            let covered = [&tree, &root, &node].map(|scope| scope.covers(path));
            assert_eq!(covered, [in_tree, in_root, is_node], "{path}");
        }
    }

    #[test]
    fn changes_of_a_node_are_folded() {
        let mut changes = Changes::new(Scope::tree(&paths(), "/d".to_owned()), 2);
        note(
            &mut changes,
            &[
                (NodeDataChanged, "/d/a", 1),
                (NodeDeleted, "/d/a", 2),
                (NodeDeleted, "/d/b", -1),
                (NodeCreated, "/d/a", 3),
                (NodeDeleted, "/d/a", 4),
                (NodeCreated, "/d", 5),
            ],
        );
        let due = [("/d/a".to_owned(), change(true, Some(4))), ("/d/b".to_owned(), Change::GONE)];
        assert_eq!(changes.take(), Some(due.into()));
        assert!(changes.is_empty());
        assert_eq!(changes.take(), Some(Changed::new()));
    }

    #[test]
    fn more_than_is_allowed_is_said_once_and_dropped() {
        let mut changes = Changes::new(Scope::tree(&paths(), "/d".to_owned()), 2);
        let events = ["/d/a", "/d/b", "/d/c", "/d/d"].map(|path| (NodeCreated, path, 1));
        note(&mut changes, &events);
        assert!(!changes.is_empty());
        assert_eq!(changes.take(), None);
        assert_eq!(changes.take(), Some(Changed::new()));
        changes.allow(4);
        note(&mut changes, &events);
        assert_eq!(changes.take().map(|changed| changed.len()), Some(4));
    }

    #[test]
    fn a_node_hears_of_its_children_that_come_and_go() {
        let mut changes = Changes::new(Scope::node(&paths(), "/d".to_owned()), 9);
        note(
            &mut changes,
            &[
                (NodeDataChanged, "/d/a", 1),
                (NodeDeleted, "/d/b", 2),
                (NodeCreated, "/d/c/d", 3),
                (NodeDataChanged, "/d", 4),
            ],
        );
        let due =
            [("/d".to_owned(), Change::default()), ("/d/b".to_owned(), change(false, Some(2)))];
        assert_eq!(changes.take(), Some(due.into()));
    }

    #[test]
    fn foreign_names_are_counted_and_their_parents_looked_at() {
        let mut changes = Changes::new(Scope::tree(&paths(), "/".to_owned()), 9);
        let long = "x".repeat(500);
        let lock = format!("/{long}/_c_0f8fad5b-d9cb-469f-a165-70867728950e-lock-0000000001");
        note(
            &mut changes,
            &[
                (NodeCreated, "/d/ a", 1),
                (NodeDataChanged, "/d/ a", 2),
                (NodeDataChanged, "/zookeeper/quota", 3),
                (NodeDeleted, &lock, 4),
            ],
        );
        assert_eq!((changes.take_foreign(), changes.take_foreign()), (2, 0));
        let due = ["/d".to_owned(), format!("/{long}")].map(|path| (path, Change::default()));
        assert_eq!(changes.take(), Some(due.into()));
    }
}
