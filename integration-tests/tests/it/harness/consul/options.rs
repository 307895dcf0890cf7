use serde_json::{Value, json};

use crate::harness::certificates::Tls;
use crate::harness::container::Recipe;

/// The port inside that clients use.
pub(super) const PORT: u16 = 8500;
/// Where clients must speak TLS, the harness asks on another port, without it.
const ASIDE: u16 = 8501;
const DATA: &str = "/libkv/data";
const CONFIG: &str = "/libkv/consul.json";
const CA: &str = "/libkv/tls/ca.pem";
const CERTIFICATE: &str = "/libkv/tls/server.pem";
const KEY: &str = "/libkv/tls/server.key";

/// How a server is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    hcl: Vec<String>,
    tls: Option<Tls>,
    token: Option<String>,
    in_memory: bool,
    member: Option<Member>,
}

/// A place in a cluster.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) address: String,
    /// The addresses of all members.
    pub(super) cluster: Vec<String>,
}

impl Options {
    /// Adds to Consul's configuration, in its own language, such as
    /// `limits { http_max_conns_per_client = 20 }`.
    pub(crate) fn with_hcl(mut self, hcl: &str) -> Self {
        self.hcl.push(hcl.to_owned());
        self
    }

    /// Lets sessions be shorter than the ten seconds that Consul asks for, for what needs nothing
    /// but that one ends.
    pub(crate) fn with_session_ttl_min(self, seconds: u32) -> Self {
        self.with_hcl(&format!("session_ttl_min = \"{seconds}s\""))
    }

    /// Refuses everything to who has no token. The server's own has every right.
    pub(crate) fn with_acls(mut self) -> Self {
        let tail = fastrand::u64(..) >> 16;
        self.token = Some(format!("{:08x}-0000-4000-8000-{tail:012x}", fastrand::u32(..)));
        self
    }

    /// Lets the server speak TLS, and nothing else, to its clients.
    pub(crate) fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Keeps the data in memory, for a server that is never started again.
    pub(super) fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// Makes the server a member of a cluster.
    pub(super) fn with_member(mut self, member: Member) -> Self {
        self.member = Some(member);
        self
    }

    /// The token with every right, where one is needed.
    pub(super) fn token(&self) -> Option<String> {
        self.token.clone()
    }

    pub(super) fn into_recipe(self, image: String) -> Recipe {
        let config = self.config().to_string();
        let mut args: Vec<_> = ["agent", "-config-file", CONFIG].map(str::to_owned).into();
        args.extend(self.hcl.into_iter().flat_map(|hcl| ["-hcl".to_owned(), hcl]));
        let mut files = vec![(CONFIG.to_owned(), config.into_bytes())];
        let mut environment = Vec::new();
        let mut of_consul = |name: &str, value: &str| {
            environment.push((format!("CONSUL_{name}"), value.to_owned()));
        };
        let mut ports: &[u16] = &[PORT];
        if let Some(token) = &self.token {
            of_consul("HTTP_TOKEN", token);
        }
        if let Some(tls) = self.tls {
            of_consul("HTTP_ADDR", &format!("https://localhost:{PORT}"));
            of_consul("CACERT", CA);
            if tls.client_certificates {
                of_consul("CLIENT_CERT", CERTIFICATE);
                of_consul("CLIENT_KEY", KEY);
            }
            files.push((CA.to_owned(), tls.authority.into()));
            files.push((CERTIFICATE.to_owned(), tls.server.certificate.into()));
            files.push((KEY.to_owned(), tls.server.key.into()));
            ports = &[PORT, ASIDE];
        }
        let in_memory = self.in_memory.then_some(DATA);
        let program = "consul";
        Recipe { image, program, args, environment, files, ports, network: None, in_memory }
    }

    fn config(&self) -> Value {
        let mut config = json!({
            "server": true,
            "data_dir": DATA,
            "client_addr": "0.0.0.0",
            "log_level": "warn",
            "disable_update_check": true,
            // How many wait for a change can be seen in what the server says of its goroutines.
            "enable_debug": true,
            // The shortest time in which a server is missed, and the first one elected.
            "performance": { "raft_multiplier": 1 },
            "ports": { "http": PORT, "dns": -1, "grpc": -1, "serf_wan": -1 },
        });
        if let Some(tls) = &self.tls {
            config["ports"]["http"] = ASIDE.into();
            config["ports"]["https"] = PORT.into();
            config["ca_file"] = CA.into();
            config["cert_file"] = CERTIFICATE.into();
            config["key_file"] = KEY.into();
            config["verify_incoming_https"] = tls.client_certificates.into();
        }
        if let Some(token) = &self.token {
            config["acl"] = json!({
                "enabled": true,
                "default_policy": "deny",
                "tokens": { "master": token, "agent": token },
            });
        }
        match &self.member {
            Some(member) => {
                config["node_name"] = member.name.clone().into();
                config["bootstrap_expect"] = member.cluster.len().into();
                config["bind_addr"] = "0.0.0.0".into();
                config["advertise_addr"] = member.address.clone().into();
                config["retry_join"] = member.cluster.clone().into();
                config["retry_interval"] = "500ms".into();
                // Members come back. Without its vote one that was away would be no help at first.
                config["autopilot"] = json!({ "cleanup_dead_servers": false });
            }
            None => {
                config["node_name"] = "alone".into();
                config["bootstrap_expect"] = 1.into();
                config["bind_addr"] = "127.0.0.1".into();
            }
        }
        config
    }
}
