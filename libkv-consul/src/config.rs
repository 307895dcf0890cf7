use std::fmt;
use std::path::PathBuf;

use libkv_core::{Config, Credentials, Error, ErrorKind, Host, Result, StoreUrl};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

const SCHEME: &str = "consul";
const TLS_SCHEME: &str = "consuls";
const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 8500;
/// How many calls may be under way to one agent.
const MAX_CONNECTIONS: usize = 32;
/// More than this is a mistake: an agent takes 200 connections of one machine unless told otherwise.
const MOST_CONNECTIONS: usize = 1_000;

/// How to open a store in Consul.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsulConfig {
    /// What all servers can be told. Consul knows tokens and no users: credentials are refused,
    /// unless they are a password without a user, which then is the token.
    pub common: Config,
    /// The agents to talk to, one at a time; `localhost:8500` where there is none.
    pub hosts: Vec<Host>,
    /// The ACL token.
    pub token: Option<SecretString>,
    /// A file that holds the ACL token, in place of `token`. It is read again when it changes.
    pub token_file: Option<PathBuf>,
    /// The datacenter to ask, where it is not the agent's own.
    pub datacenter: Option<String>,
    /// A Unix socket to reach the agent by, in place of hosts.
    pub unix_socket: Option<PathBuf>,
    /// How many calls may be under way to one agent; more wait for their turn. Watches are counted
    /// apart, and so are listings and sessions, which may be a quarter of this each. An agent by
    /// default refuses more than 200 connections of one machine.
    pub max_connections: usize,
}

impl ConsulConfig {
    /// Talks to these agents.
    pub fn new(hosts: impl IntoIterator<Item = Host>) -> Self {
        Self {
            common: Config::default(),
            hosts: hosts.into_iter().collect(),
            token: None,
            token_file: None,
            datacenter: None,
            unix_socket: None,
            max_connections: MAX_CONNECTIONS,
        }
    }

    /// Sets what all servers can be told.
    #[must_use]
    pub fn with_common(self, common: Config) -> Self {
        Self { common, ..self }
    }

    /// Sets the ACL token.
    #[must_use]
    pub fn with_token(self, token: impl Into<SecretString>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    /// Reads the ACL token from a file, again when that changes.
    #[must_use]
    pub fn with_token_file(self, path: impl Into<PathBuf>) -> Self {
        Self { token_file: Some(path.into()), ..self }
    }

    /// Asks another datacenter than the agent's own.
    #[must_use]
    pub fn with_datacenter(self, datacenter: impl Into<String>) -> Self {
        Self { datacenter: Some(datacenter.into()), ..self }
    }

    /// Reaches the agent by a Unix socket.
    #[must_use]
    pub fn with_unix_socket(self, path: impl Into<PathBuf>) -> Self {
        Self { unix_socket: Some(path.into()), ..self }
    }

    /// Sets how many calls may be under way to one agent.
    #[must_use]
    pub fn with_max_connections(self, max_connections: usize) -> Self {
        Self { max_connections, ..self }
    }

    /// The agents with their ports.
    pub(crate) fn agents(&self) -> Vec<(String, u16)> {
        let named = |host: &Host| (host.name.clone(), host.port.unwrap_or(DEFAULT_PORT));
        match self.hosts.as_slice() {
            [] => vec![(DEFAULT_HOST.to_owned(), DEFAULT_PORT)],
            hosts => hosts.iter().map(named).collect(),
        }
    }

    /// The agents as `host:port`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let printed = |(name, port)| Host::new(name, Some(port)).to_string();
        self.agents().into_iter().map(printed).collect()
    }

    /// Returns this configuration if it can be used.
    pub(crate) fn checked(self) -> Result<Self> {
        let mut common = self.common.checked()?;
        let token = token(self.token, common.credentials.take())?;
        if token.is_some() && self.token_file.is_some() {
            return Err(invalid("a token and a file with a token; give one of them"));
        }
        if self.unix_socket.is_some() && !self.hosts.is_empty() {
            return Err(invalid("a socket and a host; give one of them"));
        }
        if self.unix_socket.is_some() && common.tls.is_some() {
            return Err(invalid(format!("a socket speaks no TLS; write {SCHEME}://")));
        }
        if !(1..=MOST_CONNECTIONS).contains(&self.max_connections) {
            return Err(invalid(format!("max_connections is not from 1 to {MOST_CONNECTIONS}")));
        }
        Ok(Self { common, token, ..self })
    }
}

/// The one token of all that may have been given.
fn token(
    token: Option<SecretString>,
    credentials: Option<Credentials>,
) -> Result<Option<SecretString>> {
    let given = match (token, credentials) {
        (token, None) => token,
        (None, Some(Credentials { user, password, .. })) if user.is_empty() => Some(password),
        (Some(_), Some(Credentials { user, .. })) if user.is_empty() => {
            return Err(invalid("two tokens; give one of them"));
        }
        _ => return Err(invalid("a user, and Consul knows tokens only; write ?token=TOKEN")),
    };
    match given {
        Some(token) if token.expose_secret().is_empty() => Err(invalid("an empty token")),
        token => Ok(token),
    }
}

