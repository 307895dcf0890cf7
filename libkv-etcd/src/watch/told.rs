use std::collections::HashSet;

use etcd_client::proto::PbKeyValue;
use libkv_core::{Event, KvPair, Picture};

use crate::handle::Handle;
use crate::names::{is_lock_node, lease_in};

/// What the consumer of a watch has been told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The version of each key, as far as `whole` says.
    pub(super) picture: Picture,
    /// Whether the picture has every key that is there.
    pub(super) whole: bool,
    /// Up to where it was told: all that the state at this revision has, or each change.
    pub(super) revision: i64,
    /// The locks' nodes that are there, whose end is nothing to tell.
    nodes: HashSet<Vec<u8>>,
}

/// What a deletion means.
#[derive(Debug)]
pub(super) enum Deleted {
    /// The key was never shown.
    Nothing,
    Told(Event),
    /// It may have been a lock's node.
    Unclear(Event),
}

impl Told {
    /// Takes a part of the state. Returns the pairs that are to be shown, and how many names are no
    /// keys.
    pub(super) fn state(&mut self, handle: &Handle, kvs: Vec<PbKeyValue>) -> (Vec<KvPair>, usize) {
        let (mut pairs, mut foreign) = (Vec::with_capacity(kvs.len()), 0);
        for kv in kvs {
            if is_lock_node(&kv.key, kv.lease) {
                self.nodes.insert(kv.key);
            } else if let Some(key) = handle.names.key(&kv.key) {
                pairs.push(handle.pair(key, kv));
            } else {
                foreign += 1;
            }
        }
        self.picture.extend(pairs.iter().map(|pair| (pair.key.clone(), pair.version)));
        (pairs, foreign)
    }

    /// Takes a put. Returns what is to be told, or how many names are no keys.
    pub(super) fn put(&mut self, handle: &Handle, kv: PbKeyValue) -> Result<Option<Event>, usize> {
        let Some(key) = handle.names.key(&kv.key) else {
            return Err(1);
        };
        if is_lock_node(&kv.key, kv.lease) {
            // Where it was data until now, it is not shown any more.
            let shown = self.picture.remove(&key).is_some();
            let last_index = u64::try_from(kv.mod_revision).unwrap_or_default();
            self.nodes.insert(kv.key);
            return Ok(shown.then_some(Event::Delete { key, last_index }));
        }
        self.nodes.remove(&kv.key);
        let pair = handle.pair(key, kv);
        self.picture.insert(pair.key.clone(), pair.version);
        Ok(Some(Event::Put(pair)))
    }

    /// Takes a deletion.
    pub(super) fn deleted(&mut self, handle: &Handle, kv: &PbKeyValue) -> Deleted {
        let Some(key) = handle.names.key(&kv.key) else {
            return Deleted::Nothing;
        };
        if self.nodes.remove(&kv.key) {
            return Deleted::Nothing;
        }
        let shown = self.picture.remove(&key).is_some();
        let last_index = u64::try_from(kv.mod_revision).unwrap_or_default();
        let event = Event::Delete { key, last_index };
        match (shown, self.whole) {
            (true, _) => Deleted::Told(event),
            (false, true) => Deleted::Nothing,
            (false, false) if lease_in(&kv.key).is_some() => Deleted::Unclear(event),
            (false, false) => Deleted::Told(event),
        }
    }
}
