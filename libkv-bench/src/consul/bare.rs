use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use libkv_core::Key;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::lock::Loop;
use crate::lab::Done;
use crate::remote::{self, Counting, number};
use crate::sides::{DIR, Name, Side};

/// The server's limit of a transaction.
const MOST_OPS: usize = 64;
/// As ours has it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// reqwest as a program would use it by itself.
#[derive(Clone)]
pub(crate) struct Bare {
    http: reqwest::Client,
    base: String,
    prefix: String,
    /// Whether a put is the call for a single key, whose answer has no index.
    plain_puts: bool,
    /// The queries that several watches share.
    pub(super) trees: Arc<Mutex<HashMap<String, watch::Receiver<Pairs>>>>,
}

/// What a tree holds; none where that is not known yet.
pub(super) type Pairs = Option<Arc<Vec<(String, Bytes)>>>;

/// A key as the server tells of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    pub(super) key: String,
    value: Option<String>,
    pub(super) modify_index: u64,
    pub(super) session: Option<String>,
}

impl Entry {
    pub(super) fn value(&self) -> Done<Bytes> {
        Ok(STANDARD.decode(self.value.as_deref().unwrap_or_default())?.into())
    }
}

/// One operation of a transaction.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Op<'a> {
    pub(super) verb: &'static str,
    pub(super) key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<&'a str>,
}

#[derive(Serialize)]
struct Wrapped<'a, 'b> {
    #[serde(rename = "KV")]
    op: &'a Op<'b>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Results {
    results: Option<Vec<OneResult>>,
}

#[derive(Deserialize)]
struct OneResult {
    #[serde(rename = "KV")]
    entry: Option<Entry>,
}

impl Bare {
    /// The same client, which puts without hearing of the index.
    pub(super) fn with_plain_puts(&self) -> Self {
        Self { plain_puts: true, ..self.clone() }
    }

    pub(super) fn name(&self, name: &str) -> String {
        [&self.prefix, name].concat()
    }

    /// Reads keys, and the index to go on from.
    pub(super) async fn read(&self, name: &str, query: &str) -> Done<(u64, Vec<Entry>)> {
        let url = format!("{}/v1/kv/{name}?consistent{query}", self.base);
        let response = self.http.get(url).send().await?;
        let index = response.headers().get("x-consul-index").ok_or("no index")?;
        let index = index.to_str()?.parse()?;
        if response.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok((index, Vec::new()));
        }
        let body = response.error_for_status()?.bytes().await?;
        Ok((index, serde_json::from_slice(&body)?))
    }

    /// Does something by a path, and returns the answer.
    pub(super) async fn tell(&self, path: &str, body: Vec<u8>) -> Done<Bytes> {
        let answer = self.http.put(format!("{}{path}", self.base)).body(body).send().await?;
        Ok(answer.error_for_status()?.bytes().await?)
    }

    /// Does several operations together, and returns the last index that was told; none where they
    /// were refused.
    pub(super) async fn txn(&self, ops: &[Op<'_>]) -> Done<Option<u64>> {
        let ops: Vec<_> = ops.iter().map(|op| Wrapped { op }).collect();
        let request = self.http.put(format!("{}/v1/txn", self.base));
        let response = request.body(serde_json::to_vec(&ops)?).send().await?;
        if response.status() == reqwest::StatusCode::CONFLICT {
            return Ok(None);
        }
        let body = response.error_for_status()?.bytes().await?;
        let results: Results = serde_json::from_slice(&body)?;
        let mut told = results.results.into_iter().flatten().rev();
        let last = told.find_map(|result| result.entry);
        Ok(Some(last.map_or(0, |entry| entry.modify_index)))
    }
}

impl remote::Bare for Bare {
    type Lock = Loop;

    async fn connect(address: &str, root: &str) -> Done<Self> {
        // Where it is there already, somebody else has done the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .tcp_keepalive(KEEP_ALIVE)
            .build()?;
        let prefix = if root.is_empty() { String::new() } else { format!("{root}/") };
        let base = format!("http://{address}");
        Ok(Self { http, base, prefix, plain_puts: false, trees: Arc::default() })
    }

    fn lock(&self) -> Loop {
        Loop::new(self.clone())
    }
}

impl Side for Bare {
    async fn get(&self, name: &Name) -> Done<Bytes> {
        let (_, entries) = self.read(&self.name(name.text()), "").await?;
        entries.first().ok_or("no such key")?.value()
    }

    async fn put(&self, name: &Name, value: Bytes) -> Done {
        let name = self.name(name.text());
        if self.plain_puts {
            let answer = self.tell(&format!("/v1/kv/{name}"), value.into()).await?;
            return if *answer == *b"true" { Ok(()) } else { Err("not put".into()) };
        }
        self.txn(&[set(&name, &value)]).await?.ok_or("not put")?;
        Ok(())
    }

    async fn fill(&self, pairs: &[(Name, Bytes)]) -> Done {
        for part in pairs.chunks(MOST_OPS) {
            let names: Vec<_> = part.iter().map(|(name, _)| self.name(name.text())).collect();
            let sets = names.iter().zip(part).map(|(name, (_, value))| set(name, value));
            self.txn(&sets.collect::<Vec<_>>()).await?.ok_or("not put")?;
        }
        Ok(())
    }

    async fn list(&self) -> Done<usize> {
        let (_, entries) = self.read(&self.name(&format!("{DIR}/")), "&recurse").await?;
        let pair = |entry: Entry| Ok((entry.value()?, entry.key));
        let pairs = entries.into_iter().map(pair).collect::<Done<Vec<_>>>()?;
        Ok(std::hint::black_box(pairs).len())
    }

    async fn walk(&self) -> Done<usize> {
        self.list().await
    }
}

fn set<'a>(key: &'a str, value: &[u8]) -> Op<'a> {
    Op { verb: "set", key, value: Some(STANDARD.encode(value)), ..Op::default() }
}

impl Counting for Bare {
    type Version = u64;

    async fn read(&self, key: &Key) -> Done<(u64, u64)> {
        let (_, entries) = self.read(&self.name(key.as_str()), "").await?;
        let entry = entries.first().ok_or("no counter")?;
        Ok((number(&entry.value()?)?, entry.modify_index))
    }

    async fn write(&self, key: &Key, number: u64, after: u64) -> Done<u64> {
        let name = self.name(key.as_str());
        let set = set(&name, &number.to_le_bytes());
        let cas = Op { verb: "cas", index: Some(after), ..set };
        Ok(self.txn(&[cas]).await?.ok_or("somebody else counts")?)
    }
}
