use std::fmt;
use std::str::FromStr;

use libkv_core::{Error, ErrorKind, Result};

/// The backends that libkv knows, compiled in or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// HashiCorp's Consul: `consul://`, `consuls://`.
    Consul,
    /// The embedded store: `mem:`, `file:`.
    Embedded,
    /// etcd's third API: `etcd://`, `etcds://`.
    Etcd,
    /// Apache ZooKeeper: `zk://`, `zks://`.
    Zk,
}

/// Every backend with its name and its URL schemes.
const KNOWN: &[(Backend, &str, &[&str])] = &[
    (Backend::Consul, "consul", &["consul", "consuls"]),
    (Backend::Embedded, "embedded", &["mem", "file"]),
    (Backend::Etcd, "etcd", &["etcd", "etcds"]),
    (Backend::Zk, "zk", &["zk", "zks"]),
];

impl Backend {
    /// The backend of a URL's scheme.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotSupported`] for a scheme that nobody knows, with the list of those that are.
    pub fn of_scheme(scheme: &str) -> Result<Self> {
        let found = KNOWN.iter().find(|(_, _, schemes)| schemes.contains(&scheme));
        found.map(|(backend, ..)| *backend).ok_or_else(|| {
            let schemes: Vec<_> =
                KNOWN.iter().flat_map(|(_, _, schemes)| *schemes).copied().collect();
            unknown("scheme", scheme, &schemes.join(", "))
        })
    }

    /// The name, which is also the name of the feature that compiles the backend in.
    pub fn as_str(self) -> &'static str {
        KNOWN.iter().find(|(backend, ..)| *backend == self).map_or("", |(_, name, _)| name)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Backend {
    type Err = Error;

    /// Parses a name; `zookeeper` is accepted for `zk`.
    fn from_str(name: &str) -> Result<Self> {
        if name == "zookeeper" {
            return Ok(Self::Zk);
        }
        let found = KNOWN.iter().find(|(_, known, _)| *known == name);
        found.map(|(backend, ..)| *backend).ok_or_else(|| {
            let names: Vec<_> = KNOWN.iter().map(|(_, known, _)| *known).collect();
            unknown("backend", name, &names.join(", "))
        })
    }
}

fn unknown(what: &str, name: &str, known: &str) -> Error {
    Error::local(ErrorKind::NotSupported, "open")
        .with_detail(format!("unknown {what} {name:?}; known are: {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_survives_its_name_and_zookeeper_is_zk() {
        for (backend, name, _) in KNOWN {
            assert_eq!(backend.to_string(), *name);
            assert_eq!(name.parse::<Backend>().unwrap(), *backend);
        }
        assert_eq!("zookeeper".parse::<Backend>().unwrap(), Backend::Zk);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let error = "redis".parse::<Backend>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSupported);
        assert_eq!(
            error.to_string(),
            "open: backend not supported: unknown backend \"redis\"; known are: consul, embedded, \
             etcd, zk"
        );
    }
}
