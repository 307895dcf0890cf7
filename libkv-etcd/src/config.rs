use std::fmt;

use libkv_core::{Config, Error, ErrorKind, Host, Result, StoreUrl};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const SCHEME: &str = "etcd";
const TLS_SCHEME: &str = "etcds";
const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 2379;
/// The server's limit of a request must hold the prefix of each key too.
const LONGEST_PREFIX: usize = 512;

/// How to open a store in etcd.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EtcdConfig {
    /// What all servers can be told.
    pub common: Config,
    /// The members to talk to, one at a time; `localhost:2379` where there is none.
    pub hosts: Vec<Host>,
    /// Raw text in front of every key, in place of a root, so that names like `/registry/pods` of
    /// other programs can be reached.
    pub prefix: Option<String>,
}

impl EtcdConfig {
    /// Talks to these members.
    pub fn new(hosts: impl IntoIterator<Item = Host>) -> Self {
        Self { common: Config::default(), hosts: hosts.into_iter().collect(), prefix: None }
    }

    /// Sets what all servers can be told.
    #[must_use]
    pub fn with_common(self, common: Config) -> Self {
        Self { common, ..self }
    }

    /// Puts raw text in front of every key, in place of a root.
    #[must_use]
    pub fn with_prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: Some(prefix.into()), ..self }
    }

    /// The members as `host:port`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let named = |host: &Host| {
            Host::new(host.name.clone(), host.port.or(Some(DEFAULT_PORT))).to_string()
        };
        match self.hosts.as_slice() {
            [] => vec![format!("{DEFAULT_HOST}:{DEFAULT_PORT}")],
            hosts => hosts.iter().map(named).collect(),
        }
    }

    /// Returns this configuration if it can be used.
    pub(crate) fn checked(self) -> Result<Self> {
        let common = self.common.checked()?;
        match &self.prefix {
            Some(_) if !common.root.is_root() => {
                Err(invalid("a root and a prefix; write all of it in the prefix"))
            }
            Some(prefix) if prefix.len() > LONGEST_PREFIX => {
                Err(invalid(format!("the prefix has more than {LONGEST_PREFIX} bytes")))
            }
            _ => Ok(Self { common, ..self }),
        }
    }
}

/// Prints the store's address as a URL, without user, password and most parameters.
impl fmt::Display for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PATH: &AsciiSet =
            &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
        let scheme = if self.common.tls.is_some() { TLS_SCHEME } else { SCHEME };
        write!(f, "{scheme}://{}", self.addresses().join(","))?;
        if !self.common.root.is_root() {
            write!(f, "/{}", utf8_percent_encode(self.common.root.as_str(), PATH))?;
        }
        match &self.prefix {
            Some(prefix) => write!(f, "?prefix={}", utf8_percent_encode(prefix, PATH)),
            None => Ok(()),
        }
    }
}

impl TryFrom<StoreUrl> for EtcdConfig {
    type Error = Error;

    /// Reads `etcd://user:password@h1:2379,h2/root?prefix=TEXT` and the parameters that all servers
    /// have. `etcds` speaks TLS.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] for another scheme, a value of the wrong form, and a parameter
    /// that is not known, with the list of those that are.
    fn try_from(url: StoreUrl) -> Result<Self> {
        if ![SCHEME, TLS_SCHEME].contains(&url.scheme()) {
            let scheme = url.scheme();
            return Err(invalid(format!("scheme {scheme:?} is neither etcd nor etcds")));
        }
        let mut query = url.query();
        let common = Config::from_url(&url, &mut query, TLS_SCHEME)?;
        let prefix = query.take_str("prefix").map(str::to_owned);
        query.finish()?;
        Self { common, hosts: url.hosts().to_vec(), prefix }.checked()
    }
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::local(ErrorKind::InvalidConfig, "open").with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Result<EtcdConfig> {
        url.parse::<StoreUrl>()?.try_into()
    }

    #[test]
    fn hosts_root_and_prefix_are_read() {
        let read = config("etcd://h1,h2:1,[::1]/a/b?operation_timeout=3s").unwrap();
        assert_eq!(read.addresses(), ["h1:2379", "h2:1", "[::1]:2379"]);
        assert_eq!(read.common.root.as_str(), "a/b");
        assert_eq!(read.common.operation_timeout.as_secs(), 3);
        assert!(read.common.tls.is_none() && read.prefix.is_none());
        assert_eq!(config("etcd://").unwrap().addresses(), ["localhost:2379"]);
        assert!(config("etcds://h").unwrap().common.tls.is_some());
        let raw = config("etcd://h?prefix=/registry/").unwrap();
        assert_eq!(raw.prefix.as_deref(), Some("/registry/"));
    }

    #[test]
    fn the_address_opens_the_same_store_and_shows_no_secret() {
        for url in ["etcd://h:1,[::1]:2/a%20b/c", "etcds://h:1?prefix=/registry/x%26"] {
            assert_eq!(config(url).unwrap().to_string(), url);
        }
        let read = config("etcd://ann:hunter2@h").unwrap();
        assert!(!format!("{read} {read:?}").contains("hunter2"), "{read:?}");
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let long = format!("etcd://h?prefix={}", "x".repeat(513));
        for (url, expected) in [
            ("etcd://h/a?prefix=b", "a root and a prefix"),
            (long.as_str(), "more than 512 bytes"),
            ("etcd://h?prefx=b", "known are: ca, cert"),
            ("consul://h", "neither etcd nor etcds"),
            ("etcd://h?ca=/x", "need TLS"),
        ] {
            let error = config(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
