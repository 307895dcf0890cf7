//! The program on real etcd servers, beside `etcdctl`.

mod codes;
mod interop;
mod locks;
mod variables;
mod verbs;
mod watches;

use crate::harness::etcd::{self, Shared};
use crate::home::{Home, PATIENCE};

/// A part of the shared server of its own, and the program at home there.
pub(crate) struct Place {
    pub(crate) home: Home,
    server: &'static Shared,
    root: String,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let server = etcd::shared().await;
        let root: String = std::iter::repeat_with(fastrand::lowercase).take(12).collect();
        let home = Home::with_store(format!("etcd://{}/{root}", server.endpoint()));
        Self { home, server, root }
    }

    /// What etcd calls a key of this place.
    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}/{key}", self.root)
    }

    /// What `etcdctl` writes, which must do well.
    pub(crate) async fn etcdctl(&self, args: &[&str]) -> Vec<u8> {
        self.etcdctl_with(args, b"").await
    }

    pub(crate) async fn etcdctl_with(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let command = [&["etcdctl"], args].concat();
        let output = self.server.server().exec_with(&command, input.to_vec()).await;
        output.text();
        output.stdout
    }

    /// The nodes of those who hold a lock or wait for it, the holder first.
    pub(crate) async fn nodes(&self, key: &str) -> Vec<String> {
        let prefix = format!("{}/", self.name(key));
        let args = ["get", "--prefix", "--keys-only", "--sort-by=CREATE", &prefix];
        let text = String::from_utf8(self.etcdctl(&args).await).unwrap();
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Waits until so many hold a lock or wait for it.
    pub(crate) async fn wait_for_nodes(&self, key: &str, count: usize) {
        let start = std::time::Instant::now();
        while self.nodes(key).await.len() != count {
            assert!(start.elapsed() < PATIENCE, "there are never {count} at {key}");
        }
    }
}
