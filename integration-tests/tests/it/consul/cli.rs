//! Consul's own program, run in the server's container, and what it does not tell by the server's
//! HTTP interface.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::harness::consul::{Api, Server};
use crate::harness::exec::Running;
use crate::servers::peers::Peer;

/// Nothing that is waited for here takes this long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// What marks a key as a lock's, for every client of Consul: the Go client's `LockFlagValue`.
pub(super) const LOCK_FLAG: u64 = 0x2ddc_cbc0_58a5_0c18;

/// What a holder writes that has the lock; then it stays. The program waits for its end.
const HOLDER: &str = "echo taken; exec sleep infinity";

/// A key as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) value: Vec<u8>,
    pub(super) flags: u64,
    pub(super) created: u64,
    pub(super) changed: u64,
    /// How often the key was locked.
    pub(super) locked: u64,
    pub(super) session: Option<String>,
}

/// A session as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) node: String,
    /// What it depends on, besides its time.
    pub(super) checks: Vec<String>,
    pub(super) lock_delay: Duration,
    /// `release` or `delete`: what becomes of its keys.
    pub(super) behavior: String,
    /// In Consul's words, or empty for one without end.
    pub(super) ttl: String,
}

/// `consul`, as one client of a server.
#[derive(Debug, Clone)]
pub(super) struct Cli<'a> {
    pub(super) server: &'a Server,
    api: Api,
    /// What is said in each command, where that is not what the container knows.
    token: Option<String>,
}

impl<'a> Cli<'a> {
    pub(super) fn of(server: &'a Server) -> Self {
        Self { server, api: server.api().clone(), token: None }
    }

    /// Says this token instead of the one with every right.
    pub(super) fn with_token(self, token: &str) -> Self {
        let option = format!("-token={token}");
        Self { server: self.server, api: self.api.with_token(token), token: Some(option) }
    }

