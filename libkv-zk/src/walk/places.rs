use std::collections::VecDeque;

use libkv_core::{Error, ErrorKind, Foreign, Key, Result};
use zookeeper_client as zk;
use zookeeper_client::Stat;

use super::{Found, Plan};
use crate::error::{Call, Failure, ZK};
use crate::paths::{Paths, child, is_key, is_lock_node};
use crate::reader::{Answer, Batch};

/// How far a walk looks ahead of what is taken: in places, and in bytes of values.
const PLACES_AHEAD: usize = 1_024;
const BYTES_AHEAD: usize = 2 << 20;
/// How many names of children are asked for in one exchange, unless one node has more.
const NAMES_AT_ONCE: usize = 2_000;
/// The names of a node's children come all at once. With more than these they would take the
/// connection for so long that the session's pings come late.
const MAX_CHILDREN: usize = 1_000_000;

/// What is in front of a walk, as far as it is known, ascending by path.
///
/// At each level the key `a` and what is below it, `a/`, sort apart: `a`, `a-b`, `a/b`. So a node
/// and its subtree are two places, and the path of the subtree has a slash at its end.
pub(super) struct Places {
    queue: VecDeque<Place>,
    paths: Paths,
    dir: Key,
    depth: Option<usize>,
    after: Option<String>,
    policy: Foreign,
    /// Whether anything stored was passed, told or not.
    pub(super) seen: bool,
    /// How many names that no key can express were passed.
    pub(super) foreign: usize,
    /// The newest change that any answer knew of.
    pub(super) newest: i64,
}

struct Place {
    path: String,
    /// Whether it sorts after what the walk begins after. What is below it may, if it does not.
    told: bool,
    state: State,
}

enum State {
    Unread,
    /// What is below a node, with the number of its children.
    Below(usize),
    Asked,
    Found(Box<Found>),
    /// No key can express the name.
    Foreign,
    Refused(zk::Error),
    /// There is nothing, or nothing any more.
    Empty,
}

impl Places {
    pub(super) fn new(paths: &Paths, plan: &Plan) -> Self {
        Self {
            queue: VecDeque::new(),
            after: plan.after.as_ref().map(|key| paths.path(key)),
            paths: paths.clone(),
            dir: plan.dir.clone(),
            depth: plan.depth,
            policy: plan.foreign,
            seen: false,
            foreign: 0,
            newest: 0,
        }
    }

    /// Begins with what is below a directory.
    pub(super) fn begin(&mut self, path: &str, stat: &Stat) {
        self.newest = newest(stat);
        self.queue = self.below(path, stat).into_iter().collect();
    }

    /// Whether the walk is at its end.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes what is known from the front.
    pub(super) fn take(&mut self, call: &Call) -> Result<Vec<Found>> {
        let mut taken = Vec::new();
        while let Some(place) = self.queue.front() {
            if let Some(error) = self.ends_at(place, call) {
                return if taken.is_empty() { Err(error) } else { Ok(taken) };
            }
            if matches!(place.state, State::Unread | State::Below(_) | State::Asked) {
                break;
            }
            match self.queue.pop_front().map(|place| place.state) {
                Some(State::Found(found)) => taken.push(*found),
                Some(State::Foreign) => {
                    self.seen = true;
                    self.foreign += 1;
                }
                _ => {}
            }
        }
        Ok(taken)
    }

    /// Why the walk cannot go on behind a place.
    fn ends_at(&self, place: &Place, call: &Call) -> Option<Error> {
        let key = self.paths.key(node_path(&place.path));
        let key = || key.clone().unwrap_or_else(|| self.dir.clone());
        match &place.state {
            State::Below(children) if *children > MAX_CHILDREN => {
                Some(too_wide(*children, call).with_key(&key()))
            }
            State::Refused(error) => {
                let error = Failure::Refused(error.clone()).into_error(call, false);
                Some(error.with_key(&key()))
            }
            State::Foreign if self.policy != Foreign::Skip => Some(
                Error::new(ErrorKind::InvalidKey, ZK, call.operation)
                    .with_key(&self.dir)
                    .with_detail(format!("the stored name {:?} is no key", place.path)),
            ),
            _ => None,
        }
    }

    /// Picks what is to be read next, about `most` of it ahead of what is taken.
    pub(super) fn pick(&mut self, most: usize, nodes: usize) -> Batch {
        let mut batch = Batch::default();
        let (mut ahead, mut bytes, mut names) = (0, 0, 0);
        for place in self.queue.iter_mut().take(PLACES_AHEAD) {
            match &place.state {
                State::Found(found) => bytes += found.value.len(),
                State::Asked => {}
                State::Unread if batch.nodes.len() < nodes => {
                    batch.nodes.push(place.path.clone());
                    place.state = State::Asked;
                }
                State::Below(children)
                    if *children <= MAX_CHILDREN
                        && (names == 0 || names + children <= NAMES_AT_ONCE) =>
                {
                    names += children;
                    batch.parents.push(node_path(&place.path).to_owned());
                    place.state = State::Asked;
                }
                _ => continue,
            }
            ahead += 1;
            if ahead >= most || bytes >= BYTES_AHEAD {
                break;
            }
        }
        batch
    }

