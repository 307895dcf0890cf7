use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use libkv_core::{
    BackendName, Capabilities, Condition, DeleteOptions, DeleteTreeOptions, Error, ErrorKind,
    EventStream, Expect, GetOptions, Key, KvPair, Lifetime, ListOptions, LockOptions, LockSession,
    PairStream, Result, StateWatch, Store, Txn, TxnOutcome, TxnWrite, Version, WatchOptions,
    WatchTarget, WriteOptions,
};

use crate::ConsulConfig;
use crate::client::{Call, Entry, Mode};
use crate::commit::{Unwritten, commit, exchange};
use crate::error::CONSUL;
use crate::handle::{Handle, mode, session_limits, version};
use crate::list::list;
use crate::lock::ConsulLock;
use crate::names::{is_lock_node, may_be_lock_node};
use crate::owner::Owner;
use crate::request::{Plan, Refused, Write, unknown};
use crate::watch::watch;

/// A store in Consul.
///
/// Clones are one handle, closed together. When the last clone is dropped and no guard or stream
/// lives, the handle is closed in the background.
#[derive(Debug, Clone)]
pub struct ConsulStore {
    handle: Arc<Handle>,
}

impl ConsulStore {
    /// Opens a store. Unless the configuration is lazy, it looks for an agent that knows a leader.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotReachable`] and [`ErrorKind::Timeout`] when no agent answers within the
    /// configuration's `connection_timeout`, [`ErrorKind::InvalidConfig`] for files that cannot be
    /// read. What a token may do is found out by the calls that need it.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is left open.
    pub async fn open(config: ConsulConfig) -> Result<Self> {
        Ok(Self { handle: Handle::open(config).await? })
    }
}

/// Prints the store's address as a URL, without secrets.
impl fmt::Display for ConsulStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.handle.address)
    }
}

#[async_trait]
impl Store for ConsulStore {
    fn backend(&self) -> BackendName {
        CONSUL
    }

    fn capabilities(&self) -> Capabilities {
        self.handle.capabilities()
    }

    fn state(&self) -> StateWatch {
        self.handle.session.state()
    }

    async fn get_opts(&self, key: &Key, opts: GetOptions) -> Result<KvPair> {
        const GET: &str = "get";
        let getting = async {
            not_root(key, GET)?;
            let call = self.handle.demand_open(GET, opts.deadline)?;
            let mode = mode(opts.consistency);
            let found = if opts.keys_only {
                self.handle.find_without_value(key, mode, &call).await?
            } else {
                self.handle.find(key, mode, &call).await?
            };
            let found = found.ok_or_else(|| Error::new(ErrorKind::KeyNotFound, CONSUL, GET))?;
            let pairs = self.handle.pairs(vec![(key.clone(), found)], mode, &call).await?;
            pairs.into_iter().next().ok_or_else(|| Error::new(ErrorKind::KeyNotFound, CONSUL, GET))
        };
        getting.await.map_err(|error: Error| error.or_key(key))
    }

    async fn put_opts(&self, key: &Key, value: Bytes, opts: WriteOptions) -> Result<Version> {
        const PUT: &str = "put";
        let putting = async {
            not_root(key, PUT)?;
            self.limits().check_value(value.len(), CONSUL, PUT)?;
            let call = self.handle.demand_open(PUT, opts.deadline)?;
            if matches!(opts.expect, Expect::Version(_)) {
                self.demand_no_lock(key, &call).await?;
            }
            let guards = || {
                let mut plan = Plan::default();
                if let Some(fence) = &opts.fence {
                    plan.fence(fence, PUT)?;
                }
                plan.expect(&self.handle.names, key, opts.expect, PUT)?;
                Ok(plan)
            };
            guards()?;
            let flags = match opts.expect {
                Expect::Version(version) => version.extra()[0],
                _ => 0,
            };
            let name = self.handle.names.name(key);
            let absent = opts.expect == Expect::Absent;
            let write = Write { name, value: Some(value), flags, owner: None, absent, bound: None };
            let puts = vec![(write, opts.lifetime)];
            let written = self.write(puts, Vec::new(), guards, &call).await?;
            written.versions.into_iter().next().ok_or_else(|| untold(&call))
        };
        putting.await.map_err(|error: Error| error.or_key(key))
    }

    async fn delete_opts(&self, key: &Key, opts: DeleteOptions) -> Result<()> {
        const DELETE: &str = "delete";
        let deleting = async {
            not_root(key, DELETE)?;
            let call = self.handle.demand_open(DELETE, opts.deadline)?;
            let names = &self.handle.names;
            let mut plan = Plan::default();
            if let Some(fence) = &opts.fence {
                plan.fence(fence, DELETE)?;
            }
            match opts.expect {
                Expect::Anything => plan.condition(names, key, Condition::Exists)?,
                expect => plan.expect(names, key, expect, DELETE)?,
            }
            if opts.expect == Expect::Absent {
                plan.condition(names, key, Condition::Exists)?;
            }
            self.demand_no_lock(key, &call).await?;
            plan.write(0, &Write::removal(names.name(key)));
            self.send(&plan, &call).await
        };
        deleting.await.map_err(|error: Error| error.or_key(key))
    }

