use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;

use crate::{Error, ErrorKind, Key, Query, Result, StoreUrl};

/// What every backend on a server can be told; each backend's own configuration contains it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// How to speak TLS; `None` speaks plain text.
    pub tls: Option<TlsConfig>,
    /// Who to log in as.
    pub credentials: Option<Credentials>,
    /// The key under which all keys of the store are kept.
    pub root: Key,
    /// How long opening, and each connection later on, may take.
    pub connection_timeout: Duration,
    /// How long an operation may take that has no deadline of its own.
    pub operation_timeout: Duration,
    /// How long ephemeral keys outlive a silent handle; `None` takes the backend's default.
    pub ephemeral_ttl: Option<Duration>,
    /// Open without looking for a server.
    pub lazy: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tls: None,
            credentials: None,
            root: Key::root(),
            connection_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(10),
            ephemeral_ttl: None,
            lazy: false,
        }
    }
}

/// How to speak TLS: by default to a server whom the usual authorities vouch for.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TlsConfig {
    /// The certificates to trust instead of the usual authorities.
    pub ca: Option<PemSource>,
    /// What to show to a server that asks who the client is.
    pub client: Option<ClientIdentity>,
    /// The name in the server's certificate, where it is not the host's.
    pub server_name: Option<String>,
}

/// A client's certificate with its private key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientIdentity {
    /// The certificate, followed by those that lead to the authority.
    pub cert: PemSource,
    /// The private key.
    pub key: PemSource,
}

/// Where PEM text is. Reading it is the backend's work.
#[derive(Clone)]
#[non_exhaustive]
pub enum PemSource {
    /// In a file.
    File(PathBuf),
    /// Here.
    Bytes(Bytes),
}

/// A user with a password.
#[derive(Clone)]
#[non_exhaustive]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: SecretString,
}

impl Config {
    /// Takes from a URL what is common to all servers: user and password, the root, and the
    /// parameters `ca`, `cert`, `connection_timeout`, `ephemeral_ttl`, `key`, `lazy`,
    /// `operation_timeout` and `server_name`.
    ///
    /// TLS is on if the URL's scheme is `tls_scheme`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] for a value of the wrong form, a user without a password, half
    /// of a client's certificate and key, and TLS parameters under another scheme.
    pub fn from_url(url: &StoreUrl, query: &mut Query<'_>, tls_scheme: &str) -> Result<Self> {
        let default = Self::default();
        let tls = TlsConfig::take(query)?;
        let tls = match url.scheme() == tls_scheme {
            true => Some(tls.unwrap_or_default()),
            false if tls.is_none() => None,
            false => {
                return Err(invalid(format!(
                    "ca, cert, key and server_name need TLS; write {tls_scheme}://"
                )));
            }
        };
        let connection_timeout = query.take_duration("connection_timeout")?;
        let operation_timeout = query.take_duration("operation_timeout")?;
        Ok(Self {
            tls,
            credentials: Credentials::from_url(url)?,
            root: url.root().clone(),
            connection_timeout: connection_timeout.unwrap_or(default.connection_timeout),
            operation_timeout: operation_timeout.unwrap_or(default.operation_timeout),
            ephemeral_ttl: query.take_duration("ephemeral_ttl")?,
            lazy: query.take_bool("lazy")?.unwrap_or(default.lazy),
        })
    }

    /// Returns this configuration if it can be used; a backend asks when it opens.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] for a time of zero.
    pub fn checked(self) -> Result<Self> {
        for (name, time) in [
            ("connection_timeout", Some(self.connection_timeout)),
            ("operation_timeout", Some(self.operation_timeout)),
            ("ephemeral_ttl", self.ephemeral_ttl),
        ] {
            if time.is_some_and(|time| time.is_zero()) {
                return Err(invalid(format!("{name} is zero; give it a time or leave it out")));
            }
        }
        Ok(self)
    }

