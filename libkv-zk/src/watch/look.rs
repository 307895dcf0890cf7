//! Looking at what changed.

use std::collections::{BTreeMap, BTreeSet};

use libkv_core::{Key, KvPair, Result};
use zookeeper_client as zk;
use zookeeper_client::{Stat, WatchedEvent};

use super::Watch;
use super::changes::{Change, Changed, add};
use crate::error::{Call, Failure};
use crate::paths::{ancestors, is_key, pair, parent};
use crate::reader::{Answer, Batch, Content};
use crate::walk::newest;

/// What a key is, as it was looked at.
#[derive(Debug)]
pub(super) enum State {
    There(KvPair),
    /// It is none, since this change or one before it.
    Gone(u64),
}

/// What nodes are, and the newest change that any answer knew of.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) states: BTreeMap<Key, State>,
    pub(super) newest: i64,
}

impl State {
    pub(super) fn index(&self) -> u64 {
        match self {
            Self::There(pair) => pair.last_index(),
            Self::Gone(index) => *index,
        }
    }
}

impl Watch {
    /// Reads nodes that changed.
    pub(super) async fn look(&mut self, changed: &Changed, call: &Call) -> Result<Looked> {
        let mut left = self.subjects(changed);
        let mut looked = Looked::default();
        while !left.is_empty() {
            let more = left.keys().nth(self.pace.nodes()).cloned();
            let rest = more.map(|more| left.split_off(&more)).unwrap_or_default();
            let subjects = std::mem::replace(&mut left, rest);
            self.look_together(&subjects, &mut looked, call).await?;
        }
        Ok(looked)
    }

    /// The nodes to be read: a child that comes or goes may make a key of its parent, or of a key
    /// nothing.
    fn subjects(&self, changed: &Changed) -> Changed {
        let mut subjects = Changed::new();
        for (path, change) in changed {
            if self.scope.covers(path) {
                add(&mut subjects, path.clone(), *change);
            }
            let Some(above) = parent(path).filter(|above| self.scope.covers(above)) else {
                continue;
            };
            let key = self.handle.paths.key(above);
            let told = key.as_ref().is_some_and(|key| self.picture.contains_key(key));
            let empty = key.as_ref().is_some_and(|key| self.empty.contains(key));
            if change.deleted.is_some() && !told || change.created && empty {
                add(&mut subjects, above.to_owned(), Change::default());
            }
        }
        subjects
    }

    /// Reads nodes as they are at one moment.
    async fn look_together(
        &mut self,
        subjects: &Changed,
        looked: &mut Looked,
        call: &Call,
    ) -> Result<()> {
        let batch = Batch { nodes: paths(subjects), parents: Vec::new() };
        let answers = self.reader.read(&batch, Content::Values, call).await;
        let answers = answers.map_err(|failure| failure.into_error(call, false))?;
        let mut bytes = 0;
        let mut stats = BTreeMap::new();
        let mut nodes = BTreeMap::new();
        for (path, answer) in batch.nodes.iter().zip(answers) {
            if let Answer::Node(value, stat) = &answer {
                bytes += value.len();
                looked.newest = looked.newest.max(newest(stat));
                stats.insert(path.as_str(), *stat);
            }
            nodes.insert(path.as_str(), answer);
        }
        self.pace.saw(batch.nodes.len(), bytes);
        for (path, change) in subjects {
            let Some(key) = self.handle.paths.key(path) else { continue };
            let told = self.picture.get(&key).map_or(0, libkv_core::Version::last_index);
            let state = match nodes.remove(path.as_str()) {
                Some(Answer::Node(value, stat)) if is_key(path, &stat) => {
                    State::There(pair(key.clone(), value, &stat))
                }
                Some(Answer::Node(_, stat)) => State::Gone(emptied(&stat, told)),
                Some(Answer::Refused(zk::Error::NoNode)) => match change.deleted {
                    Some(zxid) => State::Gone(deleted(path, zxid, &stats).max(told + 1)),
                    // The event of that is still to come.
                    None => continue,
                },
                Some(Answer::Refused(error)) => {
                    let error = Failure::Refused(error).into_error(call, false);
                    return Err(error.with_key(&key));
                }
                _ => continue,
            };
            looked.states.insert(key, state);
        }
        Ok(())
    }
}

/// The nodes themselves, and those above them that know when one was deleted.
fn paths(subjects: &Changed) -> Vec<String> {
    let mut paths: BTreeSet<String> = subjects.keys().cloned().collect();
    let untold = |change: &Change| change.deleted == Some(WatchedEvent::NO_ZXID);
    for (path, _) in subjects.iter().filter(|(_, change)| untold(change)) {
        paths.extend(ancestors(path).map(str::to_owned));
        paths.insert("/".to_owned());
    }
    paths.into_iter().collect()
}

/// When a node was deleted. Servers before 3.9 do not tell; then it is when its parent, or the first
/// node above that is there, last got or lost a child.
fn deleted(path: &str, zxid: i64, stats: &BTreeMap<&str, Stat>) -> u64 {
    let above = ancestors(path).chain(["/"]).find_map(|above| stats.get(above));
    let zxid =
        if zxid == WatchedEvent::NO_ZXID { above.map_or(0, |stat| stat.pzxid) } else { zxid };
    index(zxid)
}

/// When a node stopped to be a key: when it was emptied, or got a child while it was empty.
fn emptied(stat: &Stat, told: u64) -> u64 {
    let written = index(stat.mzxid);
    if written > told { written } else { index(stat.pzxid).max(told + 1) }
}

pub(super) fn index(zxid: i64) -> u64 {
    u64::try_from(zxid).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(mzxid: i64, pzxid: i64) -> Stat {
        let (czxid, ctime, mtime) = (1, 0, 0);
        let (version, cversion, aversion) = (0, 0, 0);
        let (ephemeral_owner, data_length, num_children) = (0, 0, 0);
        Stat {
            czxid,
            mzxid,
            pzxid,
            ctime,
            mtime,
            version,
            cversion,
            aversion,
            ephemeral_owner,
            data_length,
            num_children,
        }
    }

    #[test]
    fn a_deletion_is_when_the_server_says_or_when_the_next_node_above_lost_a_child() {
        let stats = [("/", stat(1, 5)), ("/d", stat(2, 7))].into();
        let unknown = WatchedEvent::NO_ZXID;
        for (path, zxid, due) in [
            ("/d/a", 6, 6),
            ("/d/a", unknown, 7),
            ("/d/x/y", unknown, 7),
            ("/e/x", unknown, 5),
            ("/e", unknown, 5),
        ] {
            assert_eq!(deleted(path, zxid, &stats), due, "{path} {zxid}");
        }
        assert_eq!(deleted("/d", unknown, &BTreeMap::new()), 0);
    }

    #[test]
    fn a_node_stops_to_be_a_key_when_it_is_emptied_or_gets_a_child() {
        assert_eq!(emptied(&stat(9, 12), 4), 9);
        assert_eq!(emptied(&stat(4, 12), 4), 12);
        assert_eq!(emptied(&stat(4, 2), 4), 5);
    }

    #[test]
    fn who_may_know_of_a_deletion_is_read_too() {
        let told = Change { created: false, deleted: Some(9) };
        let subjects = [
            ("/d/a/b".to_owned(), Change::GONE),
            ("/e/a".to_owned(), told),
            ("/f".to_owned(), Change::default()),
        ];
        assert_eq!(paths(&subjects.into()), ["/", "/d", "/d/a", "/d/a/b", "/e/a", "/f"]);
    }
}
