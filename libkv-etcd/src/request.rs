use etcd_client::proto::{PbResponseOp, PbTxnOpResponse};
use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnResponse};
use libkv_core::{Condition, Error, ErrorKind, Expect, Fence, Key, Result, Version};

use crate::error::ETCD;
use crate::handle::{MAX_REQUEST_BYTES, MAX_TXN_OPS};
use crate::names::{Names, lease_in};

/// What must be true for a write to happen, in the server's terms, and what to read in the same
/// transaction if it is not, so that the failure can be told exactly.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    compares: Vec<Compare>,
    checks: Vec<Check>,
}

#[derive(Debug)]
struct Check {
    key: Key,
    name: Vec<u8>,
    asks: Asks,
}

#[derive(Debug, Clone, Copy)]
enum Asks {
    Held(i64),
    Absent,
    Exists,
    Version(i64),
}

/// No revision of a key is this high.
const NEVER: i64 = i64::MAX;

impl Guards {
    /// The lock must be held: its node must be the one that the guard made.
    pub(crate) fn fence(&mut self, fence: &Fence, operation: &'static str) -> Result<()> {
        let checked = fence.checked(ETCD, operation);
        let fence = checked.map_err(|error| error.with_key(fence.key()))?;
        let token = i64::try_from(fence.token().get()).unwrap_or(NEVER);
        let name = fence.node().as_bytes().to_vec();
        self.compares.push(Compare::create_revision(name.clone(), CompareOp::Equal, token));
        // Overwritten without its lease it is a node no longer, and the next holder may be in.
        if let Some(lease) = lease_in(&name) {
            self.compares.push(Compare::lease(name.clone(), CompareOp::Equal, lease));
        }
        self.checks.push(Check { key: fence.key().clone(), name, asks: Asks::Held(token) });
        Ok(())
    }

    /// The key must be as it is expected.
    pub(crate) fn expect(
        &mut self,
        names: &Names,
        key: &Key,
        expect: Expect,
        operation: &'static str,
    ) -> Result<()> {
        let asks = match expect {
            Expect::Anything => return Ok(()),
            Expect::Absent => Asks::Absent,
            Expect::Version(version) => Asks::Version(revision(version, operation)?),
            other => return Err(unknown("an expectation", &other, operation)),
        };
        self.push(names, key, asks);
        Ok(())
    }

    /// A compare of a transaction.
    pub(crate) fn condition(
        &mut self,
        names: &Names,
        key: &Key,
        condition: Condition,
    ) -> Result<()> {
        let asks = match condition {
            Condition::Absent => Asks::Absent,
            Condition::Exists => Asks::Exists,
            Condition::Version(version) => Asks::Version(revision(version, "txn")?),
            other => return Err(unknown("a compare", &other, "txn")),
        };
        self.push(names, key, asks);
        Ok(())
    }

    /// The key must be there.
    pub(crate) fn exists(&mut self, names: &Names, key: &Key) {
        self.push(names, key, Asks::Exists);
    }

