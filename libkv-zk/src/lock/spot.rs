//! Where a lock is in ZooKeeper: what is read there, and how its queue is joined.

use std::sync::Arc;

use futures_util::future::{join, try_join, try_join_all};
use libkv_core::{Consistency, Error, ErrorKind, Result, Wait};
use tokio::time::Instant;
use zookeeper_client as zk;
use zookeeper_client::{CreateMode, Stat};

use super::names::{Site, is_mark_name, older};
use super::{LOCK, busy};
use crate::error::{Call, Failure, ZK};
use crate::handle::Handle;
use crate::paths::{ancestors, child, is_empty_value, lock_sequence};
use crate::plan::Op;

const BELOW_EPHEMERAL: &str = "a lock below an ephemeral key, which ZooKeeper cannot have";
const BELOW_EMPTY: &str =
    "a lock below an empty value, which ZooKeeper could not tell from no value any more";

/// One attempt at a lock, and the handle that it is made with.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) handle: Arc<Handle>,
    pub(super) site: Site,
}

/// A node in the queue.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) sequence: i32,
    pub(super) czxid: i64,
}

/// What there is at a lock.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    /// The locked key's node, and its children.
    pub(super) node: Option<(Stat, Vec<String>)>,
    /// The nodes above, from the nearest on.
    pub(super) above: Vec<Above>,
    /// The marks among the children, by their names.
    pub(super) marks: Vec<(String, Stat)>,
}

/// A node above a lock.
#[derive(Debug, Clone)]
pub(super) struct Above {
    pub(super) path: String,
    /// Whether it is below the store's root, and so may be a key.
    pub(super) inside: bool,
    pub(super) stat: Option<Stat>,
}

impl Spot {
    /// Reads what there is.
    pub(super) async fn look(&self, consistency: Consistency, call: &Call) -> Result<Scene> {
        let above: Arc<[String]> = ancestors(&self.site.path).map(str::to_owned).collect();
        let own_mark = self.site.child(&self.site.mark_name());
        let read = self.handle.link.read_at(consistency, call, |client| {
            let listing = client.get_children(&self.site.path);
            let mark = client.check_stat(&own_mark);
            let above: Vec<_> = above.iter().map(|path| client.check_stat(path)).collect();
            async move {
                let (node, rest) = join(listing, try_join(mark, try_join_all(above))).await;
                let node = match node {
                    Err(zk::Error::NoNode) => None,
                    node => Some(node?),
                };
                rest.map(|(mark, above)| (node, mark, above))
            }
        });
        let (node, mark, stats) = read.await.map_err(|failure| failure.into_error(call, false))?;
        let node = node.map(|(names, stat)| (stat, names));
        let names = node.iter().flat_map(|(_, names)| names);
        let other = |name: &&String| is_mark_name(name) && **name != self.site.mark_name();
        let names: Vec<_> = names.filter(other).cloned().collect();
        let mut marks = self.marks(names, call).await?;
        marks.extend(mark.filter(is_mark).map(|stat| (self.site.mark_name(), stat)));
        let above = above.iter().zip(stats).map(|(path, stat)| {
            let inside = self.handle.paths.key(path).is_some();
            Above { path: path.clone(), inside, stat }
        });
        Ok(Scene { node, above: above.collect(), marks })
    }

