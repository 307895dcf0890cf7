//! What `export` writes and `import` reads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::ValueEnum;
use libkv::KvPair;
use serde::{Deserialize, Serialize};

use crate::json::{Value, compact};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Jsonl,
    Consul,
}

/// One line of JSON Lines.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) key: String,
    pub(crate) value: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_ms: Option<u64>,
}

impl Line {
    pub(crate) fn of(pair: &KvPair) -> Self {
        let key = pair.key.as_str().to_owned();
        // How much of a time to live is left is not told by a store.
        Self { key, value: Value::from(&pair.value), ttl_ms: None }
    }
}

/// One entry of the array that `consul kv export` writes and `consul kv import` reads, where the
/// names of the HTTP interface do as well.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with key, flags and value")]
pub(crate) struct ConsulEntry {
    #[serde(alias = "Key")]
    pub(crate) key: String,
    #[serde(default, alias = "Flags")]
    flags: u64,
    /// In base64; `null` too where it is empty.
    #[serde(default, alias = "Value")]
    value: Option<String>,
}

impl ConsulEntry {
    /// Whether it is a lock and no data, as `consul lock` writes it.
    pub(crate) fn is_lock(&self) -> bool {
        self.flags == LOCK_FLAG && self.key.ends_with("/.lock")
    }

    pub(crate) fn has_flags(&self) -> bool {
        self.flags != 0
    }

    pub(crate) fn value(&self) -> Result<Bytes, String> {
        decode(self.value.as_deref().unwrap_or_default())
    }
}

/// Consul's `LockFlagValue`.
const LOCK_FLAG: u64 = 0x2ddc_cbc0_58a5_0c18;

/// A pair as `consul kv export` writes it, to the byte.
pub(crate) fn consul_entry(pair: &KvPair) -> String {
    let (key, value) = (go_text(pair.key.as_str()), STANDARD.encode(&pair.value));
    format!("\t{{\n\t\t\"key\": {key},\n\t\t\"flags\": 0,\n\t\t\"value\": \"{value}\"\n\t}}")
}

/// Text as Go's `encoding/json` writes it: what HTML and JavaScript could misread is escaped.
fn go_text(text: &str) -> String {
    let mut json = compact(&text);
    for (c, escaped) in [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ] {
        if json.contains(c) {
            json = json.replace(c, escaped);
        }
    }
    json
}

pub(crate) fn decode(base64: &str) -> Result<Bytes, String> {
    let wrong = |error| format!("the value is no base64: {error}");
    STANDARD.decode(base64).map(Bytes::from).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_line_is_refused() {
        for wrong in [
            r#"{"key":"a"}"#,
            r#"{"value":"a"}"#,
            r#"{"key":"a","value":1}"#,
            r#"{"key":"a","value":{"base46":"eA=="}}"#,
            r#"{"key":"a","value":"x","tll_ms":1}"#,
            r#"{"key":"a","value":"x","ttl_ms":-1}"#,
            r#"{"key":"a","value":"x"} {}"#,
            r#"{"key":"a","key":"b","value":"x"}"#,
        ] {
            assert!(serde_json::from_str::<Line>(wrong).is_err(), "{wrong}");
        }
        assert!(decode("eA=").is_err() && decode("%").is_err());
    }

    #[test]
    fn text_is_escaped_as_go_does_it() {
        let text = "<a>&\"b\"\\\u{2028}\u{2029}\u{7f}'é漢";
        let json = "\"\\u003ca\\u003e\\u0026\\\"b\\\"\\\\\\u2028\\u2029\u{7f}'é漢\"";
        assert_eq!(go_text(text), json);
        assert_eq!(serde_json::from_str::<String>(json).unwrap(), text);
    }

    #[test]
    fn an_entry_of_either_spelling_is_read() {
        let read = |json: &str| serde_json::from_str::<ConsulEntry>(json);
        let entry =
            read(r#"{"LockIndex":0,"Key":"a/.lock","Flags":3304740253564472344,"Value":null}"#);
        let entry = entry.unwrap();
        assert!(entry.is_lock() && entry.has_flags() && entry.value().unwrap().is_empty());
        let data = read(r#"{"key":"a/.lock","flags":0,"value":"eA=="}"#).unwrap();
        assert!(!data.is_lock() && !data.has_flags());
        assert_eq!(data.value().unwrap(), "x");
        assert!(read(r#"{"flags":0,"value":"eA=="}"#).is_err());
    }
}