    /// Speaks TLS.
    #[must_use]
    pub fn with_tls(self, tls: TlsConfig) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Sets who to log in as.
    #[must_use]
    pub fn with_credentials(self, credentials: Credentials) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// Keeps all keys under `root`.
    #[must_use]
    pub fn with_root(self, root: Key) -> Self {
        Self { root, ..self }
    }

    /// Sets how long opening may take.
    #[must_use]
    pub fn with_connection_timeout(self, connection_timeout: Duration) -> Self {
        Self { connection_timeout, ..self }
    }

    /// Sets how long an operation may take.
    #[must_use]
    pub fn with_operation_timeout(self, operation_timeout: Duration) -> Self {
        Self { operation_timeout, ..self }
    }

    /// Sets how long ephemeral keys outlive a silent handle.
    #[must_use]
    pub fn with_ephemeral_ttl(self, ephemeral_ttl: Duration) -> Self {
        Self { ephemeral_ttl: Some(ephemeral_ttl), ..self }
    }

    /// Opens without looking for a server.
    #[must_use]
    pub fn with_lazy(self) -> Self {
        Self { lazy: true, ..self }
    }
}

impl TlsConfig {
    fn take(query: &mut Query<'_>) -> Result<Option<Self>> {
        let [ca, cert, key] = ["ca", "cert", "key"]
            .map(|name| query.take_str(name).map(|path| PemSource::File(path.into())));
        let server_name = query.take_str("server_name").map(str::to_owned);
        let client = match (cert, key) {
            (Some(cert), Some(key)) => Some(ClientIdentity { cert, key }),
            (None, None) => None,
            (Some(_), None) => return Err(invalid("cert without key; give both or neither")),
            (None, Some(_)) => return Err(invalid("key without cert; give both or neither")),
        };
        let is_given = ca.is_some() || client.is_some() || server_name.is_some();
        Ok(is_given.then_some(Self { ca, client, server_name }))
    }

    /// Sets the certificates to trust instead of the usual authorities.
    #[must_use]
    pub fn with_ca(self, ca: PemSource) -> Self {
        Self { ca: Some(ca), ..self }
    }

    /// Sets what to show to a server that asks who the client is.
    #[must_use]
    pub fn with_client(self, client: ClientIdentity) -> Self {
        Self { client: Some(client), ..self }
    }

    /// Sets the name in the server's certificate.
    #[must_use]
    pub fn with_server_name(self, server_name: impl Into<String>) -> Self {
        Self { server_name: Some(server_name.into()), ..self }
    }
}

impl ClientIdentity {
    /// Puts the two together; one without the other is of no use.
    pub fn new(cert: PemSource, key: PemSource) -> Self {
        Self { cert, key }
    }
}

/// Shows the length of bytes and never the bytes, which may be a private key.
impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(pem) => write!(f, "Bytes({} bytes)", pem.len()),
        }
    }
}

impl Credentials {
    /// Makes credentials.
    pub fn new(user: impl Into<String>, password: impl Into<SecretString>) -> Self {
        Self { user: user.into(), password: password.into() }
    }

    fn from_url(url: &StoreUrl) -> Result<Option<Self>> {
        match (url.user(), url.password()) {
            (Some(user), Some(password)) => Ok(Some(Self::new(user, password.clone()))),
            (Some(_), None) => Err(invalid("a user without a password; write user:password@host")),
            (None, _) => Ok(None),
        }
    }
}

