use crate::harness::certificates::Tls;
use crate::harness::container::Recipe;

/// The ports inside: for clients, and for health and metrics.
const PORTS: &[u16] = &[2379, 2381];
const DATA: &str = "/libkv/data";
const CA: &str = "/libkv/tls/ca.pem";
const CERTIFICATE: &str = "/libkv/tls/server.pem";
const KEY: &str = "/libkv/tls/server.key";

/// How a server is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    flags: Vec<String>,
    tls: Option<Tls>,
    in_memory: bool,
    member: Option<Member>,
}

/// A place in a cluster.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) network: String,
    pub(super) name: String,
    /// All members with their addresses, as etcd wants it.
    pub(super) cluster: String,
}

impl Options {
    /// Adds a flag of etcd, such as `--auth-token-ttl=3`.
    pub(crate) fn with_flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
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

    pub(super) fn into_recipe(self, image: String) -> Recipe {
        let mut environment = Vec::new();
        let mut files = Vec::new();
        if let Some(tls) = &self.tls {
            files.push((CA.to_owned(), tls.authority.clone().into()));
            files.push((CERTIFICATE.to_owned(), tls.server.certificate.clone().into()));
            files.push((KEY.to_owned(), tls.server.key.clone().into()));
            let of_etcdctl =
                |name: &str, value: &str| (format!("ETCDCTL_{name}"), value.to_owned());
            environment.push(of_etcdctl("ENDPOINTS", "https://localhost:2379"));
            environment.push(of_etcdctl("CACERT", CA));
            if tls.client_certificates {
                environment.push(of_etcdctl("CERT", CERTIFICATE));
                environment.push(of_etcdctl("KEY", KEY));
            }
        }
        let network =
            self.member.as_ref().map(|member| (member.network.clone(), member.name.clone()));
        let in_memory = self.in_memory.then_some(DATA);
        let (program, args) = ("etcd", self.args());
        Recipe { image, program, args, environment, files, ports: PORTS, network, in_memory }
    }

    fn args(&self) -> Vec<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut args = vec![
            format!("--data-dir={DATA}"),
            format!("--listen-client-urls={scheme}://0.0.0.0:2379"),
            format!("--advertise-client-urls={scheme}://127.0.0.1:{{0}}"),
            "--listen-metrics-urls=http://0.0.0.0:2381".to_owned(),
            "--log-level=warn".to_owned(),
            // A killed process leaves what it wrote to the system. Only a killed machine would not,
            // and no test kills that.
            "--unsafe-no-fsync".to_owned(),
        ];
        if let Some(tls) = &self.tls {
            args.push(format!("--cert-file={CERTIFICATE}"));
            args.push(format!("--key-file={KEY}"));
            if tls.client_certificates {
                args.push("--client-cert-auth".to_owned());
                args.push(format!("--trusted-ca-file={CA}"));
            }
        }
        match &self.member {
            Some(member) => args.extend([
                format!("--name={}", member.name),
                "--listen-peer-urls=http://0.0.0.0:2380".to_owned(),
                format!("--initial-advertise-peer-urls=http://{}:2380", member.name),
                format!("--initial-cluster={}", member.cluster),
            ]),
            None => args.push("--listen-peer-urls=http://127.0.0.1:2380".to_owned()),
        }
        args.extend(self.flags.iter().cloned());
        args
    }
}
