use std::future::Future;

use bytes::Bytes;
use etcd_client::{
    Client, Compare, CompareOp, GetOptions, LockOptions, Txn, TxnOp, WatchOptions, WatchStream,
};
use libkv_core::{Key, WatchTarget};

use crate::lab::Done;
use crate::remote::{self, Counting, Locked, number};
use crate::sides::{DIR, Name, Side};
use crate::watched::{Watched, Watching, first_byte};

/// The server's limit of a transaction.
const MOST_OPS: usize = 128;
/// What our own locks have by themselves.
const TTL_SECONDS: i64 = 15;

/// etcd's client as a program would use it by itself.
#[derive(Clone)]
pub(crate) struct Bare {
    client: Client,
    prefix: String,
}

impl Bare {
    fn name(&self, name: &str) -> String {
        [&self.prefix, name].concat()
    }
}

impl remote::Bare for Bare {
    type Lock = ServersLock;

    async fn connect(address: &str, root: &str) -> Done<Self> {
        let prefix = if root.is_empty() { String::new() } else { format!("{root}/") };
        Ok(Self { client: Client::connect([address], None).await?, prefix })
    }

    fn lock(&self) -> ServersLock {
        ServersLock(self.client.clone())
    }
}

impl Side for Bare {
    async fn get(&self, name: &Name) -> Done<Bytes> {
        let answer = self.client.kv_client().get(self.name(name.text()), None).await?;
        Ok(answer.0.kvs.into_iter().next().ok_or("no such key")?.value.into())
    }

    async fn put(&self, name: &Name, value: Bytes) -> Done {
        self.client.kv_client().put(self.name(name.text()), value, None).await?;
        Ok(())
    }

    async fn fill(&self, pairs: &[(Name, Bytes)]) -> Done {
        for part in pairs.chunks(MOST_OPS) {
            let put = |(name, value): &(Name, Bytes)| (self.name(name.text()), value.clone());
            let puts = part.iter().map(put).map(|(name, value)| TxnOp::put(name, value, None));
            self.client.kv_client().txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await?;
        }
        Ok(())
    }

    async fn list(&self) -> Done<usize> {
        let mut client = self.client.kv_client().max_decoding_message_size(usize::MAX);
        let all = GetOptions::new().with_prefix();
        let answer = client.get(self.name(&format!("{DIR}/")), Some(all)).await?;
        Ok(std::hint::black_box(answer).kvs().len())
    }

    async fn walk(&self) -> Done<usize> {
        self.list().await
    }
}

impl Counting for Bare {
    type Version = i64;

    async fn read(&self, key: &Key) -> Done<(u64, i64)> {
        let answer = self.client.kv_client().get(self.name(key.as_str()), None).await?;
        let pair = answer.kvs().first().ok_or("no counter")?;
        Ok((number(pair.value())?, pair.mod_revision()))
    }

    async fn write(&self, key: &Key, number: u64, after: i64) -> Done<i64> {
        let name = self.name(key.as_str());
        let same = Compare::mod_revision(name.as_str(), CompareOp::Equal, after);
        let put = TxnOp::put(name, number.to_le_bytes(), None);
        let count = Txn::new().when([same]).and_then([put]);
        let done = self.client.kv_client().txn(count).await?;
        if !done.succeeded() {
            return Err("somebody else counts".into());
        }
        Ok(done.header().ok_or("no header")?.revision())
    }
}

impl Watched for Bare {
    type Watch = BareWatch;

    async fn watch(&self, target: &WatchTarget) -> Done<BareWatch> {
        let name = self.name(target.key().as_str());
        let (name, options) = match target {
            WatchTarget::Key(_) => (name, WatchOptions::new()),
            WatchTarget::Tree(_) => (format!("{name}/"), WatchOptions::new().with_prefix()),
        };
        let mut stream = self.client.watch_client().watch(name, Some(options)).await?;
        let created = stream.message().await?.is_some_and(|message| message.created());
        let left = Vec::new();
        if created { Ok(BareWatch { stream, left }) } else { Err("no watch".into()) }
    }
}

/// A stream of the client, with what its last message told and was not taken yet, newest first.
pub(crate) struct BareWatch {
    stream: WatchStream,
    left: Vec<u8>,
}

impl Watching for BareWatch {
    async fn next(&mut self) -> Done<u8> {
        loop {
            if let Some(byte) = self.left.pop() {
                return Ok(byte);
            }
            let message = self.stream.message().await?.ok_or("the watch ended")?;
            let told = std::hint::black_box(&message).events().iter().rev();
            let values = told.filter_map(|event| event.kv());
            self.left = values.map(|pair| first_byte(pair.value())).collect::<Done<_>>()?;
        }
    }
}

/// The server's own lock call, with a lease each.
#[derive(Clone)]
pub(crate) struct ServersLock(Client);

impl Locked for ServersLock {
    async fn round(&self, inside: impl Future<Output = Done> + Send) -> Done {
        let (mut leases, mut locks) = (self.0.lease_client(), self.0.lock_client());
        let lease = leases.grant(TTL_SECONDS, None).await?.id();
        let lock = locks.lock("locked-bare", Some(LockOptions::new().with_lease(lease))).await?;
        inside.await?;
        locks.unlock(lock.key()).await?;
        leases.revoke(lease).await?;
        Ok(())
    }
}
