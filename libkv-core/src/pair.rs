use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Error, ErrorKind, Key, Result};

/// A stored key with its value, its version and how long it lives.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvPair {
    /// The key, relative to the store's root.
    pub key: Key,
    /// The value, byte for byte as it is in the store; empty where only keys were asked for.
    pub value: Bytes,
    /// The version of this very state of the key.
    pub version: Version,
    /// What ends the key's life.
    pub lifetime: LifetimeKind,
}

impl KvPair {
    /// Puts a pair together, as a backend does.
    pub fn new(key: Key, value: Bytes, version: Version, lifetime: LifetimeKind) -> Self {
        Self { key, value, version, lifetime }
    }

    /// The backend's modification index of this state: etcd's mod revision, Consul's ModifyIndex,
    /// ZooKeeper's mzxid, the embedded store's own revision. 0 where the version is unknown.
    pub fn last_index(&self) -> u64 {
        self.version.last_index()
    }
}

/// Shows the length of the value and never the value, which may be a secret.
impl fmt::Debug for KvPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvPair")
            .field("key", &self.key)
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("version", &self.version)
            .field("lifetime", &self.lifetime)
            .finish()
    }
}

/// What ends the life of a stored key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LifetimeKind {
    /// Nothing but a delete.
    Permanent,
    /// The end of a session: of the handle that put it, or of the lock whose value it is.
    Ephemeral,
    /// A time limit.
    Ttl,
}

/// The short lower-case name of a backend, which prefixes its versions and its errors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendName([u8; 8]);

impl BackendName {
    /// Makes a name of one to eight lower-case ASCII letters or digits; meant for a constant.
    ///
    /// # Panics
    ///
    /// On any other text, which in a constant is an error of the compiler.
    pub const fn new(name: &str) -> Self {
        match Self::parse(name.as_bytes()) {
            Some(parsed) => parsed,
            None => panic!("a backend's name has 1 to 8 lower-case ASCII letters or digits"),
        }
    }

    const fn parse(bytes: &[u8]) -> Option<Self> {
        let mut name = [0; 8];
        if bytes.is_empty() || bytes.len() > name.len() {
            return None;
        }
        let mut i = 0;
        while i < bytes.len() {
            if !bytes[i].is_ascii_lowercase() && !bytes[i].is_ascii_digit() {
                return None;
            }
            name[i] = bytes[i];
            i += 1;
        }
        Some(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackendName({})", self.as_str())
    }
}

/// One state of one key: it changes with every successful write, an identical one too, and never
/// comes back, also when the key is deleted and made again.
///
/// A version is opaque. It can be compared for equality, printed and parsed (`etcd:1042`), and it
/// has no order. It means something only to the store it came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    backend: BackendName,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Unknown,
    Known { index: u64, extra: [u64; 2] },
}

impl Version {
    /// A version that the modification index alone identifies.
    pub fn new(backend: BackendName, index: u64) -> Self {
        Self::with_extra(backend, index, [0, 0])
    }

    /// A version that needs two more numbers, such as ZooKeeper's czxid and data version.
    pub fn with_extra(backend: BackendName, index: u64, extra: [u64; 2]) -> Self {
        Self { backend, state: State::Known { index, extra } }
    }

    /// The version of a key in a listing of names only, where the server tells none.
    pub fn unknown(backend: BackendName) -> Self {
        Self { backend, state: State::Unknown }
    }

    /// The backend's modification index; 0 where the version is unknown.
    pub fn last_index(&self) -> u64 {
        match self.state {
            State::Unknown => 0,
            State::Known { index, .. } => index,
        }
    }

    /// The two further numbers that the backend gave; zeros where it gave none.
    pub fn extra(&self) -> [u64; 2] {
        match self.state {
            State::Unknown => [0, 0],
            State::Known { extra, .. } => extra,
        }
    }

    /// The backend it came from.
    pub fn backend(&self) -> BackendName {
        self.backend
    }

