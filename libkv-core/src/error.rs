use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::{BackendName, Key};

/// The result of every fallible call in libkv.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in which store, during which operation and at which key.
///
/// The text of an error is one line, such as `etcd put config/db: not reachable: connect`. It never
/// contains a value or a secret, and it does not repeat the cause, which is in
/// [`source`](StdError::source).
///
/// Cloning is cheap, so that one loss can be told to everybody who waits for it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    backend: Option<BackendName>,
    operation: &'static str,
    key: Option<Key>,
    detail: Option<String>,
    transient: Option<bool>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The closed list of reasons, the same on every backend.
///
/// The first seven are the ancestor's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The backend is unknown, or known and not compiled into this program.
    #[error("backend not supported")]
    NotSupported,
    /// This backend cannot do this call, or cannot honour this option. Nothing was changed.
    #[error("not implemented by this backend")]
    NotImplemented,
    /// No server could be reached. For a write: nothing left the machine.
    #[error("not reachable")]
    NotReachable,
    /// The lock is held by somebody else and the time allowed for waiting is over.
    #[error("cannot lock")]
    CannotLock,
    /// The key has another version than the one expected.
    #[error("key modified")]
    KeyModified,
    /// The key does not exist.
    #[error("key not found")]
    KeyNotFound,
    /// A conditional call was made without the pair it should compare with.
    #[error("previous pair not specified")]
    PreviousNotSpecified,
    /// The key exists although it was expected to be absent.
    #[error("key exists")]
    KeyExists,
    /// The lock is not held, or no longer. A fenced write was refused and changed nothing.
    #[error("lock lost")]
    LockLost,
    /// The text is no key, or the key cannot be used in this place.
    #[error("invalid key")]
    InvalidKey,
    /// The version is not one of this backend, or is unknown.
    #[error("invalid version")]
    InvalidVersion,
    /// A URL, a configuration or an option is wrong.
    #[error("invalid configuration")]
    InvalidConfig,
    /// The server refuses these credentials, or they lack the right.
    #[error("permission denied")]
    PermissionDenied,
    /// A value or a transaction is over the backend's limit. It was not sent.
    #[error("too large")]
    TooLarge,
    /// No answer within the time limit. For a write: nothing left the machine.
    #[error("timed out")]
    Timeout,
    /// A write may or may not have happened. Look before writing again.
    #[error("outcome unknown")]
    OutcomeUnknown,
    /// This handle was closed.
    #[error("this handle was closed")]
    Closed,
    /// Anything else. For a write: nothing was changed.
    #[error("failed")]
    Other,
}

impl Error {
    /// Makes an error of a backend's operation.
    pub fn new(kind: ErrorKind, backend: BackendName, operation: &'static str) -> Self {
        Self::build(kind, Some(backend), operation)
    }

    /// Makes an error that no backend has seen yet, such as text that is no key.
    pub fn local(kind: ErrorKind, operation: &'static str) -> Self {
        Self::build(kind, None, operation)
    }

    fn build(kind: ErrorKind, backend: Option<BackendName>, operation: &'static str) -> Self {
        Self(Arc::new(Inner {
            kind,
            backend,
            operation,
            key: None,
            detail: None,
            transient: None,
            source: None,
        }))
    }

    /// Names the key.
    #[must_use]
    pub fn with_key(self, key: &Key) -> Self {
        self.with(|inner| inner.key = Some(key.clone()))
    }

    /// Names the key where none is named yet.
    #[must_use]
    pub fn or_key(self, key: &Key) -> Self {
        if self.0.key.is_some() { self } else { self.with_key(key) }
    }

    /// Adds what happened exactly and what to do about it. Never put a value or a secret here.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        self.with(|inner| inner.detail = Some(detail))
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = Arc::from(source.into());
        self.with(|inner| inner.source = Some(source))
    }

    /// Overrides what [`is_transient`](Self::is_transient) would say by the kind alone.
    #[must_use]
    pub fn with_transient(self, transient: bool) -> Self {
        self.with(|inner| inner.transient = Some(transient))
    }

    /// Names the backend and the operation of an error that was made with [`Error::local`].
    ///
    /// An error that already has a backend keeps both.
    #[must_use]
    pub fn in_operation(self, backend: BackendName, operation: &'static str) -> Self {
        if self.0.backend.is_some() {
            return self;
        }
        self.with(|inner| {
            inner.backend = Some(backend);
            inner.operation = operation;
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Why it failed.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The backend that reported it, if one was involved.
    pub fn backend(&self) -> Option<BackendName> {
        self.0.backend
    }

    /// The operation, such as `put` or `list`.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The key, where one was involved.
    pub fn key(&self) -> Option<&Key> {
        self.0.key.as_ref()
    }

    /// Whether the store is surely as it was before the call.
    ///
    /// False for [`ErrorKind::OutcomeUnknown`] and for nothing else.
    pub fn changed_nothing(&self) -> bool {
        self.0.kind != ErrorKind::OutcomeUnknown
    }

    /// Whether the same call can succeed later without anybody correcting anything.
    ///
    /// True when a server was not reachable or late, or a lock was held. False for an unknown
    /// outcome: look first, then decide.
    pub fn is_transient(&self) -> bool {
        self.0.transient.unwrap_or(matches!(
            self.0.kind,
            ErrorKind::NotReachable | ErrorKind::Timeout | ErrorKind::CannotLock
        ))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(backend) = inner.backend {
            write!(f, "{backend} ")?;
        }
        f.write_str(inner.operation)?;
        if let Some(key) = &inner.key {
            write!(f, " {key}")?;
        }
        write!(f, ": {}", inner.kind)?;
        match &inner.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("text", &self.to_string())
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETCD: BackendName = BackendName::new("etcd");

    #[test]
    fn text_names_store_operation_key_and_kind_but_not_the_cause() {
        let key = Key::new("config/db").unwrap();
        let error = Error::new(ErrorKind::NotReachable, ETCD, "put")
            .with_key(&key)
            .with_source("tcp connect error: refused");
        assert_eq!(error.to_string(), "etcd put config/db: not reachable");
        assert_eq!(error.source().unwrap().to_string(), "tcp connect error: refused");
    }

    #[test]
    fn only_an_unknown_outcome_may_have_changed_something() {
        for kind in [ErrorKind::Timeout, ErrorKind::Other, ErrorKind::LockLost] {
            assert!(Error::new(kind, ETCD, "put").changed_nothing(), "{kind}");
        }
        assert!(!Error::new(ErrorKind::OutcomeUnknown, ETCD, "put").changed_nothing());
    }

    #[test]
    fn wrong_credentials_are_not_transient_and_a_silent_server_is() {
        assert!(!Error::new(ErrorKind::PermissionDenied, ETCD, "get").is_transient());
        assert!(Error::new(ErrorKind::Timeout, ETCD, "get").is_transient());
        let wrong_ca = Error::new(ErrorKind::NotReachable, ETCD, "open").with_transient(false);
        assert!(!wrong_ca.is_transient());
    }

    #[test]
    fn a_backend_adds_itself_to_a_local_error_once() {
        let local = Error::local(ErrorKind::InvalidKey, "key").with_detail("empty");
        let named = local.in_operation(ETCD, "put").in_operation(BackendName::new("zk"), "get");
        assert_eq!(named.to_string(), "etcd put: invalid key: empty");
    }
}