    /// Reads which children are marks indeed, among those that are named so.
    async fn marks(&self, names: Vec<String>, call: &Call) -> Result<Vec<(String, Stat)>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let read = self.handle.link.read(call, |client| {
            let stat = |name: &String| client.check_stat(&self.site.child(name));
            try_join_all(names.iter().map(stat).collect::<Vec<_>>())
        });
        let stats = read.await.map_err(|failure| failure.into_error(call, false))?;
        let there = names.into_iter().zip(stats).filter_map(|(name, stat)| Some((name, stat?)));
        Ok(there.filter(|(_, stat)| is_mark(stat)).collect())
    }

    /// Reads the children, as far as this connection knows them.
    pub(super) async fn names(&self, call: &Call) -> Result<Vec<String>> {
        let reading = self.handle.link.read(call, |client| {
            let listing = client.get_children(&self.site.path);
            async move { listing.await.map(|(names, _)| names) }
        });
        match reading.await {
            Err(failure) if failure.is_absent() => Ok(Vec::new()),
            names => names.map_err(|failure| failure.into_error(call, false)),
        }
    }

    /// Makes a node in the queue, and returns it with all that are in it. Where nobody is to be
    /// waited for, it is made only if nobody is there.
    pub(super) async fn join(
        &self,
        session: i64,
        wait: Wait,
        call: &Call,
    ) -> Result<(Place, Vec<String>)> {
        // What is read may be old, unless it decides: what is made then shows it.
        let mut consistency = match wait {
            Wait::Never => Consistency::Linearizable,
            _ => Consistency::Local,
        };
        loop {
            let scene = self.look(consistency, call).await?;
            scene.allow()?;
            if wait == Wait::Never && self.is_taken(&scene, call).await? {
                return Err(busy());
            }
            if scene.node.is_some() || self.make_parents(&scene, call).await? {
                match self.create(session, call).await {
                    Ok((place, names, stat)) => {
                        scene.allow_after(&stat)?;
                        return Ok((place, names));
                    }
                    Err(Failure::Refused(zk::Error::NoNode)) => {}
                    Err(Failure::Lost(_)) => {
                        if let Some(found) = self.find(session, call).await? {
                            return Ok(found);
                        }
                    }
                    Err(failure) => return Err(failure.into_error(call, true)),
                }
            }
            consistency = Consistency::Linearizable;
            check_time(call)?;
        }
    }

    /// Whether there is a node in the queue, and not only data that is named like one.
    async fn is_taken(&self, scene: &Scene, call: &Call) -> Result<bool> {
        let names = scene.node.iter().flat_map(|(_, names)| names);
        for name in names.filter(|name| lock_sequence(name).is_some()) {
            let path = self.site.child(name);
            let stat = self.handle.link.read(call, |client| client.check_stat(&path)).await;
            let stat = stat.map_err(|failure| failure.into_error(call, false))?;
            if stat.is_some_and(|stat| stat.ephemeral_owner != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes the locked key's node and what is missing above; false where others do the same.
    async fn make_parents(&self, scene: &Scene, call: &Call) -> Result<bool> {
        let missing = scene.above.iter().take_while(|above| above.stat.is_none());
        let mut paths: Vec<_> = missing.map(|above| &above.path).collect();
        paths.insert(0, &self.site.path);
        let options = CreateMode::Persistent.with_acls(self.handle.acls());
        let making = self.handle.link.multi(call, |_, writer| {
            paths.iter().rev().try_for_each(|path| writer.add_create(path, b"", &options))
        });
        match making.await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err((_, zk::Error::NodeExists | zk::Error::NoNode))) | Err(Failure::Lost(_)) => {
                Ok(false)
            }
            Ok(Err((_, error))) => Err(Failure::of(error).into_error(call, true)),
            Err(failure) => Err(failure.into_error(call, true)),
        }
    }

    /// Makes the node, and reads who is in the queue.
    async fn create(
        &self,
        session: i64,
        call: &Call,
    ) -> Result<(Place, Vec<String>, Stat), Failure> {
        let (path, prefix) = (self.site.path.clone(), self.site.node_prefix());
        let acls = self.handle.acls();
        let writing = self.handle.link.write(call, |conn, client| async move {
            if conn.id != session {
                return Err(zk::Error::SessionExpired);
            }
            let (prefix, options) =
                (child(&path, &prefix), CreateMode::EphemeralSequential.with_acls(acls));
            let (creating, listing) =
                (client.create(&prefix, b"", &options), client.get_children(&path));
            let (created, listed) = join(creating, listing).await;
            let (stat, number) = created?;
            Ok((format!("{prefix}{number}"), stat, listed))
        });
        let (path, stat, listed) = writing.await?;
        let (names, node) = listed.map_err(Failure::Lost)?;
        Ok((self.place(&path, &stat), names, node))
    }

    /// Looks for a node whose making was not answered: by its name, and with our session.
    async fn find(&self, session: i64, call: &Call) -> Result<Option<(Place, Vec<String>)>> {
        let scene = self.look(Consistency::Linearizable, call).await?;
        let names = scene.node.map(|(_, names)| names).unwrap_or_default();
        for name in names.iter().filter(|name| self.site.is_own(name)) {
            let path = self.site.child(name);
            let stat = self.handle.link.read(call, |client| client.check_stat(&path)).await;
            let stat = stat.map_err(|failure| failure.into_error(call, false))?;
            if let Some(stat) = stat.filter(|stat| stat.ephemeral_owner == session) {
                return Ok(Some((self.place(&path, &stat), names)));
            }
        }
        Ok(None)
    }

    fn place(&self, path: &str, stat: &Stat) -> Place {
        let (path, name) = (path.to_owned(), crate::paths::name(path).to_owned());
        let sequence = lock_sequence(&name).unwrap_or_default();
        Place { path, name, sequence, czxid: stat.czxid }
    }

    /// Does several operations together, or none where something is not as it was read. The outer
    /// error says that it is not known.
    pub(super) async fn commit(
        &self,
        ops: &[Op],
        call: &Call,
    ) -> Result<Result<(), (usize, zk::Error)>, Failure> {
        let committing = self
            .handle
            .link
            .multi(call, |_, writer| ops.iter().try_for_each(|op| self.handle.add(writer, op)));
        Ok(committing.await?.map(drop))
    }
}

impl Place {
    /// Those in front, the nearest first.
    pub(super) fn in_front<'a>(&self, names: &'a [String]) -> Vec<&'a str> {
        older(names, self.sequence)
    }
}

impl Scene {
    /// Refuses a lock where ZooKeeper cannot have one.
    fn allow(&self) -> Result<()> {
        let (stat, inside) = match &self.node {
            Some((stat, _)) => (stat, true),
            None => match self.above.iter().find_map(|above| Some((above.stat.as_ref()?, above))) {
                Some((stat, above)) => (stat, above.inside),
                None => return Ok(()),
            },
        };
        if stat.ephemeral_owner != 0 {
            return Err(refused(BELOW_EPHEMERAL));
        }
        if inside && is_empty_value(stat) { Err(refused(BELOW_EMPTY)) } else { Ok(()) }
    }

    /// Refuses a lock whose key was given an empty value just before its node was made.
    fn allow_after(&self, stat: &Stat) -> Result<()> {
        let before = self.node.as_ref().map_or(0, |(stat, _)| stat.version);
        let emptied = stat.data_length == 0 && stat.version != before;
        if emptied && stat.num_children == 1 { Err(refused(BELOW_EMPTY)) } else { Ok(()) }
    }
}

fn refused(detail: &'static str) -> Error {
    Error::new(ErrorKind::NotImplemented, ZK, LOCK).with_detail(detail)
}

/// Whether a node can be a mark: only made, and never written.
fn is_mark(stat: &Stat) -> bool {
    (stat.data_length, stat.version, stat.num_children, stat.ephemeral_owner) == (0, 0, 0, 0)
}

pub(super) fn check_time(call: &Call) -> Result<()> {
    match Instant::now() < call.deadline {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Timeout, ZK, call.operation)
            .with_detail("others make and delete nodes there again and again")),
    }
}