    /// Returns this version if it is known and comes from `backend`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidVersion`] otherwise.
    pub fn checked(&self, backend: BackendName, operation: &'static str) -> Result<&Self> {
        let refused = |detail| {
            Err(Error::new(ErrorKind::InvalidVersion, backend, operation).with_detail(detail))
        };
        if self.backend != backend {
            return refused(format!(
                "{self} is a version of {}, not of {backend}; use the one this store returned",
                self.backend
            ));
        }
        if self.state == State::Unknown {
            return refused(format!(
                "{self} is unknown, as in a listing of keys only; get the key for its version"
            ));
        }
        Ok(self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            State::Unknown => write!(f, "{}:?", self.backend),
            State::Known { index, extra: [0, 0] } => write!(f, "{}:{index}", self.backend),
            State::Known { index, extra: [a, b] } => {
                write!(f, "{}:{index}.{a}.{b}", self.backend)
            }
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}

impl FromStr for Version {
    type Err = Error;

    /// Parses what [`Display`](fmt::Display) printed, for whatever backend.
    fn from_str(text: &str) -> Result<Self> {
        parse_version(text).ok_or_else(|| {
            Error::local(ErrorKind::InvalidVersion, "version").with_detail(format!(
                "{text:?} is no version; it looks like etcd:1042, as printed with the pair"
            ))
        })
    }
}

fn parse_version(text: &str) -> Option<Version> {
    let (backend, rest) = text.split_once(':')?;
    let backend = BackendName::parse(backend.as_bytes())?;
    if rest == "?" {
        return Some(Version::unknown(backend));
    }
    let numbers = rest.split('.').map(number).collect::<Option<Vec<_>>>()?;
    match numbers[..] {
        [index] => Some(Version::new(backend, index)),
        [_, 0, 0] => None,
        [index, a, b] => Some(Version::with_extra(backend, index, [a, b])),
        _ => None,
    }
}

/// A number as it is printed: digits, without a sign or a leading zero.
fn number(text: &str) -> Option<u64> {
    let value: u64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

/// A number that grows from each holder of a lock to the next.
///
/// Send it along with what the lock protects, and let the receiver refuse a smaller one than it
/// has seen. The order holds within one history of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FencingToken(u64);

impl FencingToken {
    /// Wraps the server's number.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Proof of holding a lock, for a write or a transaction that must happen only while it is held.
///
/// The server checks it in the same transaction: the write happens while the guard holds the lock,
/// or it is refused with [`ErrorKind::LockLost`] and nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    backend: BackendName,
    key: Key,
    token: FencingToken,
    node: Arc<str>,
}

impl Fence {
    /// Makes the fence of a lock on `key`; `node` is whatever the backend needs to find the lock
    /// again, such as the lock node's name or the session's id.
    pub fn new(
        backend: BackendName,
        key: Key,
        token: FencingToken,
        node: impl Into<Arc<str>>,
    ) -> Self {
        Self { backend, key, token, node: node.into() }
    }

    /// The locked key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The token of the guard that the fence came from.
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// The backend's own mark.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Returns this fence if it comes from `backend`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidVersion`] otherwise: a lock in one store cannot guard another.
    pub fn checked(&self, backend: BackendName, operation: &'static str) -> Result<&Self> {
        if self.backend != backend {
            return Err(Error::new(ErrorKind::InvalidVersion, backend, operation).with_detail(
                format!("the fence of {} is of a lock in {}", self.key, self.backend),
            ));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZK: BackendName = BackendName::new("zk");

    #[test]
    fn a_version_of_another_backend_and_an_unknown_one_are_refused() {
        let text: Version = "etcd:7".parse().unwrap();
        let error = text.checked(ZK, "put").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidVersion);
        assert_eq!(
            error.to_string(),
            "zk put: invalid version: etcd:7 is a version of etcd, not of zk; use the one this \
             store returned"
        );
        let unknown = Version::unknown(ZK);
        assert_eq!(unknown.last_index(), 0);
        assert_eq!(unknown.checked(ZK, "put").unwrap_err().kind(), ErrorKind::InvalidVersion);
    }

    #[test]
    fn text_that_is_no_version_is_refused() {
        for text in [
            "",
            "etcd",
            "etcd:",
            ":5",
            "etcd:-1",
            "etcd:05",
            "etcd:1.2",
            "etcd:1.0.0",
            "etcd:+1",
            "ETCD:1",
            "etcd:1 ",
            "toolongname:1",
            "etcd:18446744073709551616",
        ] {
            let error = text.parse::<Version>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidVersion, "{text:?}");
        }
    }

    #[test]
    fn debug_of_a_pair_hides_the_value() {
        let key = Key::new("a").unwrap();
        let value = Bytes::from_static(b"top secret");
        let pair = KvPair::new(key, value, Version::new(ZK, 1), LifetimeKind::Permanent);
        let debug = format!("{pair:?}");
        assert!(debug.contains("10 bytes") && !debug.contains("secret"), "{debug}");
    }

    proptest! {
        #[test]
        fn a_version_survives_its_text(index: u64, a: u64, b: u64) {
            let version = Version::with_extra(ZK, index, [a, b]);
            prop_assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        }
    }
}
