//! Telling a whole state.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use libkv_core::{Key, Result, WatchTarget};

use super::changes::{Change, Changed};
use super::look::State;
use super::{Gathered, Phase, Watch};
use crate::paths::pair;
use crate::reader::Content;
use crate::walk::{Found, Plan, Walk};

/// A state that is being read.
pub(super) struct Snapshot {
    /// None for one key.
    walk: Option<Walk>,
    /// The last key of what was read.
    passed: Option<Key>,
}

impl Watch {
    /// Begins to read the state, or begins again.
    pub(super) fn begin_snapshot(&mut self) {
        self.pending.clear();
        let walk = match &self.target {
            WatchTarget::Tree(dir) => {
                let plan = Plan::whole(dir.clone(), Content::Values);
                Some(Walk::new(self.reader.clone(), plan))
            }
            WatchTarget::Key(_) => None,
        };
        self.phase = Phase::Snapshot(Box::new(Snapshot { walk, passed: None }));
    }

    /// Reads and tells the next part of the state.
    pub(super) async fn read_on(&mut self) -> Result<()> {
        let part = self.read_part().await;
        if part.is_err() {
            self.begin_snapshot();
        }
        part
    }

    async fn read_part(&mut self) -> Result<()> {
        let call = self.call();
        let Phase::Snapshot(snapshot) = &mut self.phase else { return Ok(()) };
        let Some(walk) = &mut snapshot.walk else {
            return self.read_key().await;
        };
        let Some(found) = walk.next(usize::MAX, &call).await? else {
            let (newest, foreign) = (walk.newest(), walk.foreign());
            self.note_foreign(foreign);
            return self.end_snapshot(newest).await;
        };
        let mut states: BTreeMap<Key, State> = found
            .into_iter()
            .map(|Found { key, value, stat }| (key.clone(), State::There(pair(key, value, &stat))))
            .collect();
        let last = states.keys().next_back().cloned();
        // What was told and did not come up may be gone, and is told in its place.
        let gone = self.unseen(last.as_ref(), &states);
        if !gone.is_empty() {
            states.extend(self.look(&gone, &call).await?.states);
        }
        if let Phase::Snapshot(snapshot) = &mut self.phase {
            snapshot.passed = last;
        }
        states.into_iter().for_each(|(key, state)| self.tell_one(key, state));
        if let Some(feed) = &self.feed {
            // As long as the state is read, what changes is no more than what is known anyway.
            feed.allow(self.opts.buffer + self.picture.len());
        }
        Ok(())
    }

    /// What was told of keys behind those that were passed, up to a last one, and was not seen.
    fn unseen(&self, last: Option<&Key>, seen: &BTreeMap<Key, State>) -> Changed {
        let Phase::Snapshot(snapshot) = &self.phase else { return Changed::new() };
        let begin = snapshot.passed.as_ref().map_or(Unbounded, Excluded);
        let end = last.map_or(Unbounded, Included);
        let keys = self.picture.range::<Key, _>((begin, end)).map(|(key, _)| key);
        let unseen = keys.filter(|key| !seen.contains_key(*key));
        unseen.map(|key| (self.handle.paths.path(key), Change::GONE)).collect()
    }

    /// Reads the one key. Where it is not there, the nodes above tell until when that is known.
    async fn read_key(&mut self) -> Result<()> {
        let changed = [(self.scope.top().to_owned(), Change::GONE)].into();
        let call = self.call();
        let looked = self.look(&changed, &call).await?;
        if let Phase::Snapshot(snapshot) = &mut self.phase {
            snapshot.passed = Some(self.target.key().clone());
        }
        let newest = looked.newest;
        self.tell(looked);
        self.end_snapshot(newest).await
    }

    /// The state was read. What changed meanwhile is looked at again, as is what did not come up.
    async fn end_snapshot(&mut self, newest: i64) -> Result<()> {
        let Some(feed) = &self.feed else { return Ok(()) };
        // All that the state shows was told by events before.
        feed.settle().await;
        self.pending = self.unseen(None, &BTreeMap::new());
        let gathered = self.gather();
        if gathered != Gathered::All {
            self.recover(gathered);
            return Ok(());
        }
        match self.silent {
            // What changed since then is told.
            true => self.level(newest),
            false => self.phase = Phase::Closing(newest),
        }
        Ok(())
    }

    /// Tells what changed while the state was read, then that all was told.
    pub(super) async fn close(&mut self, newest: i64) -> Result<()> {
        let changed = self.some_pending();
        if changed.is_empty() {
            self.level(newest);
            return Ok(());
        }
        let call = self.call();
        let looked = self.look(&changed, &call).await?;
        self.pending.retain(|path, _| !changed.contains_key(path));
        self.tell(looked);
        Ok(())
    }
}