    async fn delete_tree_opts(&self, dir: &Key, opts: DeleteTreeOptions) -> Result<()> {
        const DELETE_TREE: &str = "delete_tree";
        let deleting = async {
            let call = self.handle.demand_open(DELETE_TREE, opts.deadline)?;
            let mut plan = Plan::default();
            if let Some(fence) = &opts.fence {
                plan.fence(fence, DELETE_TREE)?;
            }
            plan.delete_tree(self.handle.names.below(dir));
            if !dir.is_root() {
                plan.write(0, &Write::removal(self.handle.names.name(dir)));
            }
            self.send(&plan, &call).await
        };
        deleting.await.map_err(|error: Error| error.or_key(dir))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        const TXN: &str = "txn";
        self.limits().check_txn(&txn, CONSUL)?;
        let call = self.handle.demand_open(TXN, txn.deadline())?;
        let (compares, fences, writes) = txn.into_parts();
        let guards = || {
            let mut plan = Plan::default();
            for fence in &fences {
                plan.fence(fence, TXN)?;
            }
            for compare in &compares {
                let added = plan.condition(&self.handle.names, &compare.key, compare.condition);
                added.map_err(|error| error.or_key(&compare.key))?;
            }
            Ok(plan)
        };
        guards()?;
        for compare in &compares {
            if !matches!(compare.condition, Condition::Absent) {
                let demanded = self.demand_no_lock(&compare.key, &call).await;
                demanded.map_err(|error| error.or_key(&compare.key))?;
            }
        }
        let condition = |key: &Key| {
            let compare = compares.iter().find(|compare| compare.key == *key);
            compare.map(|compare| compare.condition)
        };
        let (mut puts, mut removals) = (Vec::new(), Vec::new());
        for write in writes {
            match write {
                TxnWrite::Put { key, value, lifetime } => {
                    Owner::check(lifetime, TXN).map_err(|error| error.or_key(&key))?;
                    let (flags, absent) = match condition(&key) {
                        Some(Condition::Version(version)) => (version.extra()[0], false),
                        other => (0, matches!(other, Some(Condition::Absent))),
                    };
                    let (name, value) = (self.handle.names.name(&key), Some(value));
                    let write = Write { name, value, flags, owner: None, absent, bound: None };
                    puts.push((write, lifetime));
                }
                TxnWrite::Delete { key } => {
                    removals.push(Write::removal(self.handle.names.name(&key)))
                }
                other => return Err(unknown("a write", &other, TXN)),
            }
        }
        if puts.is_empty() && removals.is_empty() {
            return self.compare(&guards()?, &compares, &call).await;
        }
        self.write(puts, removals, guards, &call).await
    }

    fn list_opts(&self, dir: &Key, opts: ListOptions) -> PairStream {
        PairStream::new(list(self.handle.clone(), dir.clone(), opts))
    }

    fn watch_opts(&self, target: &WatchTarget, opts: WatchOptions) -> EventStream {
        if let WatchTarget::Key(key) = target
            && let Err(error) = not_root(key, "watch")
        {
            return EventStream::failed(error.or_key(key));
        }
        EventStream::new(watch(self.handle.clone(), target.clone(), opts))
    }

    fn lock_session(&self, key: &Key, opts: &LockOptions) -> Result<Box<dyn LockSession>> {
        const LOCK: &str = "lock";
        let making = || {
            not_root(key, LOCK)?;
            let limits = session_limits();
            let ttl = limits.checked(opts.ttl.unwrap_or(limits.default), CONSUL, LOCK)?;
            let bytes = opts.value.as_ref().map_or(0, Bytes::len);
            self.limits().check_value(bytes, CONSUL, LOCK)?;
            let (handle, value) = (self.handle.clone(), opts.value.clone());
            let lock = ConsulLock::new(handle, key.clone(), value, ttl);
            Ok(Box::new(lock) as Box<dyn LockSession>)
        };
        making().map_err(|error: Error| error.or_key(key))
    }

    async fn close(&self) -> Result<()> {
        self.handle.close().await
    }
}

impl ConsulStore {
    fn limits(&self) -> Capabilities {
        self.handle.limits()
    }