    fn push(&mut self, names: &Names, key: &Key, asks: Asks) {
        let name = names.name(key);
        let compare = match asks {
            Asks::Absent => Compare::create_revision(name.clone(), CompareOp::Equal, 0),
            Asks::Exists | Asks::Held(_) => {
                Compare::create_revision(name.clone(), CompareOp::Greater, 0)
            }
            Asks::Version(revision) => {
                Compare::mod_revision(name.clone(), CompareOp::Equal, revision)
            }
        };
        self.compares.push(compare);
        // A lock's node is no key, so it does not exist.
        if let (Asks::Exists, Some(lease)) = (asks, lease_in(&name)) {
            self.compares.push(Compare::lease(name.clone(), CompareOp::NotEqual, lease));
        }
        self.checks.push(Check { key: key.clone(), name, asks });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// The transaction that does `writes` where all is as it must be.
    pub(crate) fn guard(&self, writes: Vec<TxnOp>) -> Txn {
        let look = |check: &Check| {
            TxnOp::get(check.name.clone(), Some(GetOptions::new().with_keys_only()))
        };
        let looks: Vec<TxnOp> = self.checks.iter().map(look).collect();
        Txn::new().when(self.compares.clone()).and_then(writes).or_else(looks)
    }

    /// How many bytes the guards take in a request, names counted twice.
    fn bytes(&self) -> usize {
        self.checks.iter().map(|check| 2 * (check.name.len() + OVERHEAD)).sum()
    }

    /// Which check failed, by what the server read.
    pub(crate) fn explain(&self, response: TxnResponse, operation: &'static str) -> Error {
        let found = response.0.responses.into_iter().map(found);
        let failed = self.checks.iter().zip(found).find_map(|(check, found)| {
            let kind = check.failure(found?)?;
            Some((kind, check))
        });
        let Some((kind, check)) = failed else {
            return Error::new(ErrorKind::Other, ETCD, operation)
                .with_detail("the server refused and did not say why");
        };
        let error = Error::new(kind, ETCD, operation).with_key(&check.key);
        match kind {
            ErrorKind::LockLost => error.with_detail("the fence's guard does not hold the lock"),
            _ => error,
        }
    }
}

impl Check {
    /// What is wrong with what was found: the revisions of creation and of the last change, and the
    /// lease; none of them where the key is absent.
    fn failure(&self, found: Option<(i64, i64, i64)>) -> Option<ErrorKind> {
        let is_node = |lease| lease_in(&self.name) == Some(lease);
        let visible = found.filter(|(_, _, lease)| !is_node(*lease));
        match (self.asks, found) {
            (Asks::Held(token), Some((created, _, lease)))
                if created == token && is_node(lease) =>
            {
                None
            }
            (Asks::Held(_), _) => Some(ErrorKind::LockLost),
            (Asks::Absent, Some(_)) => Some(ErrorKind::KeyExists),
            (Asks::Absent, None) => None,
            (Asks::Exists | Asks::Version(_), _) if visible.is_none() => {
                Some(ErrorKind::KeyNotFound)
            }
            (Asks::Version(wanted), Some((_, changed, _))) if changed != wanted => {
                Some(ErrorKind::KeyModified)
            }
            (Asks::Exists | Asks::Version(_), _) => None,
        }
    }
}

/// What a get of one key in a transaction found.
#[allow(clippy::option_option, reason = "no such answer, and an answer that says there is no key")]
fn found(response: PbResponseOp) -> Option<Option<(i64, i64, i64)>> {
    match response.response? {
        PbTxnOpResponse::ResponseRange(range) => {
            let kv = range.kvs.first();
            Some(kv.map(|kv| (kv.create_revision, kv.mod_revision, kv.lease)))
        }
        _ => None,
    }
}

/// The revision in a version. Where a key is absent the server compares with zero, which is no
/// version of a key.
fn revision(version: Version, operation: &'static str) -> Result<i64> {
    let index = version.checked(ETCD, operation)?.last_index();
    Ok(i64::try_from(index).ok().filter(|index| *index > 0).unwrap_or(NEVER))
}

/// Checks the size of a whole request against the server's limit.
pub(crate) fn check_request(
    writes: usize,
    bytes: usize,
    guards: &Guards,
    operation: &'static str,
) -> Result<()> {
    if guards.compares.len() > MAX_TXN_OPS {
        return Err(Error::new(ErrorKind::TooLarge, ETCD, operation).with_detail(format!(
            "{} compares, where names like those of locks count twice; the server takes \
             {MAX_TXN_OPS}",
            guards.compares.len()
        )));
    }
    let whole = bytes + writes * OVERHEAD + guards.bytes() + OVERHEAD;
    if whole <= MAX_REQUEST_BYTES {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TooLarge, ETCD, operation).with_detail(format!(
        "the request with its keys and compares has about {whole} bytes, the server takes \
         {MAX_REQUEST_BYTES}"
    )))
}

/// What an operation has in a request besides keys and values.
const OVERHEAD: usize = 64;

pub(crate) fn unknown(what: &str, value: &dyn std::fmt::Debug, operation: &'static str) -> Error {
    Error::new(ErrorKind::NotImplemented, ETCD, operation)
        .with_detail(format!("{what} of {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, asks: Asks) -> Check {
        Check { key: Key::new("k").unwrap(), name: name.into(), asks }
    }

    #[test]
    fn a_failure_is_told_by_what_was_found() {
        use ErrorKind::{KeyExists, KeyModified, KeyNotFound, LockLost};
        for (asks, found, expected) in [
            (Asks::Held(5), Some((5, 6, 0xab)), None),
            (Asks::Held(5), Some((6, 6, 0xab)), Some(LockLost)),
            (Asks::Held(5), Some((5, 6, 0)), Some(LockLost)),
            (Asks::Held(5), None, Some(LockLost)),
            (Asks::Absent, None, None),
            (Asks::Absent, Some((1, 1, 0)), Some(KeyExists)),
            (Asks::Exists, Some((1, 1, 0)), None),
            (Asks::Exists, None, Some(KeyNotFound)),
            (Asks::Version(3), Some((1, 3, 0)), None),
            (Asks::Version(3), Some((1, 4, 0)), Some(KeyModified)),
            (Asks::Version(3), None, Some(KeyNotFound)),
            // It is there, and it is a lock's node.
            (Asks::Exists, Some((1, 1, 0xab)), Some(KeyNotFound)),
            (Asks::Version(3), Some((1, 3, 0xab)), Some(KeyNotFound)),
            (Asks::Absent, Some((1, 1, 0xab)), Some(KeyExists)),
        ] {
            assert_eq!(check("k/ab", asks).failure(found), expected, "{asks:?} {found:?}");
        }
    }

    #[test]
    fn zero_is_the_version_of_no_key() {
        assert_eq!(revision(Version::new(ETCD, 0), "put").unwrap(), NEVER);
        assert_eq!(revision(Version::new(ETCD, u64::MAX), "put").unwrap(), NEVER);
        assert_eq!(revision(Version::new(ETCD, 7), "put").unwrap(), 7);
    }
}
