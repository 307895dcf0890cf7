//! The JSON forms, each field in the order in which it is printed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use libkv::{Event, Key, KvPair, LifetimeKind};
use serde::{Deserialize, Serialize};

use crate::forms::decode;

/// A value: text as text, other bytes as `{"base64": "..."}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "the value is neither text nor {\"base64\": \"...\"}")]
pub(crate) enum Value {
    Text(String),
    Binary(Base64),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Base64 {
    base64: String,
}

impl From<&Bytes> for Value {
    fn from(bytes: &Bytes) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Binary(Base64 { base64: STANDARD.encode(bytes) }),
        }
    }
}

impl TryFrom<Value> for Bytes {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::Text(text) => Ok(text.into()),
            Value::Binary(Base64 { base64 }) => decode(&base64),
        }
    }
}

/// A pair with as much of it as was asked for.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Pair<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifetime: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
}

impl<'a> Pair<'a> {
    pub(crate) fn of(pair: &'a KvPair) -> Self {
        Self::of_key(&pair.key)
    }

    pub(crate) fn of_key(key: &'a Key) -> Self {
        Self { key: key.as_str(), ..Self::default() }
    }

    pub(crate) fn with_value(self, pair: &KvPair) -> Self {
        Self { value: Some(Value::from(&pair.value)), ..self }
    }

    pub(crate) fn with_version(self, pair: &KvPair) -> Self {
        Self { version: Some(pair.version.to_string()), index: Some(pair.last_index()), ..self }
    }

    pub(crate) fn with_facts(self, pair: &KvPair) -> Self {
        let lifetime = Some(lifetime(pair.lifetime));
        Self { lifetime, size: Some(pair.value.len()), ..self.with_version(pair) }
    }
}

pub(crate) fn lifetime(kind: LifetimeKind) -> &'static str {
    match kind {
        LifetimeKind::Permanent => "permanent",
        LifetimeKind::Ephemeral => "ephemeral",
        LifetimeKind::Ttl => "ttl",
        _ => "other",
    }
}

/// One event of a watch.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Change<'a> {
    Put {
        key: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<Value>,
        version: String,
        index: u64,
    },
    Delete {
        key: &'a str,
        index: u64,
    },
    Synced {
        index: u64,
    },
    Resync {
        reason: String,
        complete: bool,
    },
    Other,
}

impl<'a> From<&'a Event> for Change<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Put(pair) => Self::Put {
                key: pair.key.as_str(),
                value: Some(Value::from(&pair.value)),
                version: pair.version.to_string(),
                index: pair.last_index(),
            },
            Event::Delete { key, last_index } => {
                Self::Delete { key: key.as_str(), index: *last_index }
            }
            Event::Synced { index } => Self::Synced { index: *index },
            Event::Resync { reason, complete } => {
                Self::Resync { reason: reason.to_string(), complete: *complete }
            }
            _ => Self::Other,
        }
    }
}

impl<'a> Change<'a> {
    /// The event where its value has no room.
    pub(crate) fn without_value(event: &'a Event) -> Self {
        match Self::from(event) {
            Self::Put { key, version, index, .. } => Self::Put { key, value: None, version, index },
            other => other,
        }
    }
}

/// One object on one line.
pub(crate) fn compact(form: &impl Serialize) -> String {
    // The forms above hold text and numbers only, which cannot fail.
    serde_json::to_string(form).unwrap_or_default()
}

/// One document over several lines.
pub(crate) fn pretty(form: &impl Serialize) -> String {
    serde_json::to_string_pretty(form).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_its_json() {
        let samples: [&[u8]; 6] = [
            b"",
            b"text \"quoted\"\n",
            "\u{0}\u{7f}\u{e9}\u{1f600}".as_bytes(),
            b"\xff",
            b"a\x80b",
            b"{\"base64\":\"eA==\"}",
        ];
        for sample in samples {
            let bytes = Bytes::copy_from_slice(sample);
            let text = compact(&Value::from(&bytes));
            let back: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(Bytes::try_from(back).unwrap(), bytes, "{text}");
        }
        assert_eq!(compact(&Value::from(&Bytes::from_static(b"\xff"))), r#"{"base64":"/w=="}"#);
    }
}
