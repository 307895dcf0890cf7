//! Puts, deletes and transactions.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{join, try_join_all};
use libkv_core::{
    Condition, Consistency, Error, ErrorKind, Key, Lifetime, Result, TxnOutcome, TxnWrite, Version,
};
use tokio::time::{Instant, timeout_at};
use zookeeper_client as zk;
use zookeeper_client::{CreateMode, MultiWriteError, MultiWriteResult, Stat};

use crate::error::{Call, Failure, ZK};
use crate::handle::{Handle, MAX_REQUEST_BYTES};
use crate::paths::{is_empty_value, parent, version};
use crate::plan::{BELOW_EMPTY, BELOW_EPHEMERAL, Nodes, Op, Plan, Request, Role};

impl Handle {
    /// Puts a permanent key that is not empty, whatever is there. Where there is a node already it
    /// takes one exchange: the parent is looked at meanwhile, should the key be new.
    pub(crate) async fn put(&self, key: &Key, value: &Bytes, call: &Call) -> Result<Version> {
        let path = self.paths.path(key);
        let above = parent(&path).filter(|above| *above != "/");
        while Instant::now() < call.deadline {
            let setting = self.link.write(call, |_, client| {
                let looked = above.map(|above| client.check_stat(above));
                let set = client.set_data(&path, value, None);
                async move {
                    let looking = async {
                        match looked {
                            Some(looked) => looked.await.unwrap_or(None),
                            None => None,
                        }
                    };
                    match join(looking, set).await {
                        (_, Ok(stat)) => Ok((None, Some(stat))),
                        (looked, Err(zk::Error::NoNode)) => Ok((looked, None)),
                        (_, Err(error)) => Err(error),
                    }
                }
            });
            match setting.await.map_err(|failure| failure.into_error(call, true))? {
                (_, Some(stat)) if stat.ephemeral_owner == 0 => return Ok(version(&stat)),
                (_, Some(stat)) => return self.make_permanent(&path, value, &stat, call).await,
                (None, None) if above.is_some() => break,
                (looked, None) => {
                    self.allow_below(looked.as_ref(), above, call)?;
                    if let Some(version) = self.create(&path, value, call).await? {
                        return Ok(version);
                    }
                }
            }
        }
        // Its parents are to be made as well.
        let write =
            TxnWrite::Put { key: key.clone(), value: value.clone(), lifetime: Lifetime::Permanent };
        let outcome = self.transact(Request::of(call.operation, write), call).await?;
        outcome.versions.into_iter().next().ok_or_else(|| untold(call))
    }

    /// Refuses what cannot be below a node.
    fn allow_below(&self, stat: Option<&Stat>, path: Option<&str>, call: &Call) -> Result<()> {
        let detail = match stat {
            Some(stat) if stat.ephemeral_owner != 0 => BELOW_EPHEMERAL,
            Some(stat)
                if is_empty_value(stat) && path.and_then(|p| self.paths.key(p)).is_some() =>
            {
                BELOW_EMPTY
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::NotImplemented, ZK, call.operation).with_detail(detail))
    }

    /// Makes a node; none where there is one by now, or no parent any more.
    async fn create(&self, path: &str, value: &Bytes, call: &Call) -> Result<Option<Version>> {
        let acls = self.acls();
        let creating =
            self.link.write(call, |_, client| {
                let (path, value) = (path.to_owned(), value.clone());
                async move {
                    client.create(&path, &value, &CreateMode::Persistent.with_acls(acls)).await
                }
            });
        match creating.await {
            Ok((stat, _)) => Ok(Some(version(&stat))),
            Err(Failure::Refused(zk::Error::NoNode | zk::Error::NodeExists)) => Ok(None),
            Err(failure) => Err(failure.into_error(call, true)),
        }
    }