    /// A command of one or two words, with the token behind them.
    fn command<'c>(&'c self, words: &[&'c str], args: &[&'c str]) -> Vec<&'c str> {
        let token = self.token.as_deref();
        ["consul"].iter().chain(words).copied().chain(token).chain(args.iter().copied()).collect()
    }

    /// Runs a command of `consul kv` that must go well, and returns the bytes that it wrote.
    async fn kv(&self, command: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
        let command = self.command(&["kv", command], args);
        let output = self.server.exec_with(&command, input.to_vec()).await;
        output.text();
        output.stdout
    }

    /// Puts a key. The program takes the value from its input.
    pub(super) async fn put(&self, name: &str, value: &[u8]) {
        self.put_with(&[], name, value).await;
    }

    /// Puts a key with options, such as `-flags=7`.
    pub(super) async fn put_with(&self, options: &[&str], name: &str, value: &[u8]) {
        self.kv("put", &[options, &["--", name, "-"]].concat(), value).await;
    }

    /// Puts a key whose name the program cannot say. It is in the body of a transaction, where no
    /// name is changed on its way.
    pub(super) async fn set(&self, name: &str, value: &[u8]) {
        let value = BASE64_STANDARD.encode(value);
        let txn = json!([{ "KV": { "Verb": "set", "Key": name, "Value": value } }]);
        self.api.put("/v1/txn", txn.to_string()).await.json();
    }

    /// Deletes such a key, if it is there.
    pub(super) async fn unset(&self, name: &str) {
        let txn = json!([{ "KV": { "Verb": "delete", "Key": name } }]);
        self.api.put("/v1/txn", txn.to_string()).await.json();
    }

    /// The value that the program shows, or nothing where it says that there is no such key.
    pub(super) async fn get(&self, name: &str) -> Option<Vec<u8>> {
        let output = self.server.exec(&self.command(&["kv", "get"], &["--", name])).await;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.code == 1 && said.contains("No key exists at") {
            return None;
        }
        output.text();
        let mut value = output.stdout;
        assert_eq!(value.pop(), Some(b'\n'), "the program ends what it shows with a line");
        Some(value)
    }

    pub(super) async fn delete(&self, name: &str) {
        self.kv("delete", &["--", name], b"").await;
    }

    /// Deletes all keys whose names begin so.
    pub(super) async fn delete_below(&self, prefix: &str) {
        self.kv("delete", &["-recurse", "--", prefix], b"").await;
    }

    /// All keys whose names begin so, in the program's form.
    pub(super) async fn export(&self, prefix: &str) -> Vec<u8> {
        self.kv("export", &["--", prefix], b"").await
    }

    /// Puts what was exported.
    pub(super) async fn import(&self, exported: &[u8]) {
        self.kv("import", &["--", "-"], exported).await;
    }

    /// Starts to take the lock whose key is below `name`, and holds it once it is taken.
    pub(super) async fn lock(&self, name: &str) -> Running {
        self.server.spawn(&self.command(&["lock"], &["--", name, HOLDER])).await
    }

    /// A key with all that the server knows of it.
    pub(super) async fn stored(&self, name: &str) -> Option<Stored> {
        let mut stored = self.below(name).await;
        stored.retain(|stored| stored.name == name);
        stored.pop()
    }

    /// All keys whose names begin so, in the order of their names. Some text must be there.
    pub(super) async fn below(&self, prefix: &str) -> Vec<Stored> {
        let txn = json!([{ "KV": { "Verb": "get-tree", "Key": prefix } }]);
        let answer = self.api.put("/v1/txn", txn.to_string()).await.json();
        let results = answer["Results"].as_array().cloned().unwrap_or_default();
        results.iter().map(|result| stored(&result["KV"])).collect()
    }

    /// Waits until a key is as it is to be, and is not there where `None` is wanted.
    pub(super) async fn wait_for(
        &self,
        name: &str,
        wanted: impl Fn(Option<&Stored>) -> bool,
    ) -> Option<Stored> {
        let start = Instant::now();
        loop {
            let stored = self.stored(name).await;
            if wanted(stored.as_ref()) {
                return stored;
            }
            assert!(start.elapsed() < PATIENCE, "{name} never becomes so: {stored:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// All sessions of the server.
    pub(super) async fn sessions(&self) -> Vec<Session> {
        sessions(&self.api.get("/v1/session/list").await.json())
    }

    /// A session, if it is there.
    pub(super) async fn session(&self, id: &str) -> Option<Session> {
        sessions(&self.api.get(&format!("/v1/session/info/{id}")).await.json()).pop()
    }

    /// Makes a session of a client that is not libkv, which does not end by itself.
    pub(super) async fn new_session(&self, lock_delay: &str, behavior: &str) -> String {
        let session = json!({ "LockDelay": lock_delay, "Behavior": behavior, "NodeChecks": [] });
        text(&self.api.put("/v1/session/create", session.to_string()).await.json(), "ID")
    }

    /// Binds a key to a session, which must be possible.
    pub(super) async fn acquire(&self, name: &str, value: &[u8], session: &str) {
        let path = format!("/v1/kv/{name}?acquire={session}");
        assert_eq!(self.api.put(&path, value.to_vec()).await.json(), true, "{name} is bound");
    }

    /// Takes a lock's key from a session, as `consul lock` does when it gives the lock back.
    pub(super) async fn release(&self, name: &str, session: &str) {
        let path = format!("/v1/kv/{name}?release={session}&flags={LOCK_FLAG}");
        assert_eq!(self.api.put(&path, "").await.json(), true, "{name} is released");
    }

    /// Ends a session, as an operator does.
    pub(super) async fn destroy(&self, id: &str) {
        self.api.put(&format!("/v1/session/destroy/{id}"), "").await.json();
    }
}

impl Peer for Cli<'_> {
    async fn write(&self, name: &str, value: &[u8]) {
        self.put(name, value).await;
    }

    async fn remove(&self, name: &str) {
        self.delete(name).await;
    }

    async fn remove_below(&self, prefix: &str) {
        self.delete_below(prefix).await;
    }

    async fn content(&self, prefix: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let exported: Value = serde_json::from_slice(&self.export(prefix).await).expect("JSON");
        let exported = exported.as_array().into_iter().flatten();
        exported.map(|kv| (text(kv, "key").into_bytes(), bytes(&kv["value"]))).collect()
    }
}

/// Waits until `consul lock` has the lock.
pub(super) async fn taken(holder: &mut Running) {
    let line = tokio::time::timeout(PATIENCE, holder.line()).await;
    let line = line.expect("consul gets the lock").expect("consul goes on");
    assert_eq!(line, "taken");
}

fn stored(kv: &Value) -> Stored {
    let number = |field: &str| kv[field].as_u64().expect("a number");
    Stored {
        name: text(kv, "Key"),
        value: bytes(&kv["Value"]),
        flags: number("Flags"),
        created: number("CreateIndex"),
        changed: number("ModifyIndex"),
        locked: number("LockIndex"),
        session: kv["Session"].as_str().map(str::to_owned),
    }
}

fn sessions(answer: &Value) -> Vec<Session> {
    let session = |session: &Value| Session {
        id: text(session, "ID"),
        name: text(session, "Name"),
        node: text(session, "Node"),
        checks: texts(&session["NodeChecks"]),
        lock_delay: Duration::from_nanos(session["LockDelay"].as_u64().expect("a number")),
        behavior: text(session, "Behavior"),
        ttl: text(session, "TTL"),
    };
    answer.as_array().map(|all| all.iter().map(session).collect()).unwrap_or_default()
}

/// Bytes as JSON has them; an empty value may be null.
fn bytes(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).expect("base64")
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}
