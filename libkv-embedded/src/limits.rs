use std::time::Duration;

use libkv_core::{BackendName, Capabilities, Result, TtlLimits};

const MAX_VALUE_BYTES: usize = 1 << 20;
const MAX_TXN_OPS: usize = 128;
const MAX_TXN_BYTES: usize = 4 << 20;
const SHORTEST_TTL: Duration = Duration::from_millis(1);
const SHORTEST_LOCK_TTL: Duration = Duration::from_millis(100);
const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const DEFAULT_LOCK_TTL: Duration = Duration::from_secs(15);
/// Room for a process that is busy when something is due.
const TTL_SLACK: Duration = Duration::from_secs(1);

/// Checks a value's length before anything is done.
pub(crate) fn check_value(
    bytes: usize,
    backend: BackendName,
    operation: &'static str,
) -> Result<()> {
    limits().check_value(bytes, backend, operation)
}

/// What a write and a transaction may carry.
pub(crate) fn limits() -> Capabilities {
    Capabilities::new(MAX_VALUE_BYTES, MAX_TXN_OPS, MAX_TXN_BYTES)
}

/// The times to live of keys.
pub(crate) fn key_limits() -> TtlLimits {
    TtlLimits::new(SHORTEST_TTL, LONGEST_TTL, SHORTEST_TTL, TTL_SLACK)
}

/// The times to live of locks.
pub(crate) fn lock_limits() -> TtlLimits {
    TtlLimits::new(SHORTEST_LOCK_TTL, LONGEST_TTL, DEFAULT_LOCK_TTL, TTL_SLACK)
}
