//! The program on real servers, beside each server's own client. A case here is run on every backend
//! that is built in.

mod codes;
pub(crate) mod interop;
mod locks;
mod verbs;
mod watches;

#[cfg(feature = "consul")]
use crate::harness::consul;
#[cfg(feature = "etcd")]
use crate::harness::etcd;
use crate::harness::exec::{Output, Running};
use crate::home::{Home, Run};

/// The server that everybody shares, and so its client.
#[derive(Clone, Copy)]
pub(crate) enum Server {
    #[cfg(feature = "consul")]
    Consul(&'static consul::Shared),
    #[cfg(feature = "etcd")]
    Etcd(&'static etcd::Shared),
}

impl Server {
    pub(crate) async fn all() -> Vec<Self> {
        vec![
            #[cfg(feature = "consul")]
            Self::Consul(consul::shared().await),
            #[cfg(feature = "etcd")]
            Self::Etcd(etcd::shared().await),
        ]
    }

    /// Its URL's scheme, and what its versions begin with.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            #[cfg(feature = "consul")]
            Self::Consul(_) => "consul",
            #[cfg(feature = "etcd")]
            Self::Etcd(_) => "etcd",
        }
    }

    pub(crate) fn endpoint(self) -> String {
        match self {
            #[cfg(feature = "consul")]
            Self::Consul(server) => server.endpoint(),
            #[cfg(feature = "etcd")]
            Self::Etcd(server) => server.endpoint(),
        }
    }

    pub(crate) async fn exec(self, command: &[&str], input: &[u8]) -> Output {
        match self {
            #[cfg(feature = "consul")]
            Self::Consul(server) => server.server().exec_with(command, input.to_vec()).await,
            #[cfg(feature = "etcd")]
            Self::Etcd(server) => server.server().exec_with(command, input.to_vec()).await,
        }
    }

    pub(crate) async fn spawn(self, command: &[&str]) -> Running {
        match self {
            #[cfg(feature = "consul")]
            Self::Consul(server) => server.server().spawn(command).await,
            #[cfg(feature = "etcd")]
            Self::Etcd(server) => server.server().spawn(command).await,
        }
    }
}

/// A part of a shared server of its own, and the program at home there.
pub(crate) struct Place {
    pub(crate) home: Home,
    pub(crate) server: Server,
    pub(crate) root: String,
}

impl Place {
    pub(crate) fn on(server: Server) -> Self {
        let root: String = std::iter::repeat_with(fastrand::lowercase).take(12).collect();
        let home = Home::with_store(format!("{}://{}/{root}", server.scheme(), server.endpoint()));
        Self { home, server, root }
    }

    /// One place on each server.
    pub(crate) async fn all() -> Vec<Self> {
        Server::all().await.into_iter().map(Self::on).collect()
    }

    pub(crate) fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// What the server calls a key of this place.
    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}/{key}", self.root)
    }

    /// What a client of the server writes, which must do well.
    pub(crate) async fn client(&self, command: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.server.exec(command, input).await;
        output.text();
        output.stdout
    }

    /// Puts a key by the server's own client.
    pub(crate) async fn put(&self, key: &str, value: &[u8]) {
        let name = self.name(key);
        let command: &[&str] = match self.server {
            #[cfg(feature = "consul")]
            Server::Consul(_) => &["consul", "kv", "put", "--", &name, "-"],
            // Of an input that is empty etcdctl makes no value.
            #[cfg(feature = "etcd")]
            Server::Etcd(_) if value.is_empty() => &["etcdctl", "put", "--", &name, ""],
            #[cfg(feature = "etcd")]
            Server::Etcd(_) => &["etcdctl", "put", "--", &name],
        };
        self.client(command, value).await;
    }

    /// The value that the server's own client shows.
    pub(crate) async fn get(&self, key: &str) -> Vec<u8> {
        let name = self.name(key);
        let command: &[&str] = match self.server {
            #[cfg(feature = "consul")]
            Server::Consul(_) => &["consul", "kv", "get", "--", &name],
            #[cfg(feature = "etcd")]
            Server::Etcd(_) => &["etcdctl", "get", "--print-value-only", "--", &name],
        };
        let mut value = self.client(command, b"").await;
        assert_eq!(value.pop(), Some(b'\n'), "a line's end is the client's own");
        value
    }

    pub(crate) async fn delete(&self, key: &str) {
        let name = self.name(key);
        let command: &[&str] = match self.server {
            #[cfg(feature = "consul")]
            Server::Consul(_) => &["consul", "kv", "delete", "--", &name],
            #[cfg(feature = "etcd")]
            Server::Etcd(_) => &["etcdctl", "del", "--", &name],
        };
        self.client(command, b"").await;
    }

    /// The keys that the server's own client lists, without what the server puts before them.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let prefix = self.name("");
        let names: Vec<String> = match self.server {
            #[cfg(feature = "consul")]
            Server::Consul(_) => {
                let exported = self.client(&["consul", "kv", "export", &prefix], b"").await;
                let entries: Vec<serde_json::Value> = serde_json::from_slice(&exported).unwrap();
                entries.iter().map(|entry| entry["key"].as_str().unwrap().to_owned()).collect()
            }
            #[cfg(feature = "etcd")]
            Server::Etcd(_) => {
                let command = ["etcdctl", "get", "--prefix", "--keys-only", &prefix];
                let listed = String::from_utf8(self.client(&command, b"").await).unwrap();
                listed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
            }
        };
        names.iter().map(|name| name.strip_prefix(&prefix).unwrap().to_owned()).collect()
    }

    /// What the server keeps below a key for those who lock it, the holder first.
    pub(crate) async fn nodes(&self, key: &str) -> Vec<String> {
        let below = format!("{key}/");
        self.keys().await.into_iter().filter(|key| key.starts_with(&below)).collect()
    }

    /// Takes a lock by the server's own client, which writes a line when it has it, and stays.
    pub(crate) async fn lock(&self, key: &str) -> Running {
        let name = self.name(key);
        let command: &[&str] = match self.server {
            #[cfg(feature = "consul")]
            Server::Consul(_) => {
                &["consul", "lock", "--", &name, "echo taken; exec sleep infinity"]
            }
            #[cfg(feature = "etcd")]
            Server::Etcd(_) => &["etcdctl", "lock", &name],
        };
        self.server.spawn(command).await
    }
}

/// Asserts that a run failed so, with one line that names the endpoint.
pub(crate) fn is_one_line(run: &Run, code: i32, endpoint: &str) {
    assert_eq!((run.code, run.err.lines().count()), (code, 1), "{}", run.err);
    assert!(run.err.contains(endpoint), "{}", run.err);
    assert!(run.out.is_empty());
}