    /// Makes a node anew that was ephemeral when it was put: a node stays what it was made as.
    /// Where others have written it since, theirs counts.
    async fn make_permanent(
        &self,
        path: &str,
        value: &Bytes,
        stat: &Stat,
        call: &Call,
    ) -> Result<Version> {
        let acls = self.acls();
        let made = self.link.multi(call, |_, writer| {
            writer.add_delete(path, Some(stat.version))?;
            writer.add_create(path, &[], &CreateMode::Persistent.with_acls(acls))?;
            // Of what is made in a multi the server tells nothing.
            writer.add_set_data(path, value, Some(0))
        });
        match made.await.map_err(|failure| failure.into_error(call, true))? {
            Ok(results) => {
                let created = results.iter().find_map(|result| match result {
                    MultiWriteResult::SetData { stat } => Some(version(stat)),
                    _ => None,
                });
                created.ok_or_else(|| untold(call))
            }
            Err((_, zk::Error::NoNode | zk::Error::BadVersion | zk::Error::NodeExists)) => {
                Ok(version(stat))
            }
            Err((_, error)) => Err(Error::new(ErrorKind::OutcomeUnknown, ZK, call.operation)
                .with_detail("it was put, and is still ephemeral")
                .with_source(error)),
        }
    }

    /// Does a request as a whole, or not at all. It reads what the nodes are, and does the rest at
    /// once where they are so still; otherwise nothing was done, and it begins again.
    pub(crate) async fn transact(&self, mut request: Request, call: &Call) -> Result<TxnOutcome> {
        let ephemeral = request.has_ephemeral();
        loop {
            if ephemeral {
                request.session = self.owner(call).await?;
            }
            let nodes = self.look(request.paths(&self.paths), call).await?;
            let plan = request.plan(&self.paths, &nodes)?;
            if plan.bytes() > MAX_REQUEST_BYTES {
                return Err(Error::new(ErrorKind::TooLarge, ZK, call.operation).with_detail(
                    format!(
                        "{} bytes with all paths, and the server takes {MAX_REQUEST_BYTES}",
                        plan.bytes()
                    ),
                ));
            }
            if plan.ops.is_empty() {
                return Ok(TxnOutcome::new(newest(&nodes), Vec::new()));
            }
            let session = ephemeral.then_some(request.session);
            if let Some(done) = self.commit(&plan, session, call).await? {
                return outcome(&plan, done, &request, &nodes, call);
            }
            if Instant::now() >= call.deadline {
                return Err(Error::new(ErrorKind::Timeout, ZK, call.operation)
                    .with_detail("others write the same again and again; nothing was written"));
            }
        }
    }

    /// The session that ephemeral keys are bound to.
    async fn owner(&self, call: &Call) -> Result<i64> {
        timeout_at(call.deadline, self.session.id(None)).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, ZK, call.operation)
                .with_detail("no session could be opened in time; nothing was written"))
        })
    }

    /// Reads what nodes there are.
    pub(crate) async fn look(&self, paths: BTreeSet<String>, call: &Call) -> Result<Nodes> {
        let paths: Arc<[String]> = paths.into_iter().collect();
        let stats = self.link.read_at(Consistency::Linearizable, call, |client| {
            let stats: Vec<_> = paths.iter().map(|path| client.check_stat(path)).collect();
            try_join_all(stats)
        });
        let stats = stats.await.map_err(|failure| failure.into_error(call, false))?;
        Ok(paths.iter().cloned().zip(stats).collect())
    }

    /// Sends a plan; none where something is not as it was read.
    async fn commit(
        &self,
        plan: &Plan,
        session: Option<i64>,
        call: &Call,
    ) -> Result<Option<Committed>> {
        let (conn, client) = self.link.ready(call).await?;
        if session.is_some_and(|session| session != conn.id) {
            return Ok(None);
        }
        let fill = |writer: &mut zk::MultiWriter<'_>| {
            plan.ops.iter().try_for_each(|(op, _)| self.add(writer, op))
        };
        let mut writer = client.new_multi_writer();
        fill(&mut writer).map_err(|error| Failure::of(error).into_error(call, false))?;
        let committing = writer.commit();
        let after: Vec<_> = plan.compared.iter().map(|(path, _)| client.check_stat(path)).collect();
        let late = |_| Failure::Late.into_error(call, true);
        let both = join(committing, futures_util::future::join_all(after));
        let (committed, after) = timeout_at(call.deadline, both).await.map_err(late)?;
        let (at, error) = match committed {
            Ok(results) => return Ok(Some(Committed { results, after })),
            Err(MultiWriteError::OperationFailed { index, source }) => (index, source),
            Err(MultiWriteError::RequestFailed { source }) => {
                return Err(Failure::of(source).into_error(call, true));
            }
        };
        match (plan.ops.get(at).map(|(_, role)| role), &error) {
            (Some(Role::Fence(key)), zk::Error::NoNode) => {
                Err(Error::new(ErrorKind::LockLost, ZK, call.operation)
                    .with_key(key)
                    .with_detail("the fence's guard does not hold the lock"))
            }
            (
                _,
                zk::Error::NoNode
                | zk::Error::NodeExists
                | zk::Error::BadVersion
                | zk::Error::NotEmpty
                | zk::Error::NoChildrenForEphemerals,
            ) => Ok(None),
            _ => Err(Failure::of(error).into_error(call, true)),
        }
    }

    /// Adds an operation to a multi.
    pub(crate) fn add(&self, writer: &mut zk::MultiWriter<'_>, op: &Op) -> Result<(), zk::Error> {
        match op {
            Op::Check { path, version } => writer.add_check_version(path, version.unwrap_or(-1)),
            Op::Create { path, value, ephemeral } => {
                let mode = match ephemeral {
                    true => CreateMode::Ephemeral,
                    false => CreateMode::Persistent,
                };
                writer.add_create(path, value, &mode.with_acls(self.acls()))
            }
            Op::Set { path, value, version } => writer.add_set_data(path, value, *version),
            Op::Delete { path, version } => writer.add_delete(path, *version),
        }
    }
}

