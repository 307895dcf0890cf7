use std::sync::Arc;

use bytes::Bytes;
use etcd_client::{Client, GetOptions, Txn, TxnOp};
use libkv_core::StoreUrl;
use libkv_etcd::{EtcdConfig, EtcdStore};

use crate::lab::Done;
use crate::sides::{DIR, Name, Ours, Side};

/// The server's limit of a transaction.
const MOST_OPS: usize = 128;

/// A store of ours, below a root.
pub(crate) async fn ours(address: &str, root: &str) -> Done<Ours> {
    let url: StoreUrl = format!("etcd://{address}/{root}").parse()?;
    Ok(Ours(Arc::new(EtcdStore::open(EtcdConfig::try_from(url)?).await?)))
}

/// etcd's client as a program would use it by itself.
#[derive(Clone)]
pub(crate) struct Bare {
    pub(crate) client: Client,
    prefix: String,
}

impl Bare {
    /// A client whose names are those of our store with this root.
    pub(crate) async fn connect(address: &str, root: &str) -> Done<Self> {
        let prefix = if root.is_empty() { String::new() } else { format!("{root}/") };
        Ok(Self { client: Client::connect([address], None).await?, prefix })
    }

    fn name(&self, name: &Name) -> String {
        [&self.prefix, name.text()].concat()
    }
}

impl Side for Bare {
    async fn get(&self, name: &Name) -> Done<Bytes> {
        let answer = self.client.kv_client().get(self.name(name), None).await?;
        Ok(answer.0.kvs.into_iter().next().ok_or("no such key")?.value.into())
    }

    async fn put(&self, name: &Name, value: Bytes) -> Done {
        self.client.kv_client().put(self.name(name), value, None).await?;
        Ok(())
    }

    async fn fill(&self, pairs: &[(Name, Bytes)]) -> Done {
        for part in pairs.chunks(MOST_OPS) {
            let puts =
                part.iter().map(|(name, value)| TxnOp::put(self.name(name), value.clone(), None));
            self.client.kv_client().txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await?;
        }
        Ok(())
    }

    async fn list(&self) -> Done<usize> {
        let mut client = self.client.kv_client().max_decoding_message_size(usize::MAX);
        let all = GetOptions::new().with_prefix();
        let answer = client.get(format!("{}{DIR}/", self.prefix), Some(all)).await?;
        Ok(std::hint::black_box(answer).kvs().len())
    }

    async fn walk(&self) -> Done<usize> {
        self.list().await
    }
}
