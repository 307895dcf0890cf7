use std::time::Duration;

use crate::{BackendName, Error, ErrorKind, Result, Txn};

/// What a store can do, as facts. Each one holds for the handle that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Keys with a time limit, and its limits.
    pub ttl: Option<TtlLimits>,
    /// Locks with a time limit of their own, and its limits.
    pub lock_ttl: Option<TtlLimits>,
    /// A listing shows one point in time.
    pub atomic_list: bool,
    /// A tree is deleted at one point in time.
    pub atomic_delete_tree: bool,
    /// Between two `Resync`s a watch delivers every change.
    pub watches_every_version: bool,
    /// A watch can begin at an index of the past.
    pub history: bool,
    /// Waiters get a lock in the order in which they asked.
    pub fair_locks: bool,
    /// A key with keys below it may hold an empty value.
    pub empty_values_on_parents: bool,
    /// Keys and locks may be made below an ephemeral key.
    pub children_of_ephemeral: bool,
    /// The longest value that every form of write carries, in bytes.
    pub max_value_bytes: usize,
    /// The most compares, fences and writes of one transaction, counted together.
    pub max_txn_ops: usize,
    /// The most bytes of keys and values in one transaction.
    pub max_txn_bytes: usize,
}

/// The limits of a time to live, and what becomes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TtlLimits {
    /// The shortest that is accepted.
    pub min: Duration,
    /// The longest that is accepted.
    pub max: Duration,
    /// What it is rounded up to a multiple of.
    pub unit: Duration,
    /// How many times itself it may last; see [`bound`](Self::bound).
    pub factor: u32,
    /// How much longer still; see [`bound`](Self::bound).
    pub slack: Duration,
    /// What is taken where none is given.
    pub default: Duration,
}

impl Capabilities {
    /// The least that a backend can have: no extras, and the limits given.
    pub fn new(max_value_bytes: usize, max_txn_ops: usize, max_txn_bytes: usize) -> Self {
        Self {
            ttl: None,
            lock_ttl: None,
            atomic_list: false,
            atomic_delete_tree: false,
            watches_every_version: false,
            history: false,
            fair_locks: false,
            empty_values_on_parents: false,
            children_of_ephemeral: false,
            max_value_bytes,
            max_txn_ops,
            max_txn_bytes,
        }
    }

    /// Checks the length of a value before it is sent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`].
    pub fn check_value(
        &self,
        bytes: usize,
        backend: BackendName,
        operation: &'static str,
    ) -> Result<()> {
        check_limit("value has", bytes, self.max_value_bytes, "bytes", backend, operation)
    }

    /// Checks a transaction's sizes before it is sent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`].
    pub fn check_txn(&self, txn: &Txn, backend: BackendName) -> Result<()> {
        const TXN: &str = "txn";
        check_limit("transaction has", txn.ops(), self.max_txn_ops, "operations", backend, TXN)?;
        check_limit("transaction has", txn.bytes(), self.max_txn_bytes, "bytes", backend, TXN)?;
        txn.writes().iter().try_for_each(|write| {
            let checked = self.check_value(write.value_bytes(), backend, TXN);
            checked.map_err(|error| error.with_key(write.key()))
        })
    }
}

fn check_limit(
    what: &str,
    count: usize,
    limit: usize,
    unit: &str,
    backend: BackendName,
    operation: &'static str,
) -> Result<()> {
    if count <= limit {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TooLarge, backend, operation)
        .with_detail(format!("{what} {count} {unit}, the limit is {limit}")))
}

impl TtlLimits {
    /// Limits where a time to live ends when it says, at the latest `slack` later.
    pub fn new(min: Duration, max: Duration, default: Duration, slack: Duration) -> Self {
        Self { min, max, unit: Duration::from_nanos(1), factor: 1, slack, default }
    }

    /// Sets what a time to live is rounded up to a multiple of; at least a nanosecond.
    #[must_use]
    pub fn with_unit(self, unit: Duration) -> Self {
        Self { unit: unit.max(Duration::from_nanos(1)), ..self }
    }

    /// Sets how many times itself a time to live may last.
    #[must_use]
    pub fn with_factor(self, factor: u32) -> Self {
        Self { factor, ..self }
    }

    /// The latest end of a time to live of `ttl`, while the server keeps its leader.
    pub fn bound(&self, ttl: Duration) -> Duration {
        self.round_up(ttl).saturating_mul(self.factor).saturating_add(self.slack)
    }

    /// Checks a time to live and rounds it up to the server's unit.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotImplemented`] outside the limits, which are in the text.
    pub fn checked(
        &self,
        ttl: Duration,
        backend: BackendName,
        operation: &'static str,
    ) -> Result<Duration> {
        if ttl < self.min || ttl > self.max {
            return Err(Error::new(ErrorKind::NotImplemented, backend, operation).with_detail(
                format!("a time to live of {ttl:?}; choose {:?} to {:?}", self.min, self.max),
            ));
        }
        Ok(self.round_up(ttl))
    }

    fn round_up(&self, ttl: Duration) -> Duration {
        let unit = self.unit.as_nanos();
        let nanos = ttl.as_nanos().div_ceil(unit) * unit;
        const PER_SECOND: u128 = 1_000_000_000;
        let seconds = u64::try_from(nanos / PER_SECOND).unwrap_or(u64::MAX);
        Duration::from_secs(seconds) + Duration::from_nanos((nanos % PER_SECOND) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSUL: BackendName = BackendName::new("consul");

    fn limits() -> TtlLimits {
        let s = Duration::from_secs;
        TtlLimits::new(s(10), s(86_400), s(15), s(1)).with_unit(s(1)).with_factor(2)
    }

    #[test]
    fn a_ttl_is_rounded_up_and_bounded() {
        for (asked, rounded, bound) in
            [(10_000, 10, 21), (10_001, 11, 23), (86_400_000, 86_400, 172_801)]
        {
            let asked = Duration::from_millis(asked);
            let given = limits().checked(asked, CONSUL, "put").unwrap();
            assert_eq!(given, Duration::from_secs(rounded));
            assert_eq!(limits().bound(asked), Duration::from_secs(bound));
        }
    }

    #[test]
    fn a_ttl_outside_the_limits_is_refused_with_the_limits() {
        for ttl in [Duration::ZERO, Duration::from_secs(9), Duration::MAX] {
            let error = limits().checked(ttl, CONSUL, "put").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotImplemented);
            assert!(error.to_string().contains("10s to 86400s"), "{error}");
        }
    }

    #[test]
    fn sizes_are_checked_at_the_limit_and_one_over() {
        let facts = Capabilities::new(5, 2, 9);
        assert!(facts.check_value(5, CONSUL, "put").is_ok());
        let error = facts.check_value(6, CONSUL, "put").unwrap_err();
        assert_eq!(error.to_string(), "consul put: too large: value has 6 bytes, the limit is 5");
        let txn = Txn::new().put("abc", "12345").unwrap();
        assert!(facts.check_txn(&txn, CONSUL).is_ok());
        let txn = txn.delete("dd").unwrap();
        assert_eq!(facts.check_txn(&txn, CONSUL).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
