//! Deleting whole trees, in parts: ZooKeeper has no operation for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, try_join_all};
use libkv_core::{Consistency, Error, ErrorKind, Key, Result};
use tokio::time::Instant;
use zookeeper_client as zk;

use crate::error::{Call, Failure, ZK};
use crate::handle::Handle;
use crate::paths::{ancestors, child, is_key};

/// How many nodes are looked at, and deleted, at once.
const AT_ONCE: usize = 500;

impl Handle {
    /// Deletes a directory and all that is below it.
    ///
    /// # Errors
    ///
    /// `OutcomeUnknown` where a part of it was deleted.
    pub(crate) async fn delete_tree(&self, dir: &Key, call: &Call) -> Result<()> {
        let path = self.paths.path(dir);
        let mut sweep = Sweep { handle: self, call, deleted: false };
        let swept = sweep.whole(&path, !dir.is_root()).await;
        swept.map_err(|error| match sweep.deleted {
            true => Error::new(ErrorKind::OutcomeUnknown, ZK, call.operation)
                .with_detail("it stopped when a part was deleted; delete it again")
                .with_source(error),
            false => error,
        })
    }
}

struct Sweep<'a> {
    handle: &'a Handle,
    call: &'a Call,
    /// Something was deleted, or may have been.
    deleted: bool,
}