impl Request {
    /// A request of one write.
    pub(crate) fn of(operation: &'static str, write: TxnWrite) -> Self {
        Self { operation, writes: vec![write], ..Self::default() }
    }

    /// The same where a key is as it must be.
    pub(crate) fn with(mut self, key: &Key, condition: Option<Condition>) -> Self {
        self.compares.extend(condition.map(|condition| (key.clone(), condition)));
        self
    }

    fn has_ephemeral(&self) -> bool {
        let ephemeral =
            |write: &TxnWrite| matches!(write, TxnWrite::Put { lifetime: Lifetime::Ephemeral, .. });
        self.writes.iter().any(ephemeral)
    }
}

/// What the server told of a multi, and what the nodes were that it only compared.
struct Committed {
    results: Vec<MultiWriteResult>,
    after: Vec<Result<Option<Stat>, zk::Error>>,
}

/// What was written.
fn outcome(
    plan: &Plan,
    done: Committed,
    request: &Request,
    nodes: &Nodes,
    call: &Call,
) -> Result<TxnOutcome> {
    let puts = request.writes.iter().filter(|write| matches!(write, TxnWrite::Put { .. })).count();
    let mut versions: Vec<Option<Version>> = vec![None; puts];
    let (mut index, mut other) = (0, false);
    for (result, (_, role)) in done.results.iter().zip(&plan.ops) {
        let MultiWriteResult::SetData { stat } = result else {
            continue;
        };
        index = index.max(version(stat).last_index());
        match role {
            Role::Mark { czxid } => other |= stat.czxid != *czxid,
            Role::Put { at, czxid } => {
                other |= czxid.is_some_and(|czxid| stat.czxid != czxid);
                if let Some(told) = versions.get_mut(*at) {
                    *told = Some(version(stat));
                }
            }
            Role::Fence(_) | Role::Guard | Role::Step => {}
        }
    }
    for (found, (_, czxid)) in done.after.iter().zip(&plan.compared) {
        // One that was made later is no matter.
        let later = |stat: &Stat| index > 0 && version(stat).last_index() > index;
        other |= match found {
            Ok(Some(stat)) => stat.czxid != *czxid && !later(stat),
            _ => false,
        };
    }
    if other {
        return Err(Error::new(ErrorKind::OutcomeUnknown, ZK, call.operation).with_detail(
            "a key was deleted and made again in that moment, with the same counter; it was written",
        ));
    }
    let versions: Option<Vec<_>> = versions.into_iter().collect();
    let index = if index == 0 { newest(nodes) } else { index };
    Ok(TxnOutcome::new(index, versions.ok_or_else(|| untold(call))?))
}

/// The newest change that was read of any node.
fn newest(nodes: &Nodes) -> u64 {
    let index = |stat: &Stat| stat.mzxid.max(stat.pzxid);
    let newest = nodes.values().flatten().map(index).max().unwrap_or_default();
    u64::try_from(newest).unwrap_or_default()
}

/// The server said that it wrote, and not what.
fn untold(call: &Call) -> Error {
    Error::new(ErrorKind::OutcomeUnknown, ZK, call.operation)
        .with_detail("the server did not tell the version of what it wrote")
}
