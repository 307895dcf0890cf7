//! etcd's own command-line client, run in the server's container.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::Value;

use crate::harness::etcd::Server;
use crate::harness::exec::Running;
use crate::servers::peers::Peer;

/// Nothing that is waited for here takes this long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// A key as `etcdctl get` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) created: u64,
    pub(super) changed: u64,
    pub(super) lease: i64,
}

/// `etcdctl`, as one user of a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Etcdctl<'a> {
    pub(super) server: &'a Server,
    /// The user and the password, where the server asks for them.
    user: Option<&'a str>,
}

impl<'a> Etcdctl<'a> {
    pub(super) fn of(server: &'a Server) -> Self {
        Self { server, user: None }
    }

    /// Logs in for each command; `user` is the name and the password with a colon between them.
    pub(super) fn as_user(self, user: &'a str) -> Self {
        Self { user: Some(user), ..self }
    }

    fn command<'c>(&self, args: &[&'c str]) -> Vec<&'c str>
    where
        'a: 'c,
    {
        let user = self.user.iter().flat_map(|user| ["--user", *user]);
        ["etcdctl"].into_iter().chain(user).chain(args.iter().copied()).collect()
    }

    /// Runs a command that must go well, and returns what it wrote.
    pub(super) async fn run(&self, args: &[&str]) -> String {
        self.server.exec(&self.command(args)).await.text()
    }

    async fn json(&self, args: &[&str], input: impl Into<Bytes>) -> Value {
        let args: Vec<&str> = ["-w", "json"].iter().chain(args).copied().collect();
        let text = self.server.exec_with(&self.command(&args), input).await.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }

    /// Puts a key, and returns the revision of the put.
    pub(super) async fn put(&self, name: &str, value: &[u8]) -> u64 {
        // The client takes a value from its input, unless that is empty.
        let args = match value {
            [] => vec!["put", "--", name, ""],
            _ => vec!["put", "--", name],
        };
        revision(&self.json(&args, value.to_vec()).await)
    }

    /// Deletes a key, and returns the revision of the deletion.
    pub(super) async fn delete(&self, name: &str) -> u64 {
        let answer = self.json(&["del", "--", name], "").await;
        assert_eq!(answer["deleted"], 1, "{name} was there");
        revision(&answer)
    }

    pub(super) async fn get(&self, name: &str) -> Option<Stored> {
        found(&self.json(&["get", "--", name], "").await).pop()
    }

    /// All keys whose names begin so, in the order of their names.
    pub(super) async fn below(&self, prefix: &str) -> Vec<Stored> {
        found(&self.json(&["get", "--prefix", "--", prefix], "").await)
    }

    /// Waits until so many keys have names that begin so.
    pub(super) async fn wait_for(&self, count: usize, prefix: &str) -> Vec<Stored> {
        let start = Instant::now();
        loop {
            let stored = self.below(prefix).await;
            if stored.len() == count {
                return stored;
            }
            assert!(start.elapsed() < PATIENCE, "{count} keys below {prefix}: {stored:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks for a lease, and returns its number in hex.
    pub(super) async fn grant(&self, seconds: u32) -> String {
        let answer = self.json(&["lease", "grant", &seconds.to_string()], "").await;
        format!("{:x}", answer["ID"].as_i64().expect("a lease has a number"))
    }

    /// What the client tells of a lease: the time granted in seconds, and the keys bound to it.
    pub(super) async fn lease(&self, lease: &str) -> (i64, Vec<Vec<u8>>) {
        let answer = self.json(&["lease", "timetolive", lease, "--keys"], "").await;
        let keys = answer["keys"].as_array().cloned().unwrap_or_default();
        let granted = answer["granted-ttl"].as_i64().expect("a lease has a time to live");
        (granted, keys.iter().map(bytes).collect())
    }

    /// Whether the client lists a lease.
    pub(super) async fn has_lease(&self, lease: &str) -> bool {
        self.run(&["lease", "list"]).await.lines().any(|line| line == lease)
    }

    /// Starts to take a lock, and holds it once it is taken.
    pub(super) async fn lock(&self, name: &str, seconds: u32) -> Running {
        let ttl = format!("--ttl={seconds}");
        self.server.spawn(&self.command(&["lock", &ttl, "--", name])).await
    }
}

impl Peer for Etcdctl<'_> {
    async fn write(&self, name: &str, value: &[u8]) {
        self.put(name, value).await;
    }

    async fn remove(&self, name: &str) {
        self.delete(name).await;
    }

    async fn remove_below(&self, prefix: &str) {
        self.run(&["del", "--prefix", "--", prefix]).await;
    }

    async fn content(&self, prefix: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let below = self.below(prefix).await;
        below.into_iter().map(|stored| (stored.name, stored.value)).collect()
    }
}

/// What a lock writes when it is taken: the name of its node.
pub(super) async fn taken(holder: &mut Running) -> String {
    let line = tokio::time::timeout(PATIENCE, holder.line()).await;
    line.expect("etcdctl gets the lock").expect("etcdctl goes on")
}

fn found(answer: &Value) -> Vec<Stored> {
    let stored = |kv: &Value| Stored {
        name: bytes(&kv["key"]),
        value: bytes(&kv["value"]),
        created: kv["create_revision"].as_u64().expect("a key has a revision"),
        changed: kv["mod_revision"].as_u64().expect("a key has a revision"),
        lease: kv["lease"].as_i64().unwrap_or_default(),
    };
    answer["kvs"].as_array().map(|kvs| kvs.iter().map(stored).collect()).unwrap_or_default()
}

fn revision(answer: &Value) -> u64 {
    answer["header"]["revision"].as_u64().expect("an answer has a revision")
}

/// Bytes as JSON has them; what is empty is left out.
fn bytes(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).expect("base64")
}
