use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{Fence, Key, Version};

/// What a write expects to find, checked by the server together with the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Expect {
    /// Whatever is there.
    #[default]
    Anything,
    /// No such key.
    Absent,
    /// This very state of the key.
    Version(Version),
}

/// How long a put key is to live. Every put states it anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Lifetime {
    /// Until it is deleted.
    #[default]
    Permanent,
    /// As long as this handle's session.
    Ephemeral,
    /// At least this long, and at most as long as the backend's
    /// [`TtlLimits::bound`](crate::TtlLimits::bound) says, unless put again.
    Ttl(Duration),
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Consistency {
    /// Sees every write that was acknowledged before the read began.
    #[default]
    Linearizable,
    /// What the server at hand knows, which may be old.
    Local,
}

/// What to do with stored names that no [`Key`] can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Foreign {
    /// Leave them out, and count them in a warning.
    #[default]
    Skip,
    /// End with an error.
    Fail,
}

/// How long to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Wait {
    /// Until it is free.
    #[default]
    Forever,
    /// Not at all.
    Never,
    /// At most this long.
    AtMost(Duration),
}

/// Options of a get.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GetOptions {
    /// How fresh the answer must be.
    pub consistency: Consistency,
    /// Leave the value at the server; the pair's value is then empty.
    pub keys_only: bool,
    /// When to give up, instead of the store's `operation_timeout`.
    pub deadline: Option<Instant>,
}

/// Options of a put.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct WriteOptions {
    /// What must be there for the write to happen.
    pub expect: Expect,
    /// How long the key lives after this write.
    pub lifetime: Lifetime,
    /// The lock that must still be held for the write to happen.
    pub fence: Option<Fence>,
    /// When to give up, instead of the store's `operation_timeout`.
    pub deadline: Option<Instant>,
}

/// Options of a delete.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DeleteOptions {
    /// What must be there for the delete to happen.
    pub expect: Expect,
    /// The lock that must still be held for the delete to happen.
    pub fence: Option<Fence>,
    /// When to give up, instead of the store's `operation_timeout`.
    pub deadline: Option<Instant>,
}

/// Options of a delete of a whole tree.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DeleteTreeOptions {
    /// The lock that must still be held; only where the backend deletes a tree atomically.
    pub fence: Option<Fence>,
    /// When to give up, instead of the store's `operation_timeout`.
    pub deadline: Option<Instant>,
}

/// Options of a listing.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ListOptions {
    /// Only stored keys at most this many levels below the directory.
    pub depth: Option<usize>,
    /// Leave the values at the server; versions may then be unknown.
    pub keys_only: bool,
    /// At most this many pairs.
    pub limit: Option<usize>,
    /// Only keys that sort after this one: the last key of the page before.
    pub start_after: Option<Key>,
    /// What to do with names that are no keys.
    pub foreign: Foreign,
    /// How fresh the listing must be.
    pub consistency: Consistency,
    /// When to give up, instead of the store's `operation_timeout` for each page.
    pub deadline: Option<Instant>,
}

/// Options of a watch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WatchOptions {
    /// Begin with the current state as puts. Without it the stream begins with `Synced`.
    pub initial: bool,
    /// Begin with the changes after this index instead, where the backend keeps history.
    pub from: Option<u64>,
    /// How many events wait for a slow consumer before it gets `Resync(Lagged)`.
    pub buffer: usize,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { initial: true, from: None, buffer: 1024 }
    }
}

/// Options of a lock.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct LockOptions {
    /// What the locked key holds while the lock is held. Without it the key is left alone.
    pub value: Option<Bytes>,
    /// How long the lock outlives a silent holder; `None` takes the backend's default.
    pub ttl: Option<Duration>,
    /// How long to wait for it.
    pub wait: Wait,
}

/// Shows the length of the value and never the value.
impl fmt::Debug for LockOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockOptions")
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("ttl", &self.ttl)
            .field("wait", &self.wait)
            .finish()
    }
}

impl From<Expect> for WriteOptions {
    fn from(expect: Expect) -> Self {
        Self { expect, ..Self::default() }
    }
}

impl From<Lifetime> for WriteOptions {
    fn from(lifetime: Lifetime) -> Self {
        Self { lifetime, ..Self::default() }
    }
}

impl From<Expect> for DeleteOptions {
    fn from(expect: Expect) -> Self {
        Self { expect, ..Self::default() }
    }
}

impl GetOptions {
    /// Sets how fresh the answer must be.
    #[must_use]
    pub fn with_consistency(self, consistency: Consistency) -> Self {
        Self { consistency, ..self }
    }

    /// Leaves the value at the server.
    #[must_use]
    pub fn with_keys_only(self) -> Self {
        Self { keys_only: true, ..self }
    }

    /// Sets when to give up.
    #[must_use]
    pub fn with_deadline(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }
}

impl WriteOptions {
    /// Sets what must be there.
    #[must_use]
    pub fn with_expect(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }

    /// Sets how long the key lives.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Lifetime) -> Self {
        Self { lifetime, ..self }
    }

    /// Makes the key end on its own, `ttl` after this put at the earliest.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        self.with_lifetime(Lifetime::Ttl(ttl))
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

impl DeleteOptions {
    /// Sets what must be there.
    #[must_use]
    pub fn with_expect(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }

    /// Makes the delete happen only while the lock is held.
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

impl DeleteTreeOptions {
    /// Makes the delete happen only while the lock is held.
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

impl ListOptions {
    /// Keeps only stored keys at most `depth` levels below the directory.
    #[must_use]
    pub fn with_depth(self, depth: usize) -> Self {
        Self { depth: Some(depth), ..self }
    }

    /// Leaves the values at the server.
    #[must_use]
    pub fn with_keys_only(self) -> Self {
        Self { keys_only: true, ..self }
    }

    /// Ends after `limit` pairs.
    #[must_use]
    pub fn with_limit(self, limit: usize) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Begins after this key, which need not exist.
    #[must_use]
    pub fn with_start_after(self, key: Key) -> Self {
        Self { start_after: Some(key), ..self }
    }

    /// Sets what to do with names that are no keys.
    #[must_use]
    pub fn with_foreign(self, foreign: Foreign) -> Self {
        Self { foreign, ..self }
    }

    /// Sets how fresh the listing must be.
    #[must_use]
    pub fn with_consistency(self, consistency: Consistency) -> Self {
        Self { consistency, ..self }
    }

    /// Sets when to give up.
    #[must_use]
    pub fn with_deadline(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }
}

impl WatchOptions {
    /// Leaves out the current state: the stream begins with `Synced`.
    #[must_use]
    pub fn without_initial(self) -> Self {
        Self { initial: false, ..self }
    }

    /// Begins with the changes after `index`.
    #[must_use]
    pub fn with_from(self, index: u64) -> Self {
        Self { from: Some(index), ..self }
    }

    /// Sets how many events wait for a slow consumer; at least one does.
    #[must_use]
    pub fn with_buffer(self, events: usize) -> Self {
        Self { buffer: events.max(1), ..self }
    }
}

impl LockOptions {
    /// Sets what the key holds while it is locked.
    #[must_use]
    pub fn with_value(self, value: impl Into<Bytes>) -> Self {
        Self { value: Some(value.into()), ..self }
    }

    /// Sets how long the lock outlives a silent holder.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// Sets how long to wait.
    #[must_use]
    pub fn with_wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }
}
