use std::fmt;

use libkv_core::{Config, Error, ErrorKind, Host, Result, StoreUrl};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const SCHEME: &str = "zk";
const TLS_SCHEME: &str = "zks";
const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 2181;

/// How to open a store in ZooKeeper.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ZkConfig {
    /// What all servers can be told.
    pub common: Config,
    /// The servers to talk to, one at a time; `localhost:2181` where there is none.
    pub hosts: Vec<Host>,
}

impl ZkConfig {
    /// Talks to these servers.
    pub fn new(hosts: impl IntoIterator<Item = Host>) -> Self {
        Self { common: Config::default(), hosts: hosts.into_iter().collect() }
    }

    /// Sets what all servers can be told.
    #[must_use]
    pub fn with_common(self, common: Config) -> Self {
        Self { common, ..self }
    }

    /// The servers as `host:port`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let printed = |host: &Host| {
            Host::new(host.name.clone(), Some(host.port.unwrap_or(DEFAULT_PORT))).to_string()
        };
        match self.hosts.as_slice() {
            [] => vec![format!("{DEFAULT_HOST}:{DEFAULT_PORT}")],
            hosts => hosts.iter().map(printed).collect(),
        }
    }

    /// Returns this configuration if it can be used.
    pub(crate) fn checked(self) -> Result<Self> {
        let common = self.common.checked()?;
        // Nothing that was asked for is left out in silence, and least of all this.
        for (asked, what) in [
            (common.tls.is_some(), "TLS to ZooKeeper; zks:// is not here yet"),
            (common.credentials.is_some(), "a user and a password for ZooKeeper"),
        ] {
            if asked {
                return Err(Error::local(ErrorKind::NotImplemented, "open").with_detail(what));
            }
        }
        Ok(Self { common, ..self })
    }
}

/// Prints the store's address as a URL, without secrets and most parameters.
impl fmt::Display for ZkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PATH: &AsciiSet =
            &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
        write!(f, "{SCHEME}://{}", self.addresses().join(","))?;
        if !self.common.root.is_root() {
            write!(f, "/{}", utf8_percent_encode(self.common.root.as_str(), PATH))?;
        }
        Ok(())
    }
}

impl TryFrom<StoreUrl> for ZkConfig {
    type Error = Error;

    /// Reads `zk://h1:2181,h2/root` and the parameters that all servers have.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] for another scheme, a value of the wrong form, and a parameter
    /// that is not known, with the list of those that are; [`ErrorKind::NotImplemented`] for TLS
    /// and for a user.
    fn try_from(url: StoreUrl) -> Result<Self> {
        if ![SCHEME, TLS_SCHEME].contains(&url.scheme()) {
            let scheme = url.scheme();
            return Err(invalid(format!("scheme {scheme:?} is neither zk nor zks")));
        }
        let mut query = url.query();
        let common = Config::from_url(&url, &mut query, TLS_SCHEME)?;
        query.finish()?;
        Self { common, hosts: url.hosts().to_vec() }.checked()
    }
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::local(ErrorKind::InvalidConfig, "open").with_detail(detail)
}

#[cfg(test)]
mod tests {
    use libkv_core::Credentials;

    use super::*;

    fn config(url: &str) -> Result<ZkConfig> {
        url.parse::<StoreUrl>()?.try_into()
    }

    #[test]
    fn the_address_opens_the_same_store() {
        let read = config("zk://h1,h2:1/a%20b/c?operation_timeout=3s").unwrap();
        assert_eq!(read.addresses(), ["h1:2181", "h2:1"]);
        assert_eq!(read.common.operation_timeout.as_secs(), 3);
        assert_eq!(read.to_string(), "zk://h1:2181,h2:1/a%20b/c");
        assert_eq!(config("zk://").unwrap().addresses(), ["localhost:2181"]);
    }

    #[test]
    fn what_is_not_here_is_refused_and_never_left_out() {
        for (url, kind) in [
            ("zks://h", ErrorKind::NotImplemented),
            ("zk://ann:hunter2@h", ErrorKind::NotImplemented),
            ("zk://h?acl=open", ErrorKind::InvalidConfig),
            ("zk://h?ca=/x", ErrorKind::InvalidConfig),
            ("etcd://h", ErrorKind::InvalidConfig),
        ] {
            let error = config(url).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let common = Config::default().with_credentials(Credentials::new("ann", "hunter2"));
        let error = ZkConfig::new([]).with_common(common).checked().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotImplemented);
    }
}
