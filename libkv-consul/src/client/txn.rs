//! Several operations that happen together or not at all.

use std::cmp::Ordering;
use std::fmt;
use std::io;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::entry::{Entry, Malformed, Raw};

/// What a server takes as the body of a transaction, unless told otherwise.
pub(crate) const LONGEST_BODY: usize = 512 << 10;

/// One operation of a transaction.
#[derive(Clone)]
pub(crate) enum Op {
    Set {
        name: String,
        value: Bytes,
        flags: u64,
    },
    /// Writes the key and gives it to a session; fails if another has it.
    Lock {
        name: String,
        value: Bytes,
        flags: u64,
        session: String,
    },
    /// Writes the key and takes it from a session; fails if it is not that one's.
    Unlock {
        name: String,
        value: Bytes,
        flags: u64,
        session: String,
    },
    /// Fails if the key is absent.
    Get {
        name: String,
    },
    CheckIndex {
        name: String,
        index: u64,
    },
    /// An empty session stands for none. Fails if the key is absent.
    CheckSession {
        name: String,
        session: String,
    },
    CheckNotExists {
        name: String,
    },
    /// Deleting an absent key is nothing.
    Delete {
        name: String,
    },
    DeleteTree {
        prefix: String,
    },
}

impl Op {
    fn name(&self) -> &str {
        match self {
            Self::Set { name, .. }
            | Self::Lock { name, .. }
            | Self::Unlock { name, .. }
            | Self::Get { name }
            | Self::CheckIndex { name, .. }
            | Self::CheckSession { name, .. }
            | Self::CheckNotExists { name }
            | Self::Delete { name } => name,
            Self::DeleteTree { prefix } => prefix,
        }
    }

    fn verb(&self) -> &'static str {
        match self {
            Self::Set { .. } => "set",
            Self::Lock { .. } => "lock",
            Self::Unlock { .. } => "unlock",
            Self::Get { .. } => "get",
            Self::CheckIndex { .. } => "check-index",
            Self::CheckSession { .. } => "check-session",
            Self::CheckNotExists { .. } => "check-not-exists",
            Self::Delete { .. } => "delete",
            Self::DeleteTree { .. } => "delete-tree",
        }
    }

    /// What the server tells of it when it is done.
    fn result(&self) -> OpResult {
        match self {
            Self::Set { .. } | Self::Lock { .. } | Self::Unlock { .. } | Self::Get { .. } => {
                OpResult::Entry
            }
            Self::CheckIndex { .. } | Self::CheckSession { .. } => OpResult::Passed,
            Self::CheckNotExists { .. } | Self::Delete { .. } | Self::DeleteTree { .. } => {
                OpResult::None
            }
        }
    }

    /// Whether it changes something. Consul takes a transaction without these for a read.
    pub(crate) fn writes(&self) -> bool {
        !matches!(
            self,
            Self::Get { .. }
                | Self::CheckIndex { .. }
                | Self::CheckSession { .. }
                | Self::CheckNotExists { .. }
        )
    }

    fn value(&self) -> Option<(&Bytes, u64)> {
        match self {
            Self::Set { value, flags, .. }
            | Self::Lock { value, flags, .. }
            | Self::Unlock { value, flags, .. } => Some((value, *flags)),
            _ => None,
        }
    }

    fn session(&self) -> Option<&str> {
        match self {
            Self::Lock { session, .. }
            | Self::Unlock { session, .. }
            | Self::CheckSession { session, .. } => Some(session),
            _ => None,
        }
    }
}

/// Shows the length of a value and never the value.
impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.verb(), self.name())?;
        if let Self::CheckIndex { index, .. } = self {
            write!(f, " index {index}")?;
        }
        if let Some((value, flags)) = self.value() {
            write!(f, " {} bytes flags {flags}", value.len())?;
        }
        match self.session() {
            Some(session) => write!(f, " session {session:?}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut one = serializer.serialize_struct("Op", 1)?;
        one.serialize_field("KV", &Kv(self))?;
        one.end()
    }
}

struct Kv<'a>(&'a Op);

impl Serialize for Kv<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut kv = serializer.serialize_struct("KV", 5)?;
        kv.serialize_field("Verb", self.0.verb())?;
        kv.serialize_field("Key", self.0.name())?;
        if let Some((value, flags)) = self.0.value() {
            kv.serialize_field("Value", &Base64(value))?;
            kv.serialize_field("Flags", &flags)?;
        }
        if let Op::CheckIndex { index, .. } = self.0 {
            kv.serialize_field("Index", index)?;
        }
        if let Some(session) = self.0.session() {
            kv.serialize_field("Session", session)?;
        }
        kv.end()
    }
}

struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

/// The body of a transaction.
pub(crate) fn body(ops: &[Op]) -> Vec<u8> {
    let mut body = Vec::with_capacity(body_bytes(ops));
    write(ops, &mut body);
    body
}

/// How long the body of a transaction is.
pub(crate) fn body_bytes(ops: &[Op]) -> usize {
    let mut counted = Counted(0);
    write(ops, &mut counted);
    counted.0
}

fn write(ops: &[Op], to: impl io::Write) {
    // Neither the operations nor what they are written to can fail.
    let _ = serde_json::to_writer(to, ops);
}

struct Counted(usize);

impl io::Write for Counted {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0 += piece.len();
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the server tells of an operation that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpResult {
    Entry,
    /// An entry that says nothing but that a check has passed.
    Passed,
    None,
}

/// What a transaction came to.
#[derive(Debug)]
pub(crate) enum TxnReply {
    /// It happened. There is an entry for each operation that sets, locks, unlocks or gets, in their
    /// order; only those that get have a value.
    Done(Vec<Entry>),
    /// Nothing happened, for these reasons.
    Refused(Vec<Refusal>),
}

/// Why an operation was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Its place in the transaction.
    pub(crate) op: usize,
    /// The server's words.
    pub(crate) what: String,
}

impl TxnReply {
    /// Reads the answer to these operations; none if it leaves out a result, as of a key that the
    /// token may not read.
    pub(crate) fn parse(ops: &[Op], status: u16, body: &[u8]) -> Result<Option<Self>, Malformed> {
        if status == 409 {
            let reply: Errors = serde_json::from_slice(body)?;
            let refusal = |error: RawError| Refusal { op: error.op_index, what: error.what };
            return Ok(Some(Self::Refused(reply.errors.into_iter().map(refusal).collect())));
        }
        let reply: Results<'_> = serde_json::from_slice(body)?;
        let results = reply.results.unwrap_or_default();
        let kvs: Vec<_> = results.into_iter().filter_map(|result| result.kv).collect();
        let told: Vec<_> = ops.iter().filter(|op| op.result() != OpResult::None).collect();
        match kvs.len().cmp(&told.len()) {
            Ordering::Less => return Ok(None),
            Ordering::Equal => {}
            Ordering::Greater => return Err("more results than operations".into()),
        }
        let mut entries = Vec::with_capacity(kvs.len());
        for (op, kv) in told.into_iter().zip(kvs) {
            let entry = kv.into_entry()?;
            if entry.name != op.name() {
                return Err("a result of another key".into());
            }
            if op.result() == OpResult::Entry {
                entries.push(entry);
            }
        }
        Ok(Some(Self::Done(entries)))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Results<'a> {
    #[serde(borrow)]
    results: Option<Vec<RawResult<'a>>>,
}

#[derive(Deserialize)]
struct RawResult<'a> {
    #[serde(borrow, rename = "KV")]
    kv: Option<Raw<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Errors {
    errors: Vec<RawError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawError {
    op_index: usize,
    what: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(ops: &[Op], names: &[&str]) -> Result<Option<TxnReply>, Malformed> {
        let kv =
            |name: &&str| format!(r#"{{"KV":{{"Key":"{name}","Value":null,"ModifyIndex":1}}}}"#);
        let results: Vec<_> = names.iter().map(kv).collect();
        let body = format!(r#"{{"Results":[{}],"Errors":null}}"#, results.join(","));
        TxnReply::parse(ops, 200, body.as_bytes())
    }

    #[test]
    fn only_what_was_written_or_read_is_told() {
        let named = |name: &str| name.to_owned();
        let ops = [
            Op::CheckSession { name: named("a"), session: named("s") },
            Op::CheckNotExists { name: named("b") },
            Op::CheckIndex { name: named("c"), index: 1 },
            Op::Set { name: named("d"), value: Bytes::new(), flags: 0 },
            Op::Delete { name: named("e") },
            Op::Get { name: named("f") },
        ];
        let Some(TxnReply::Done(entries)) = parse(&ops, &["a", "c", "d", "f"]).unwrap() else {
            panic!("it is done");
        };
        assert_eq!(entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["d", "f"]);
        assert!(parse(&ops, &["a", "c", "d"]).unwrap().is_none());
        for wrong in [&["a", "c", "f", "d"][..], &["a", "c", "d", "f", "f"]] {
            assert!(parse(&ops, wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn no_value_is_printed() {
        let op = Op::Set { name: "a".to_owned(), value: "hunter2".into(), flags: 3 };
        assert_eq!(format!("{op:?}"), "set \"a\" 7 bytes flags 3");
    }
}
