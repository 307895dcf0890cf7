use std::sync::{Arc, PoisonError};

use libkv_core::WatchTarget;
use tokio::sync::watch;

use super::bare::{Bare, Pairs};
use crate::lab::Done;
use crate::watched::{Watched, Watching, first_byte};

/// How long a query waits at the server.
const WAIT: &str = "55s";

/// A query of its own for a key, and one for a tree that all who watch the tree share.
pub(crate) enum BareWatch {
    Key { bare: Bare, name: String, index: u64, modified: u64 },
    Tree(watch::Receiver<Pairs>),
}

impl Watched for Bare {
    type Watch = BareWatch;

    async fn watch(&self, target: &WatchTarget) -> Done<BareWatch> {
        let name = self.name(target.key().as_str());
        match target {
            WatchTarget::Key(_) => {
                let (index, entries) = self.read(&name, "").await?;
                let modified = entries.first().map_or(0, |entry| entry.modify_index);
                Ok(BareWatch::Key { bare: self.clone(), name, index, modified })
            }
            WatchTarget::Tree(_) => {
                let mut tree = self.tree(format!("{name}/"));
                tree.wait_for(Option::is_some).await?;
                Ok(BareWatch::Tree(tree))
            }
        }
    }
}

impl Watching for BareWatch {
    async fn next(&mut self) -> Done<u8> {
        match self {
            Self::Key { bare, name, index, modified } => loop {
                let entries;
                let query = format!("&index={index}&wait={WAIT}");
                (*index, entries) = bare.read(name, &query).await?;
                let entry = entries.first().ok_or("the key is gone")?;
                if std::mem::replace(modified, entry.modify_index) != entry.modify_index {
                    return first_byte(&entry.value()?);
                }
            },
            Self::Tree(tree) => {
                tree.changed().await?;
                let pairs = tree.borrow();
                first_byte(&pairs.iter().flat_map(|pairs| pairs.iter()).next().ok_or("empty")?.1)
            }
        }
    }
}

impl Bare {
    /// What a tree holds, now and after each change. The first who asks begins the query.
    fn tree(&self, name: String) -> watch::Receiver<Pairs> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || {
            let (tell, told) = watch::channel(None);
            // It ends with the process.
            tokio::spawn(self.clone().follow(name.clone(), tell));
            told
        };
        trees.entry(name.clone()).or_insert_with(begin).clone()
    }

    async fn follow(self, name: String, tell: watch::Sender<Pairs>) -> Done {
        let mut index = 0;
        loop {
            let entries;
            let query = format!("&recurse&index={index}&wait={WAIT}");
            (index, entries) = self.read(&name, &query).await?;
            let pairs = entries.into_iter().map(|entry| Ok((entry.key.clone(), entry.value()?)));
            tell.send_replace(Some(Arc::new(pairs.collect::<Done<_>>()?)));
        }
    }
}
