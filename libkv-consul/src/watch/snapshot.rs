//! Telling a whole state.

use libkv_core::{Event, Key, KvPair, Picture, Result, WatchTarget, diff};

use super::reading::{Part, Reading};
use super::{Phase, Watch};
use crate::client::{Answer, Call, Entry, Mode};
use crate::names::is_lock_node;

/// A state that is being told.
pub(super) struct Snapshot {
    /// None where it is not asked for yet.
    entries: Option<Reading>,
    /// What was told before and has not come up yet: what is left at the end is gone. None where
    /// nothing was told.
    old: Option<Picture>,
    /// Up to where the feed knew what is there, before it was read.
    known: Option<u64>,
    silent: bool,
    any: bool,
}

impl Watch {
    pub(super) fn snapshot(&mut self) -> Phase {
        let silent = self.is_silent();
        let old = std::mem::take(&mut self.picture);
        let old = (!silent && !old.is_empty()).then_some(old);
        self.unsaid.clear();
        let known = self.changes.known();
        Phase::Snapshot(Snapshot { entries: None, old, known, silent, any: false })
    }

    /// Reads and tells the next part of the state, however long it takes to get it.
    pub(super) async fn read_on(&mut self) -> Result<()> {
        let Err(error) = self.read_part().await else {
            return Ok(());
        };
        self.begin_again();
        self.patience.after(error, self.target.key()).await
    }

    async fn read_part(&mut self) -> Result<()> {
        let call = self.call();
        let Phase::Snapshot(snapshot) = &mut self.phase else {
            return Ok(());
        };
        let client = &self.handle.client;
        let failed = |failure: crate::error::Failure| failure.into_error(&call, false);
        let Some(entries) = &mut snapshot.entries else {
            return match &self.target {
                WatchTarget::Key(key) => {
                    let name = self.handle.names.name(key);
                    let answer = client.get(&name, Mode::Consistent, &call).await;
                    let Answer { index, body, .. } = answer.map_err(failed)?;
                    self.index = index.unwrap_or_default();
                    let batch = body.into_iter().collect();
                    self.tell_part(batch).await?;
                    self.end_snapshot(&call).await
                }
                WatchTarget::Tree(dir) => {
                    let prefix = self.handle.names.below(dir);
                    let answer = client.list(&prefix, Mode::Consistent, &call).await;
                    let Answer { index, body, filtered, .. } = answer.map_err(failed)?;
                    if filtered {
                        return Err(self.handle.rights.denied(&call));
                    }
                    self.index = index.unwrap_or_default();
                    snapshot.entries = Some(Reading::start(body, client.operation_timeout()));
                    Ok(())
                }
            };
        };
        match entries.next().await.map_err(failed)? {
            Part::Entries(batch) => self.tell_part(batch).await,
            Part::End => self.end_snapshot(&call).await,
            Part::GivenUp => {
                self.begin_again();
                Ok(())
            }
        }
    }

    /// What was told so far stays told, and the state is read once more.
    fn begin_again(&mut self) {
        let told = std::mem::take(&mut self.picture);
        if let Phase::Snapshot(snapshot) = &mut self.phase {
            snapshot.entries = None;
            snapshot.any = false;
            if !snapshot.silent && !told.is_empty() {
                snapshot.old.get_or_insert_default().extend(told);
            }
        }
    }