    /// Takes answers, and says how many bytes of values they had.
    pub(super) fn land(&mut self, batch: &Batch, answers: Vec<Answer>) -> usize {
        let mut answers = answers.into_iter();
        let mut at = batch.nodes.first().map_or(0, |path| self.position(path));
        let mut bytes = 0;
        for (path, answer) in batch.nodes.iter().zip(&mut answers) {
            while self.queue.get(at).is_some_and(|place| place.path < *path) {
                at += 1;
            }
            bytes += self.land_node(at, answer);
        }
        for (path, answer) in batch.parents.iter().zip(answers) {
            let at = self.position(&subtree_path(path));
            match answer {
                Answer::Children(names) => self.expand(at, names),
                answer => self.land_refusal(at, answer),
            }
        }
        bytes
    }

    /// Takes what came of a node, and says how many bytes it was.
    fn land_node(&mut self, at: usize, answer: Answer) -> usize {
        let (value, stat) = match answer {
            Answer::Node(value, stat) => (value, stat),
            answer => {
                self.land_refusal(at, answer);
                return 0;
            }
        };
        let bytes = value.len();
        self.newest = self.newest.max(newest(&stat));
        let Some(Place { path, told, .. }) = self.queue.get(at) else { return bytes };
        let (state, below) = match self.paths.key(path) {
            _ if is_lock_node(path, &stat) => (State::Empty, None),
            None if is_stored(&stat) => (State::Foreign, None),
            None => (State::Empty, None),
            Some(key) => {
                let below = self.below(path, &stat);
                let stored = is_key(path, &stat);
                self.seen |= stored;
                let found = Box::new(Found { key, value, stat });
                (if stored && *told { State::Found(found) } else { State::Empty }, below)
            }
        };
        self.queue[at].state = state;
        if let Some(below) = below {
            let behind = self.queue.iter().skip(at).position(|place| place.path > below.path);
            let behind = behind.map_or(self.queue.len(), |behind| at + behind);
            self.queue.insert(behind, below);
        }
        bytes
    }

    fn land_refusal(&mut self, at: usize, answer: Answer) {
        if let Some(place) = self.queue.get_mut(at) {
            place.state = match answer {
                Answer::Refused(zk::Error::NoNode) => State::Empty,
                Answer::Refused(error) => State::Refused(error),
                _ => State::Refused(zk::Error::MarshallingError),
            };
        }
    }

    /// What is below a node, if the walk goes there.
    fn below(&self, path: &str, stat: &Stat) -> Option<Place> {
        let children = usize::try_from(stat.num_children).ok().filter(|children| *children > 0)?;
        let levels = |path: &str| if path == "/" { 0 } else { path.matches('/').count() };
        let level = levels(path) - levels(&self.paths.path(&self.dir));
        let place =
            || Place { path: subtree_path(path), told: true, state: State::Below(children) };
        self.depth.is_none_or(|depth| level < depth).then(place)
    }

    /// Puts children in the place of what is below their parent.
    fn expand(&mut self, at: usize, mut names: Vec<String>) {
        let mut before: Vec<Place> = self.queue.drain(..=at).collect();
        let Some(Place { path, .. }) = before.pop() else { return };
        let parent = node_path(&path);
        let after = self.after.as_deref();
        names.sort_unstable();
        for name in names.iter().rev() {
            let path = child(parent, name);
            let told = after.is_none_or(|after| *path > *after);
            let leads_on = told || after.is_some_and(|after| leads_behind(&path, after));
            // What is ZooKeeper's own is nobody's tree.
            if leads_on && path != "/zookeeper" {
                self.queue.push_front(Place { path, told, state: State::Unread });
            }
        }
        before.into_iter().rev().for_each(|place| self.queue.push_front(place));
    }

    /// Has what was asked for asked for again.
    pub(super) fn forget(&mut self, batch: &Batch) {
        for path in &batch.nodes {
            let at = self.position(path);
            self.queue[at].state = State::Unread;
        }
        for path in &batch.parents {
            let at = self.position(&subtree_path(path));
            self.queue[at].state = State::Below(1);
        }
    }

    fn position(&self, path: &str) -> usize {
        self.queue.partition_point(|place| *place.path < *path)
    }
}

/// The newest change that a node knows of: of itself, or of which children it has.
pub(crate) fn newest(stat: &Stat) -> i64 {
    stat.mzxid.max(stat.pzxid)
}

/// Whether a node is more than a place that nobody uses.
fn is_stored(stat: &Stat) -> bool {
    stat.data_length > 0 || stat.version > 0 || stat.num_children > 0
}

/// Whether anything below a node sorts behind `after`, where the node itself does not.
fn leads_behind(path: &str, after: &str) -> bool {
    after.strip_prefix(path).is_some_and(|rest| rest.bytes().next().is_none_or(|next| next <= b'/'))
}

fn subtree_path(path: &str) -> String {
    if path == "/" { path.to_owned() } else { format!("{path}/") }
}

fn node_path(subtree: &str) -> &str {
    match subtree.strip_suffix('/') {
        None => subtree,
        Some("") => "/",
        Some(path) => path,
    }
}

fn too_wide(children: usize, call: &Call) -> Error {
    Error::new(ErrorKind::TooLarge, ZK, call.operation).with_detail(format!(
        "a node with {children} children, of which ZooKeeper can only tell all at once; \
         at most {MAX_CHILDREN} are asked for"
    ))
}

#[cfg(test)]
mod tests;