/// Prints the store's address as a URL, without the token and most parameters.
impl fmt::Display for ConsulConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PATH: &AsciiSet =
            &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
        let scheme = if self.common.tls.is_some() { TLS_SCHEME } else { SCHEME };
        write!(f, "{scheme}://")?;
        if self.unix_socket.is_none() {
            f.write_str(&self.addresses().join(","))?;
        }
        if !self.common.root.is_root() {
            write!(f, "/{}", utf8_percent_encode(self.common.root.as_str(), PATH))?;
        }
        let socket = self.unix_socket.as_ref().map(|path| path.to_string_lossy());
        let parameters = [("dc", self.datacenter.as_deref()), ("socket", socket.as_deref())];
        let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        for (separator, (name, value)) in
            std::iter::once('?').chain(std::iter::repeat('&')).zip(given)
        {
            write!(f, "{separator}{name}={}", utf8_percent_encode(value, PATH))?;
        }
        Ok(())
    }
}

impl TryFrom<StoreUrl> for ConsulConfig {
    type Error = Error;

    /// Reads `consul://h1:8500,h2/root`, the parameters `dc`, `max_connections`, `socket`, `token`
    /// and `token_file`, and those that all servers have. `consuls` speaks TLS.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] for another scheme, a value of the wrong form, a user, two
    /// tokens, a socket beside a host, and a parameter that is not known, with the list of those
    /// that are.
    fn try_from(url: StoreUrl) -> Result<Self> {
        if ![SCHEME, TLS_SCHEME].contains(&url.scheme()) {
            let scheme = url.scheme();
            return Err(invalid(format!("scheme {scheme:?} is neither consul nor consuls")));
        }
        let mut query = url.query();
        let common = Config::from_url(&url, &mut query, TLS_SCHEME)?;
        let token = query.take_secret("token");
        let token_file = query.take_str("token_file").map(PathBuf::from);
        let datacenter = query.take_str("dc").map(str::to_owned);
        let unix_socket = query.take_str("socket").map(PathBuf::from);
        let max_connections = query.take_number("max_connections")?;
        query.finish()?;
        let max_connections = match max_connections {
            Some(number) => usize::try_from(number).unwrap_or(usize::MAX),
            None => MAX_CONNECTIONS,
        };
        let hosts = url.hosts().to_vec();
        Self { common, hosts, token, token_file, datacenter, unix_socket, max_connections }
            .checked()
    }
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::local(ErrorKind::InvalidConfig, "open").with_detail(detail)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(url: &str) -> Result<ConsulConfig> {
        url.parse::<StoreUrl>()?.try_into()
    }

    #[test]
    fn hosts_root_and_parameters_are_read() {
        let read = config(
            "consul://h1,h2:1,[::1]/a/b?operation_timeout=3s&token=t&dc=east&max_connections=8",
        )
        .unwrap();
        assert_eq!(read.addresses(), ["h1:8500", "h2:1", "[::1]:8500"]);
        assert_eq!(read.common.root.as_str(), "a/b");
        assert_eq!(read.common.operation_timeout.as_secs(), 3);
        assert_eq!(read.token.unwrap().expose_secret(), "t");
        assert_eq!((read.datacenter.as_deref(), read.max_connections), (Some("east"), 8));
        assert!(read.common.tls.is_none() && read.token_file.is_none());
        let bare = config("consul://").unwrap();
        assert_eq!((bare.addresses(), bare.max_connections), (vec!["localhost:8500".into()], 32));
        assert!(config("consuls://h").unwrap().common.tls.is_some());
        let file = config("consul://?token_file=/t&socket=/run/consul.sock").unwrap();
        assert_eq!(file.token_file.as_deref(), Some(Path::new("/t")));
        assert_eq!(file.unix_socket.as_deref(), Some(Path::new("/run/consul.sock")));
    }

    #[test]
    fn the_address_opens_the_same_store_and_shows_no_secret() {
        for url in [
            "consul://h:1,[::1]:2/a%20b/c",
            "consuls://h:1/a?dc=east%26",
            "consul:///a?socket=/run/a%20b",
            "consul://?dc=e&socket=/s",
        ] {
            assert_eq!(config(url).unwrap().to_string(), url);
        }
        let read = config("consul://h?token=hunter2").unwrap();
        assert!(!format!("{read} {read:?}").contains("hunter2"), "{read:?}");
    }

    #[test]
    fn a_password_without_a_user_is_the_token() {
        let with = |user: &str| {
            let common = Config::default().with_credentials(Credentials::new(user, "hunter2"));
            ConsulConfig::new([]).with_common(common)
        };
        let read = with("").checked().unwrap();
        assert_eq!(read.token.unwrap().expose_secret(), "hunter2");
        for (config, expected) in [
            (with("ann"), "a user, and Consul knows tokens only"),
            (with("").with_token("t"), "two tokens"),
            (with("").with_token_file("/t"), "a token and a file with a token"),
            (ConsulConfig::new([]).with_token(""), "an empty token"),
            (ConsulConfig::new([]).with_max_connections(0), "max_connections is not from 1"),
        ] {
            let error = config.checked().unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for (url, expected) in [
            ("consul://ann:secret@h", "a user, and Consul knows tokens only"),
            ("consul://h?token=secret&token_file=/t", "a token and a file with a token"),
            ("consul://h?socket=/s", "a socket and a host"),
            ("consuls://?socket=/s", "a socket speaks no TLS"),
            ("consul://h?max_connections=0", "max_connections is not from 1 to 1000"),
            ("consul://h?max_connections=1001", "max_connections is not from 1 to 1000"),
            (
                "consul://h?tokn=b",
                "known are: ca, cert, connection_timeout, dc, ephemeral_ttl, key, lazy, \
                 max_connections, operation_timeout, server_name, socket, token, token_file",
            ),
            ("etcd://h", "neither consul nor consuls"),
            ("consul://h?ca=/x", "need TLS; write consuls://"),
        ] {
            let error = config(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            let error = error.to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }
}