/// Shows `***` for the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = format_args!("***");
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("password", &password)
            .finish()
    }
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::local(ErrorKind::InvalidConfig, "config").with_detail(detail)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn from_url(text: &str) -> Result<Config> {
        let url: StoreUrl = text.parse()?;
        let mut query = url.query();
        let config = Config::from_url(&url, &mut query, "etcds")?;
        query.finish()?;
        Ok(config)
    }

    #[test]
    fn a_bare_url_gives_the_defaults() {
        let config = from_url("etcd://db1").unwrap();
        assert!(config.tls.is_none() && config.credentials.is_none() && !config.lazy);
        assert!(config.root.is_root());
        assert_eq!(config.connection_timeout, Duration::from_secs(5));
        assert_eq!(config.operation_timeout, Duration::from_secs(10));
        assert_eq!(config.ephemeral_ttl, None);
    }

    #[test]
    fn every_common_parameter_is_read() {
        let config = from_url(
            "etcds://ann:pw@db1/a/b?connection_timeout=1s&operation_timeout=250ms&lazy=true\
             &ephemeral_ttl=1m&ca=ca.pem&cert=/c.pem&key=/k.pem&server_name=etcd.local",
        )
        .unwrap();
        let Credentials { user, password } = config.credentials.unwrap();
        assert_eq!((user.as_str(), password.expose_secret()), ("ann", "pw"));
        assert_eq!(config.root.as_str(), "a/b");
        assert_eq!(config.connection_timeout, Duration::from_secs(1));
        assert_eq!(config.operation_timeout, Duration::from_millis(250));
        assert_eq!(config.ephemeral_ttl, Some(Duration::from_secs(60)));
        assert!(config.lazy);
        assert_eq!(
            format!("{:?}", config.tls.unwrap()),
            "TlsConfig { ca: Some(File(\"ca.pem\")), client: Some(ClientIdentity { \
             cert: File(\"/c.pem\"), key: File(\"/k.pem\") }), server_name: Some(\"etcd.local\") }"
        );
    }

    #[test]
    fn the_scheme_alone_turns_tls_on() {
        let tls = from_url("etcds://db1").unwrap().tls.unwrap();
        assert!(tls.ca.is_none() && tls.client.is_none() && tls.server_name.is_none());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, expected) in [
            ("etcd://db1?connection_timeout=0s", "\"connection_timeout\" is wrong"),
            ("etcd://db1?operation_timeout=5", "\"operation_timeout\" is wrong"),
            ("etcd://db1?ephemeral_ttl=0s", "\"ephemeral_ttl\" is wrong"),
            ("etcd://db1?lazy=yes", "\"lazy\" is wrong; write true or false"),
            ("etcds://db1?cert=/c.pem", "cert without key"),
            ("etcds://db1?key=/k.pem", "key without cert"),
            ("etcd://db1?ca=/ca.pem", "need TLS; write etcds://"),
            ("etcd://db1?server_name=x", "need TLS; write etcds://"),
            ("etcd://ann@db1", "a user without a password"),
            (
                "etcd://db1?lazzy=true",
                "known are: ca, cert, connection_timeout, ephemeral_ttl, key, lazy, \
                 operation_timeout, server_name",
            ),
        ] {
            let error = from_url(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{text}");
            assert!(error.to_string().contains(expected), "{text} gave {error}");
        }
    }

    #[test]
    fn a_time_of_zero_is_refused_at_opening() {
        let zero = Duration::ZERO;
        for (config, name) in [
            (Config::default().with_connection_timeout(zero), "connection_timeout is zero"),
            (Config::default().with_operation_timeout(zero), "operation_timeout is zero"),
            (Config::default().with_ephemeral_ttl(zero), "ephemeral_ttl is zero"),
        ] {
            let error = config.checked().unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        Config::default().checked().unwrap();
    }

    #[test]
    fn debug_shows_no_secret() {
        let pem = || PemSource::Bytes(Bytes::from_static(b"hunter2"));
        let tls = TlsConfig::default()
            .with_ca(pem())
            .with_client(ClientIdentity::new(pem(), pem()))
            .with_server_name("etcd.local");
        let config = Config::default()
            .with_tls(tls)
            .with_credentials(Credentials::new("ann", "hunter2"))
            .with_root(Key::new("a").unwrap())
            .with_lazy();
        let debug = format!("{config:?}");
        assert!(!debug.contains("hunter2"), "{debug}");
        assert!(debug.contains("7 bytes") && debug.contains("password: ***"), "{debug}");
    }
}
