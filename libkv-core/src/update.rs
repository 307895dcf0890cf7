use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    Backoff, DeleteOptions, Error, ErrorKind, Expect, Fence, GetOptions, Key, KvPair, Lifetime,
    LifetimeKind, Result, Store, WriteOptions,
};

/// Waits between two tries, so that many writers of one key do not run in step.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// What an update makes of a key. Anything that becomes [`Bytes`] is a put.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Write this value.
    Put(Bytes),
    /// Delete the key.
    Delete,
    /// Leave it as it is.
    Keep,
}

impl<V: Into<Bytes>> From<V> for Change {
    fn from(value: V) -> Self {
        Self::Put(value.into())
    }
}

/// Shows the length of the value and never the value.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(value) => write!(f, "Put({} bytes)", value.len()),
            Self::Delete => f.write_str("Delete"),
            Self::Keep => f.write_str("Keep"),
        }
    }
}

/// Options of [`StoreExt::update`](crate::StoreExt::update).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UpdateOptions {
    /// How often to try in all before ending with `KeyModified`.
    pub tries: usize,
    /// How long the key lives after the write.
    pub lifetime: Lifetime,
    /// The lock that must still be held for the write to happen.
    pub fence: Option<Fence>,
    /// When to give up, instead of the store's `operation_timeout` for each exchange.
    pub deadline: Option<Instant>,
}

impl Default for UpdateOptions {
    fn default() -> Self {
        Self { tries: 64, lifetime: Lifetime::Permanent, fence: None, deadline: None }
    }
}

impl UpdateOptions {
    /// Sets how often to try in all; at least once.
    #[must_use]
    pub fn with_tries(self, tries: usize) -> Self {
        Self { tries: tries.max(1), ..self }
    }

    /// Sets how long the key lives after the write.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Lifetime) -> Self {
        Self { lifetime, ..self }
    }

    /// Makes the write happen only while the lock is held.
    #[must_use]
    pub fn with_fence(self, fence: Fence) -> Self {
        Self { fence: Some(fence), ..self }
    }

    /// Sets when to give up.
    #[must_use]
    pub fn with_deadline(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }
}

/// Read, change, write back with the version; again on conflict.
pub(crate) async fn update<S: Store + ?Sized, C: Into<Change>>(
    store: &S,
    key: &Key,
    options: UpdateOptions,
    mut change: impl FnMut(Option<&KvPair>) -> C + Send,
) -> Result<Option<KvPair>> {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    for _ in 0..options.tries.max(1) {
        let read = GetOptions { deadline: options.deadline, ..GetOptions::default() };
        let current = match store.get_opts(key, read).await {
            Ok(pair) => Some(pair),
            Err(error) if error.kind() == ErrorKind::KeyNotFound => None,
            Err(error) => return Err(error),
        };
        let change = change(current.as_ref()).into();
        match apply(store, key, &options, current, change).await {
            Err(error) if is_conflict(&error) => {}
            ended => return ended,
        }
        tokio::time::sleep(backoff.next_jittered()).await;
    }
    Err(Error::new(ErrorKind::KeyModified, store.backend(), "update")
        .with_key(key)
        .with_detail(format!("others wrote it during each of {} tries", options.tries.max(1))))
}

async fn apply<S: Store + ?Sized>(
    store: &S,
    key: &Key,
    options: &UpdateOptions,
    current: Option<KvPair>,
    change: Change,
) -> Result<Option<KvPair>> {
    let expect = current.as_ref().map_or(Expect::Absent, |pair| Expect::Version(pair.version));
    match (change, current) {
        (Change::Keep, current) => Ok(current),
        (Change::Delete, None) => Ok(None),
        (Change::Delete, Some(_)) => {
            let opts =
                DeleteOptions { expect, fence: options.fence.clone(), deadline: options.deadline };
            store.delete_opts(key, opts).await?;
            Ok(None)
        }
        (Change::Put(value), _) => {
            let opts = WriteOptions {
                expect,
                lifetime: options.lifetime,
                fence: options.fence.clone(),
                deadline: options.deadline,
            };
            let version = store.put_opts(key, value.clone(), opts).await?;
            let lifetime = match options.lifetime {
                Lifetime::Permanent => LifetimeKind::Permanent,
                Lifetime::Ephemeral => LifetimeKind::Ephemeral,
                Lifetime::Ttl(_) => LifetimeKind::Ttl,
            };
            Ok(Some(KvPair::new(key.clone(), value, version, lifetime)))
        }
    }
}

fn is_conflict(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::KeyModified | ErrorKind::KeyExists | ErrorKind::KeyNotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_change_hides_the_value() {
        assert_eq!(format!("{:?}", Change::from("secret")), "Put(6 bytes)");
        assert_eq!(format!("{:?} {:?}", Change::Delete, Change::Keep), "Delete Keep");
    }
}
