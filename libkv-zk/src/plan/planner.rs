use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use libkv_core::{Condition, Error, ErrorKind, Key, Lifetime, Result, TxnWrite};
use zookeeper_client::Stat;

use super::{BELOW_EMPTY, BELOW_EPHEMERAL, Nodes, Op, Plan, Request, Role, unsupported};
use crate::error::ZK;
use crate::paths::{Paths, ancestors, is_empty_value, is_key, parent, version};

const EPHEMERAL_PARENT: &str = "an ephemeral key with keys below it, which ZooKeeper cannot have";
const EMPTY_PARENT: &str =
    "an empty value with keys below it, which ZooKeeper cannot tell from no value";

/// Puts a plan together.
pub(super) struct Planner<'a> {
    request: &'a Request,
    paths: &'a Paths,
    nodes: &'a Nodes,
    plan: Plan,
    /// Nodes that come to be, and those that are no keys any more.
    made: BTreeSet<String>,
    removed: BTreeSet<String>,
    /// Of the latter those that go.
    vanished: BTreeSet<String>,
    /// How many children nodes have afterwards, where that is another number.
    left: BTreeMap<String, i64>,
    /// Nodes whose absence is sure.
    guarded: BTreeSet<String>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(request: &'a Request, paths: &'a Paths, nodes: &'a Nodes) -> Self {
        Self {
            request,
            paths,
            nodes,
            plan: Plan::default(),
            made: BTreeSet::new(),
            removed: BTreeSet::new(),
            vanished: BTreeSet::new(),
            left: BTreeMap::new(),
            guarded: BTreeSet::new(),
        }
    }

    pub(super) fn finish(mut self) -> Result<Plan> {
        self.fences()?;
        self.compares()?;
        self.writes()?;
        Ok(self.plan)
    }

    fn push(&mut self, op: Op, role: Role) {
        self.plan.ops.push((op, role));
    }

    fn stat(&self, path: &str) -> Option<&Stat> {
        self.nodes.get(path)?.as_ref()
    }

    /// The node of a key, where it is one.
    fn key(&self, path: &str) -> Option<&Stat> {
        self.stat(path).filter(|stat| is_key(path, stat))
    }

    fn error(&self, kind: ErrorKind, key: &Key) -> Error {
        Error::new(kind, ZK, self.request.operation).with_key(key)
    }

    fn fences(&mut self) -> Result<()> {
        for fence in &self.request.fences {
            let checked = fence.checked(ZK, self.request.operation);
            checked.map_err(|error| error.with_key(fence.key()))?;
            let op = Op::Check { path: fence.node().to_owned(), version: None };
            self.push(op, Role::Fence(fence.key().clone()));
        }
        Ok(())
    }

    fn compares(&mut self) -> Result<()> {
        for (key, condition) in &self.request.compares {
            let path = self.paths.path(key);
            let written = self.request.writes.iter().any(|write| write.key() == key);
            match (condition, self.key(&path).copied()) {
                (Condition::Absent, Some(_)) => return Err(self.error(ErrorKind::KeyExists, key)),
                (Condition::Absent, None) => self.guard_absence(&path),
                (_, None) => return Err(self.error(ErrorKind::KeyNotFound, key)),
                (Condition::Exists, Some(stat)) => self.guard(path, stat.version),
                (Condition::Version(wanted), Some(stat)) => {
                    wanted.checked(ZK, self.request.operation)?;
                    if version(&stat) != *wanted {
                        return Err(self.error(ErrorKind::KeyModified, key));
                    }
                    if !written {
                        self.plan.compared.push((path.clone(), stat.czxid));
                    }
                    self.guard(path, stat.version);
                }
                (other, _) => {
                    return Err(self
                        .error(ErrorKind::NotImplemented, key)
                        .with_detail(format!("a compare of {other:?}")));
                }
            }
        }
        Ok(())
    }

    fn guard(&mut self, path: String, version: i32) {
        self.push(Op::Check { path, version: Some(version) }, Role::Guard);
    }

    /// Makes sure that a key is still absent when all happens. Of what is not there the server
    /// checks nothing, but it can be made and removed again.
    fn guard_absence(&mut self, path: &str) {
        if let Some(stat) = self.stat(path) {
            return self.guard(path.to_owned(), stat.version);
        }
        // The highest node that is missing: nothing comes to be below it without it.
        let missing = std::iter::once(path).chain(ancestors(path));
        let missing = missing.take_while(|path| self.stat(path).is_none()).last().unwrap_or(path);
        let ephemeral = parent(missing).and_then(|parent| self.stat(parent));
        if let Some(stat) = ephemeral.filter(|stat| stat.ephemeral_owner != 0) {
            let (path, version) = (parent(missing).unwrap_or("/").to_owned(), stat.version);
            return self.guard(path, version);
        }
        let puts = self.request.writes.iter().filter(|write| matches!(write, TxnWrite::Put { .. }));
        let within = |put: &TxnWrite| {
            let put = self.paths.path(put.key());
            put == missing || put.strip_prefix(missing).is_some_and(|rest| rest.starts_with('/'))
        };
        // It is made anyway, which fails where it is there.
        if puts.into_iter().any(within) || !self.guarded.insert(missing.to_owned()) {
            return;
        }
        let (path, value) = (missing.to_owned(), Bytes::new());
        self.push(Op::Create { path: path.clone(), value, ephemeral: false }, Role::Guard);
        self.push(Op::Delete { path, version: Some(0) }, Role::Guard);
    }

    fn writes(&mut self) -> Result<()> {
        let request = self.request;
        let mut puts = Vec::new();
        for write in &request.writes {
            match write {
                TxnWrite::Put { key, value, lifetime } => {
                    let at = puts.len();
                    puts.push((at, key, value, *lifetime));
                }
                TxnWrite::Delete { key } => self.note_removal(key),
                other => {
                    return Err(self
                        .error(ErrorKind::NotImplemented, other.key())
                        .with_detail(format!("a write of {other:?}")));
                }
            }
        }
        // Parents come before what is below them.
        puts.sort_by_key(|(_, key, ..)| key.as_str());
        for (_, key, ..) in &puts {
            let path = self.paths.path(key);
            if self.stat(&path).is_none() {
                let above = ancestors(&path).take_while(|path| self.stat(path).is_none());
                let above: Vec<String> = above.map(str::to_owned).collect();
                self.made.extend(above);
                self.made.insert(path);
            }
        }
        self.note_pruned();
        for (at, key, value, lifetime) in puts {
            self.put(at, key, value, lifetime)?;
        }
        self.delete();
        Ok(())
    }

    /// A key that is deleted leaves its node where there is something below it.
    fn note_removal(&mut self, key: &Key) {
        let path = self.paths.path(key);
        if self.key(&path).is_some() {
            self.removed.insert(path);
        }
    }

    /// How many children a node has afterwards.
    fn children(&self, path: &str) -> i64 {
        let now = || self.stat(path).map_or(0, |stat| i64::from(stat.num_children));
        self.left.get(path).copied().unwrap_or_else(now)
    }

    fn count(&mut self, path: &str, more: i64) {
        if let Some(above) = parent(path) {
            let left = self.children(above) + more;
            self.left.insert(above.to_owned(), left);
        }
    }

    /// Parents that nobody put go with the last that is below them.
    fn note_pruned(&mut self) {
        for path in std::mem::take(&mut self.made) {
            self.count(&path, 1);
        }
        // What is below comes first.
        let removed: Vec<String> = self.removed.iter().rev().cloned().collect();
        for path in removed {
            let mut next = Some(path).filter(|path| self.children(path) == 0);
            while let Some(path) = next.take() {
                if !self.vanished.insert(path.clone()) {
                    break;
                }
                self.count(&path, -1);
                let above = parent(&path).unwrap_or("/");
                if self.children(above) == 0
                    && (self.removed.contains(above) || self.is_bare(above))
                {
                    self.removed.insert(above.to_owned());
                    next = Some(above.to_owned());
                }
            }
        }
    }

    /// Whether a node is a parent in this store that nobody put.
    fn is_bare(&self, path: &str) -> bool {
        let bare = |stat: &Stat| stat.data_length == 0 && stat.ephemeral_owner == 0;
        let put = || {
            self.request.writes.iter().any(|write| {
                matches!(write, TxnWrite::Put { .. }) && self.paths.path(write.key()) == path
            })
        };
        self.stat(path).is_some_and(bare) && self.paths.key(path).is_some() && !put()
    }

    fn put(&mut self, at: usize, key: &Key, value: &Bytes, lifetime: Lifetime) -> Result<()> {
        let path = self.paths.path(key);
        let ephemeral = match lifetime {
            Lifetime::Permanent => false,
            Lifetime::Ephemeral => true,
            other => return Err(unsupported(other, self.request.operation).with_key(key)),
        };
        let refused = |detail: &str| {
            Err(self.error(ErrorKind::NotImplemented, key).with_detail(detail.to_owned()))
        };
        if self.children(&path) > 0 && (ephemeral || value.is_empty()) {
            return refused(if ephemeral { EPHEMERAL_PARENT } else { EMPTY_PARENT });
        }
        let Some(stat) = self.stat(&path).copied() else {
            let mut missing = Vec::new();
            for above in ancestors(&path) {
                let Some(stat) = self.stat(above) else {
                    missing.push(above.to_owned());
                    continue;
                };
                if stat.ephemeral_owner != 0 {
                    return refused(BELOW_EPHEMERAL);
                }
                let inside = self.paths.key(above).is_some();
                if inside && is_empty_value(stat) && !self.removed.contains(above) {
                    return refused(BELOW_EMPTY);
                }
                break;
            }
            for path in missing.into_iter().rev() {
                if self.guarded.insert(path.clone()) {
                    let value = Bytes::new();
                    self.push(Op::Create { path, value, ephemeral: false }, Role::Step);
                }
            }
            self.create(at, path, value, ephemeral);
            return Ok(());
        };
        let bound = stat.ephemeral_owner != 0;
        if ephemeral && stat.ephemeral_owner == self.request.session || !ephemeral && !bound {
            let (version, value) = (Some(stat.version), value.clone());
            let role = Role::Put { at, czxid: Some(stat.czxid) };
            self.push(Op::Set { path, value, version }, role);
        } else {
            // A node stays what it was made as, so it is made anew.
            let version = self.mark(&path, &stat);
            self.push(Op::Delete { path: path.clone(), version }, Role::Step);
            self.create(at, path, value, ephemeral);
        }
        Ok(())
    }

    /// Makes a node and sets it, which nobody sees apart. Of what is made in a multi the server tells
    /// nothing, and an empty value is told from a node that was only made by being set.
    fn create(&mut self, at: usize, path: String, value: &Bytes, ephemeral: bool) {
        self.guarded.insert(path.clone());
        let create = Op::Create { path: path.clone(), value: Bytes::new(), ephemeral };
        self.push(create, Role::Step);
        let set = Op::Set { path, value: value.clone(), version: Some(0) };
        self.push(set, Role::Put { at, czxid: None });
    }

    /// Sets a node that is about to be deleted, since only that tells which node it was and the
    /// index. Returns the counter that it has then.
    fn mark(&mut self, path: &str, stat: &Stat) -> Option<i32> {
        let op =
            Op::Set { path: path.to_owned(), value: Bytes::new(), version: Some(stat.version) };
        self.push(op, Role::Mark { czxid: stat.czxid });
        Some(stat.version.wrapping_add(1))
    }

    fn delete(&mut self) {
        let removed: Vec<String> = self.removed.iter().rev().cloned().collect();
        for path in removed {
            let Some(stat) = self.stat(&path).copied() else { continue };
            let emptied = !self.vanished.contains(&path);
            let keyed = is_key(&path, &stat);
            if emptied {
                let (value, version) = (Bytes::new(), Some(stat.version));
                let role = Role::Mark { czxid: stat.czxid };
                self.push(Op::Set { path, value, version }, role);
            } else if keyed {
                let version = self.mark(&path, &stat);
                self.push(Op::Delete { path, version }, Role::Step);
            } else {
                self.push(Op::Delete { path, version: Some(stat.version) }, Role::Guard);
            }
        }
        // What is not there must not be there when all happens.
        let request = self.request;
        for write in &request.writes {
            if let TxnWrite::Delete { key } = write {
                let path = self.paths.path(key);
                if self.key(&path).is_none() {
                    self.guard_absence(&path);
                }
            }
        }
    }
}