    async fn tell_part(&mut self, batch: Vec<Entry>) -> Result<()> {
        let mut named = Vec::with_capacity(batch.len());
        let mut foreign = 0;
        if let Phase::Snapshot(snapshot) = &mut self.phase {
            snapshot.any |= !batch.is_empty();
        }
        for entry in batch {
            if is_lock_node(&entry.name, entry.flags) {
                continue;
            }
            match self.handle.names.key(&entry.name) {
                Some(key) => named.push((key, entry)),
                None => foreign += 1,
            }
        }
        let call = self.call();
        let pairs = self.handle.pairs(named, Mode::Consistent, &call).await?;
        let known = match &self.phase {
            Phase::Snapshot(Snapshot { old: Some(old), .. }) => {
                // What is beyond this part comes up with a later one.
                let last = pairs.last().map(|pair| &pair.key);
                let passed = old.iter().filter(|(key, _)| last.is_some_and(|last| *key <= last));
                let mut known: Picture =
                    passed.map(|(key, version)| (key.clone(), *version)).collect();
                self.keep_hidden(&mut known, &pairs, &call).await?;
                Some(known)
            }
            _ => None,
        };
        self.picture.extend(pairs.iter().map(|pair| (pair.key.clone(), pair.version)));
        let Phase::Snapshot(snapshot) = &mut self.phase else {
            return Ok(());
        };
        match (&mut snapshot.old, known) {
            (Some(old), Some(known)) => {
                if let Some(last) = pairs.last() {
                    *old = old.split_off(&last.key);
                    old.remove(&last.key);
                }
                self.ready.extend(differences(&known, &pairs, self.index));
            }
            _ if snapshot.silent => {}
            _ => self.ready.extend(pairs.into_iter().map(Event::Put)),
        }
        self.note_foreign(foreign);
        Ok(())
    }

    /// Takes what was told and is there all the same out of what is gone. It is an error where it
    /// is there and may not be read any more.
    async fn keep_hidden(
        &mut self,
        known: &mut Picture,
        pairs: &[KvPair],
        call: &Call,
    ) -> Result<()> {
        if !matches!(self.target, WatchTarget::Tree(_)) {
            return Ok(());
        }
        let came_up = |key: &Key| pairs.binary_search_by(|pair| pair.key.cmp(key)).is_ok();
        let gone = known.keys().filter(|key| !came_up(key));
        let gone: Vec<String> = gone.map(|key| self.handle.names.name(key)).collect();
        let there = self.handle.rights.look_for(&gone, call).await?;
        for name in there {
            // Somebody put it meanwhile, which the feed tells.
            if let Some((key, version)) =
                self.handle.names.key(&name).and_then(|key| known.remove_entry(&key))
            {
                self.picture.insert(key, version);
            }
        }
        Ok(())
    }

    /// What was told and did not come up is gone.
    async fn end_snapshot(&mut self, call: &Call) -> Result<()> {
        let Phase::Snapshot(snapshot) = &self.phase else {
            return Ok(());
        };
        let mut gone = snapshot.old.clone().unwrap_or_default();
        let known = snapshot.known;
        if let WatchTarget::Tree(dir) = &self.target
            && !snapshot.any
        {
            self.handle.rights.demand(&self.handle.names.below(dir), call).await?;
        }
        self.keep_hidden(&mut gone, &[], call).await?;
        self.ready.extend(differences(&gone, &[], self.index));
        if let Some(known) = known.filter(|_| self.index > 0) {
            let newer = self.picture.iter().filter(|(_, version)| version.last_index() > known);
            self.unsaid = newer.map(|(key, _)| key.clone()).collect();
        }
        self.level(self.index);
        Ok(())
    }

    /// The feed has said all up to an index, and has seen by then what was there. Of the rest it says
    /// nothing, since that was gone before it looked.
    pub(super) async fn find_unsaid(&mut self, index: u64) -> Result<()> {
        if index < self.index || self.unsaid.is_empty() {
            return Ok(());
        }
        let told = |key: Key| Some((key.clone(), *self.picture.get(&key)?));
        let mut gone: Picture =
            std::mem::take(&mut self.unsaid).into_iter().filter_map(told).collect();
        while let Err(error) = self.keep_hidden(&mut gone, &[], &self.call()).await {
            self.patience.after(error, self.target.key()).await?;
        }
        self.picture.retain(|key, _| !gone.contains_key(key));
        self.ready.extend(differences(&gone, &[], index));
        Ok(())
    }
}

/// The events that turn what was told into what is there. The index of an answer may be missing, and
/// no key was deleted before it was put.
fn differences(told: &Picture, pairs: &[KvPair], index: u64) -> Vec<Event> {
    let mut events = diff(told, pairs, index);
    for event in &mut events {
        if let Event::Delete { key, last_index } = event
            && let Some(version) = told.get(key)
        {
            *last_index = index.max(version.last_index());
        }
    }
    events
}
