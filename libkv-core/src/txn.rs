use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use crate::{Error, ErrorKind, Fence, IntoKey, Key, Lifetime, Result, Version};

/// Compares and writes over several keys that happen together or not at all.
///
/// The compares see the state before the transaction. Each key is written at most once; deleting
/// an absent key is nothing. A failed compare is an error that names its key, and changes nothing.
///
/// ```
/// use libkv_core::Txn;
///
/// let move_key = Txn::new()
///     .require_exists("queue/1")?
///     .require_absent("done/1")?
///     .delete("queue/1")?
///     .put("done/1", "result")?;
/// assert_eq!(move_key.writes().len(), 2);
/// # Ok::<(), libkv_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Txn {
    compares: Vec<Compare>,
    fences: Vec<Fence>,
    writes: Vec<TxnWrite>,
    deadline: Option<Instant>,
}

/// What must be true of one key before a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compare {
    /// The key that is looked at.
    pub key: Key,
    /// What it must be.
    pub condition: Condition,
}

/// The state that a [`Compare`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// The key does not exist; otherwise the transaction ends with `KeyExists`.
    Absent,
    /// The key exists; otherwise `KeyNotFound`.
    Exists,
    /// The key has this version; otherwise `KeyModified`, or `KeyNotFound` where it is absent.
    Version(Version),
}

/// One write of a transaction.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TxnWrite {
    /// Puts a key.
    Put {
        /// The key.
        key: Key,
        /// Its new value.
        value: Bytes,
        /// How long it lives.
        lifetime: Lifetime,
    },
    /// Deletes a key, if it is there.
    Delete {
        /// The key.
        key: Key,
    },
}

impl TxnWrite {
    /// The key that is written.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// The length of the value; 0 for a delete.
    pub fn value_bytes(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.len(),
            Self::Delete { .. } => 0,
        }
    }
}

/// Shows the length of the value and never the value.
impl fmt::Debug for TxnWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value, lifetime } => {
                write!(f, "Put({key}, {} bytes, {lifetime:?})", value.len())
            }
            Self::Delete { key } => write!(f, "Delete({key})"),
        }
    }
}

/// What a transaction that happened leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxnOutcome {
    /// The store's index right after the transaction.
    pub index: u64,
    /// The new version of each put, in the order of the writes; deletes have none.
    pub versions: Vec<Version>,
}

impl TxnOutcome {
    /// Puts an outcome together, as a backend does.
    pub fn new(index: u64, versions: Vec<Version>) -> Self {
        Self { index, versions }
    }
}

impl Txn {
    /// Begins an empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires that `key` does not exist.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`], as for every method that takes a key.
    pub fn require_absent(self, key: impl IntoKey) -> Result<Self> {
        self.require(key, Condition::Absent)
    }

    /// Requires that `key` exists.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`].
    pub fn require_exists(self, key: impl IntoKey) -> Result<Self> {
        self.require(key, Condition::Exists)
    }

    /// Requires that `key` still has this version.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`].
    pub fn require_version(self, key: impl IntoKey, version: Version) -> Result<Self> {
        self.require(key, Condition::Version(version))
    }

    /// Requires that the lock is held; otherwise the transaction ends with `LockLost`.
    #[must_use]
    pub fn fence(mut self, fence: Fence) -> Self {
        self.fences.push(fence);
        self
    }

    /// Puts a permanent key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`], also where the transaction writes this key already.
    pub fn put(self, key: impl IntoKey, value: impl Into<Bytes>) -> Result<Self> {
        self.put_with(key, value, Lifetime::Permanent)
    }

    /// Puts a key with a lifetime.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`], also where the transaction writes this key already.
    pub fn put_with(
        self,
        key: impl IntoKey,
        value: impl Into<Bytes>,
        lifetime: Lifetime,
    ) -> Result<Self> {
        let key = key.into_key()?;
        self.write(TxnWrite::Put { key, value: value.into(), lifetime })
    }

    /// Deletes a key, if it is there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`], also where the transaction writes this key already.
    pub fn delete(self, key: impl IntoKey) -> Result<Self> {
        let key = key.into_key()?;
        self.write(TxnWrite::Delete { key })
    }

    /// Sets when to give up, instead of the store's `operation_timeout`.
    #[must_use]
    pub fn with_deadline(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// The compares, in the order they were asked for.
    pub fn compares(&self) -> &[Compare] {
        &self.compares
    }

    /// The fences.
    pub fn fences(&self) -> &[Fence] {
        &self.fences
    }

    /// The writes, in the order they were asked for.
    pub fn writes(&self) -> &[TxnWrite] {
        &self.writes
    }

    /// When to give up, if the caller said so.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How many compares, fences and writes there are in all.
    pub fn ops(&self) -> usize {
        self.compares.len() + self.fences.len() + self.writes.len()
    }

    /// How many bytes the keys and values of the writes have together.
    pub fn bytes(&self) -> usize {
        self.writes.iter().map(|write| write.key().as_str().len() + write.value_bytes()).sum()
    }

    /// Takes the transaction apart, as a backend does.
    pub fn into_parts(self) -> (Vec<Compare>, Vec<Fence>, Vec<TxnWrite>) {
        (self.compares, self.fences, self.writes)
    }

    fn require(mut self, key: impl IntoKey, condition: Condition) -> Result<Self> {
        let key = key.into_key()?;
        key.not_root("txn")?;
        self.compares.push(Compare { key, condition });
        Ok(self)
    }

    fn write(mut self, write: TxnWrite) -> Result<Self> {
        let key = write.key().not_root("txn")?;
        if self.writes.iter().any(|earlier| earlier.key() == key) {
            return Err(Error::local(ErrorKind::InvalidKey, "txn")
                .with_key(key)
                .with_detail("written twice in one transaction; keep the last write only"));
        }
        self.writes.push(write);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_written_twice_and_the_root_are_refused_with_the_key() {
        let error = Txn::new().put("a", "1").unwrap().delete("/a/").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
        assert_eq!(error.key().unwrap().as_str(), "a");
        let error = Txn::new().require_exists("/").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
    }

    #[test]
    fn counts_what_limits_are_about() {
        let txn = Txn::new()
            .require_absent("a")
            .and_then(|txn| txn.put("a", "12345"))
            .and_then(|txn| txn.put("bb", "1"))
            .and_then(|txn| txn.delete("ccc"))
            .unwrap();
        assert_eq!((txn.ops(), txn.bytes()), (4, 12));
    }

    #[test]
    fn debug_hides_values() {
        let debug = format!("{:?}", Txn::new().put("a", "secret").unwrap());
        assert!(debug.contains("6 bytes") && !debug.contains("secret"), "{debug}");
    }
}
