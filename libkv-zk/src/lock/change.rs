//! What is written at a lock when it is taken and when it is given back. Nothing here waits.
//!
//! A lock's value is a permanent node with the lock nodes below, so it outlives a holder that
//! crashes, and looks like data then. So a mark is made beside the lock nodes in the same multi that
//! writes a value: an empty node, which is no key. One transaction made both, and that shows as long
//! as nobody writes another value.

use bytes::Bytes;
use zookeeper_client::Stat;

use super::names::Site;
use super::spot::{Place, Scene};
use crate::paths::lock_sequence;
use crate::plan::Op;

/// What the new holder of a lock does: it puts its value, or removes what one that crashed has
/// left. Nothing where that is done.
pub(super) fn taking(
    site: &Site,
    place: &Place,
    node: Option<&Stat>,
    marks: &[(String, Stat)],
    value: Option<&Bytes>,
) -> Vec<Op> {
    let path = || site.path.clone();
    let mut ops = vec![Op::Check { path: place.path.clone(), version: None }];
    let own_mark = site.mark_name();
    if let Some(value) = value {
        if marks.iter().any(|(name, _)| *name == own_mark) {
            return Vec::new();
        }
        ops.extend(marks.iter().map(|(name, _)| remove_mark(site, name)));
        ops.push(Op::Set { path: path(), value: value.clone(), version: None });
        let path = site.child(&own_mark);
        ops.push(Op::Create { path, value: Bytes::new(), ephemeral: false });
        return ops;
    }
    let left = node.filter(|node| marks.iter().any(|(_, mark)| is_of(mark, node)));
    let Some(node) = left else { return Vec::new() };
    // The mark stays beside what is empty now and may have no other child later, when it would look
    // like an empty value.
    ops.push(Op::Set { path: path(), value: Bytes::new(), version: Some(node.version) });
    ops
}

/// What is to be done where a lock, or an attempt at one, is given back: its nodes go, its value if
/// it is still the lock's, and what has nothing in it or below it then if `prune` says so.
pub(super) fn leaving(site: &Site, scene: &Scene, held: bool, prune: bool) -> Vec<Op> {
    let Some((node, names)) = &scene.node else {
        return Vec::new();
    };
    let own_mark = site.mark_name();
    let own: Vec<_> = names.iter().filter(|name| site.is_own(name)).collect();
    let is_mark = |name: &&String| scene.marks.iter().any(|(mark, _)| mark == *name);
    let mut others = names.iter().filter(|name| !site.is_own(name) && !is_mark(name)).peekable();
    let alone = others.peek().is_none();
    let valued = scene.marks.iter().any(|(name, mark)| *name == own_mark && is_of(mark, node));
    let bare = node.ephemeral_owner == 0 && (node.data_length == 0 || valued);
    // One without children whose data was set is an empty value.
    let made = !own.is_empty() || node.version == 0;

    let mut ops: Vec<_> =
        own.iter().map(|name| Op::Delete { path: site.child(name), version: None }).collect();
    if prune && bare && alone && made {
        ops.extend(scene.marks.iter().map(|(name, _)| remove_mark(site, name)));
        ops.push(Op::Delete { path: site.path.clone(), version: Some(node.version) });
        ops.extend(scene.left_empty());
        return ops;
    }
    if valued {
        let (path, version) = (site.path.clone(), Some(node.version));
        ops.push(Op::Set { path, value: Bytes::new(), version });
    }
    // Only the holder knows that marks of others are of none.
    let mut ours: Vec<_> = scene.marks.iter().map(|(name, _)| name).collect();
    ours.retain(|name| **name == own_mark || held && !own.is_empty());
    let waiters_only = !alone && others.all(|name| lock_sequence(name).is_some());
    let kept = usize::from(bare && waiters_only);
    ops.extend(ours.into_iter().skip(kept).map(|name| remove_mark(site, name)));
    ops
}

impl Scene {
    /// The nodes above that have nothing in them and nothing else below them.
    fn left_empty(&self) -> impl Iterator<Item = Op> {
        let empty = |stat: &Stat| {
            stat.data_length == 0 && stat.ephemeral_owner == 0 && stat.num_children == 1
        };
        self.above.iter().take_while(|above| above.inside).map_while(move |above| {
            let stat = above.stat.as_ref().filter(|stat| empty(stat))?;
            Some(Op::Delete { path: above.path.clone(), version: Some(stat.version) })
        })
    }
}

/// Whether the value that a node has was written with this mark.
fn is_of(mark: &Stat, node: &Stat) -> bool {
    mark.czxid == node.mzxid
}

fn remove_mark(site: &Site, name: &str) -> Op {
    Op::Delete { path: site.child(name), version: Some(0) }
}

#[cfg(test)]
mod tests;