    /// Puts and deletes together, after making the sessions that the keys need. A session that turns
    /// out to be gone is replaced once: the server refused the whole and did nothing.
    async fn write(
        &self,
        puts: Vec<(Write, Lifetime)>,
        removals: Vec<Write>,
        guards: impl Fn() -> Result<Plan> + Send + Sync,
        call: &Call,
    ) -> Result<TxnOutcome> {
        let (client, max_ops) = (&self.handle.client, self.handle.max_ops());
        let names: Vec<String> = puts.iter().map(|(write, _)| write.name.clone()).collect();
        let marker = removals.first().map(|write| write.name.clone());
        let mut gone = None;
        loop {
            let mut owners = Vec::with_capacity(puts.len());
            let mut writes = Vec::with_capacity(puts.len() + removals.len());
            for (write, lifetime) in &puts {
                let owner = Owner::get(&self.handle, *lifetime, gone.as_ref(), call).await?;
                writes.push(Write { owner: owner.session(), ..write.clone() });
                owners.push(owner);
            }
            writes.extend(removals.iter().cloned());
            owners.iter_mut().for_each(Owner::send);
            let mut outcome = match commit(client, max_ops, &guards, &mut writes, call).await {
                Ok(entries) => outcome(&entries, &names, marker.as_deref(), call),
                Err(Unwritten::SessionGone(what)) => {
                    let ours = owners.iter().find_map(|owner| match owner {
                        // The handle's session is well where it was another that is gone.
                        Owner::Session(session) if what.contains(&**session) => {
                            Some(session.clone())
                        }
                        _ => None,
                    });
                    if gone.is_none() && ours.is_some() {
                        gone = ours;
                        continue;
                    }
                    Err(Error::new(ErrorKind::Other, CONSUL, call.operation)
                        .with_detail("the session of the key was ended by others")
                        .with_transient(true))
                }
                Err(Unwritten::Failed(error)) => Err(error),
            };
            if outcome.is_ok() {
                let left = writes.iter().filter_map(|write| Some(write.bound.as_ref()?.session()));
                left.for_each(|session| self.handle.end_if_of_key(session));
            }
            for owner in &mut owners {
                outcome = owner.settle(outcome, &self.handle, call).await;
            }
            return outcome;
        }
    }

    /// A transaction that writes nothing.
    async fn compare(
        &self,
        plan: &Plan,
        compares: &[libkv_core::Compare],
        call: &Call,
    ) -> Result<TxnOutcome> {
        if !plan.ops().is_empty() {
            self.send(plan, call).await?;
        }
        // Of the index the server speaks only where a key is read.
        let name = compares.first().map(|compare| self.handle.names.name(&compare.key));
        let name = name.unwrap_or_else(|| self.handle.names.below(&Key::root()));
        let answer = self.handle.client.keys(&name, Mode::Consistent, call).await;
        let index = answer.map_err(|failure| failure.into_error(call, false))?.index;
        Ok(TxnOutcome::new(index.unwrap_or_default(), Vec::new()))
    }

    /// Sends a plan that writes no values.
    async fn send(&self, plan: &Plan, call: &Call) -> Result<()> {
        match exchange(&self.handle.client, self.handle.max_ops(), plan, call).await? {
            Ok(_) => Ok(()),
            Err(Refused::Failed(error)) => Err(error),
            Err(other) => Err(Error::new(ErrorKind::Other, CONSUL, call.operation)
                .with_detail(format!("the server refused a deletion: {other:?}"))),
        }
    }

    /// A lock is no key, so it does not exist. Only its flags tell it from data of the same name.
    async fn demand_no_lock(&self, key: &Key, call: &Call) -> Result<()> {
        let name = self.handle.names.name(key);
        if !may_be_lock_node(&name) {
            return Ok(());
        }
        let found = self.handle.client.get(&name, Mode::Consistent, call).await;
        let found = found.map_err(|failure| failure.into_error(call, false))?.body;
        match found {
            Some(entry) if is_lock_node(&entry.name, entry.flags) => {
                Err(Error::new(ErrorKind::KeyNotFound, CONSUL, call.operation))
            }
            _ => Ok(()),
        }
    }
}

/// What a transaction has written, by what the server told of it.
fn outcome(
    entries: &[Entry],
    names: &[String],
    marker: Option<&str>,
    call: &Call,
) -> Result<TxnOutcome> {
    let last = |name: &str| entries.iter().rev().find(|entry| entry.name == name);
    let mut versions = Vec::with_capacity(names.len());
    for name in names {
        versions.push(version(last(name).ok_or_else(|| untold(call))?));
    }
    let index = match versions.first() {
        Some(version) => version.last_index(),
        None => marker.and_then(last).ok_or_else(|| untold(call))?.modify_index,
    };
    Ok(TxnOutcome::new(index, versions))
}

/// The server said that it wrote, and not what.
fn untold(call: &Call) -> Error {
    Error::new(ErrorKind::OutcomeUnknown, CONSUL, call.operation)
        .with_detail("the server did not tell the version of what it wrote")
}

fn not_root(key: &Key, operation: &'static str) -> Result<()> {
    key.not_root(operation).map(drop).map_err(|error| error.in_operation(CONSUL, operation))
}