impl Sweep<'_> {
    /// Deletes what is below a path, and the node itself if it is to go, until nothing is left.
    async fn whole(&mut self, path: &str, itself: bool) -> Result<()> {
        if !self.at_once(path, itself).await? {
            loop {
                self.below(path.to_owned(), true).await?;
                if !itself || self.delete(&[path.to_owned()]).await? {
                    break;
                }
                self.check_time()?;
            }
        }
        if itself {
            self.prune(path).await?;
        }
        Ok(())
    }

    /// Deletes a small tree as a whole, so that nobody comes between its parts, as who waits for a
    /// lock there would; false where there are too many nodes.
    async fn at_once(&mut self, path: &str, itself: bool) -> Result<bool> {
        loop {
            let Some(paths) = self.gather(path, itself).await? else { return Ok(false) };
            if paths.is_empty() || self.delete(&paths).await? {
                return Ok(true);
            }
            self.check_time()?;
        }
    }

    /// The nodes of a tree, each behind what is below it; none where they are too many.
    async fn gather(&self, path: &str, itself: bool) -> Result<Option<Vec<String>>> {
        let (mut all, mut level) = (Vec::new(), vec![path.to_owned()]);
        let mut consistency = Consistency::Linearizable;
        while !level.is_empty() {
            if all.len() + level.len() > AT_ONCE {
                return Ok(None);
            }
            let names = self.children(&level, consistency).await?;
            let mut next = Vec::new();
            for (path, names) in level.into_iter().zip(names) {
                let Some(names) = names else { continue };
                next.extend(below(&path, &names));
                all.push(path);
            }
            (level, consistency) = (next, Consistency::Local);
        }
        if !itself && !all.is_empty() {
            all.remove(0);
        }
        all.reverse();
        Ok(Some(all))
    }

    /// The names of the children of nodes; none where a node is gone.
    async fn children(
        &self,
        paths: &[String],
        consistency: Consistency,
    ) -> Result<Vec<Option<Vec<String>>>> {
        let reading = self.handle.link.read_at(consistency, self.call, |client| {
            let listed = |path| {
                let listing = client.get_children(path);
                async move {
                    match listing.await {
                        Ok((names, _)) => Ok(Some(names)),
                        Err(zk::Error::NoNode) => Ok(None),
                        Err(error) => Err(error),
                    }
                }
            };
            try_join_all(paths.iter().map(|path| listed(path)).collect::<Vec<_>>())
        });
        reading.await.map_err(|failure| failure.into_error(self.call, false))
    }

    /// Deletes what is below a path. Only the first look must see all that was acknowledged: what
    /// comes later is of this connection.
    fn below(&mut self, path: String, first: bool) -> BoxFuture<'_, Result<()>> {
        async move {
            let consistency = if first { Consistency::Linearizable } else { Consistency::Local };
            let listing = self.handle.link.read_at(consistency, self.call, |client| {
                let path = path.clone();
                async move { client.list_children(&path).await }
            });
            let names = match listing.await {
                Ok(names) => names,
                Err(failure) if failure.is_absent() => return Ok(()),
                Err(failure) => return Err(failure.into_error(self.call, false)),
            };
            for names in names.chunks(AT_ONCE) {
                self.all(below(&path, names).collect()).await?;
            }
            Ok(())
        }
        .boxed()
    }

    /// Deletes nodes with all that is below them.
    async fn all(&mut self, paths: Vec<String>) -> Result<()> {
        let mut paths = paths;
        loop {
            let stats = self.stats(&paths).await?;
            let mut leaves = Vec::with_capacity(paths.len());
            for (path, children) in paths.into_iter().zip(stats) {
                let Some(children) = children else { continue };
                if children > 0 {
                    self.below(path.clone(), false).await?;
                }
                leaves.push(path);
            }
            if leaves.is_empty() || self.delete(&leaves).await? {
                return Ok(());
            }
            self.check_time()?;
            // Something was made or deleted meanwhile.
            paths = leaves;
        }
    }

    /// How many children each node has; none where it is gone.
    async fn stats(&self, paths: &[String]) -> Result<Vec<Option<i32>>> {
        let paths: Arc<[String]> = paths.into();
        let looking = self.handle.link.read(self.call, |client| {
            let stats: Vec<_> = paths.iter().map(|path| client.check_stat(path)).collect();
            try_join_all(stats)
        });
        let stats = looking.await.map_err(|failure| failure.into_error(self.call, false))?;
        Ok(stats.into_iter().map(|stat| stat.map(|stat| stat.num_children)).collect())
    }

    /// Deletes nodes at once; false where one has children again, or is gone.
    async fn delete(&mut self, paths: &[String]) -> Result<bool> {
        let deleting = self.handle.link.multi(self.call, |_, writer| {
            paths.iter().try_for_each(|path| writer.add_delete(path, None))
        });
        match deleting.await {
            Ok(Ok(_)) => {
                self.deleted = true;
                Ok(true)
            }
            Ok(Err((_, zk::Error::NotEmpty))) => Ok(false),
            // The only one is gone.
            Ok(Err((_, zk::Error::NoNode))) => Ok(paths.len() == 1),
            Ok(Err((_, error))) => Err(Failure::of(error).into_error(self.call, true)),
            Err(failure) => {
                self.deleted |= !matches!(failure, Failure::Unsent(_) | Failure::Refused(_));
                Err(failure.into_error(self.call, true))
            }
        }
    }

    /// Removes the parents that nobody put and that have nothing below them any more.
    async fn prune(&mut self, path: &str) -> Result<()> {
        let inside = |above: &&str| self.handle.paths.key(above).is_some();
        let above: Vec<String> = ancestors(path).filter(inside).map(str::to_owned).collect();
        let nodes = self.handle.look(above.iter().cloned().collect::<BTreeSet<_>>(), self.call);
        let nodes = nodes.await?;
        for path in above {
            let Some(stat) = nodes.get(&path).and_then(Option::as_ref) else { continue };
            let alone = stat.num_children <= 1 && stat.data_length == 0;
            if !alone || is_key(&path, stat) && stat.num_children == 0 && stat.ephemeral_owner != 0
            {
                break;
            }
            let pruning = self
                .handle
                .link
                .multi(self.call, |_, writer| writer.add_delete(&path, Some(stat.version)));
            match pruning.await {
                Ok(Ok(_)) => {}
                // There is something below it, or it is something else by now.
                Ok(Err(_)) => break,
                Err(failure) => return Err(failure.into_error(self.call, true)),
            }
        }
        Ok(())
    }

    fn check_time(&self) -> Result<()> {
        match Instant::now() < self.call.deadline {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Timeout, ZK, self.call.operation)
                .with_detail("others make nodes there again and again")),
        }
    }
}

/// The paths of children. What is ZooKeeper's own is nobody's tree.
fn below(path: &str, names: &[String]) -> impl Iterator<Item = String> {
    let reserved = move |name: &&String| path == "/" && *name == "zookeeper";
    names.iter().filter(move |name| !reserved(name)).map(move |name| child(path, name))
}
