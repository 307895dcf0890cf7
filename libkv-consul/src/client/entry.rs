//! A key as the server tells of it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

/// A key with all that the server knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) value: Bytes,
    pub(crate) flags: u64,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
    pub(crate) lock_index: u64,
    pub(crate) session: Option<String>,
}

/// The form of an entry in answers. Newer servers add fields.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Raw<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(default)]
    flags: u64,
    #[serde(default)]
    create_index: u64,
    modify_index: u64,
    #[serde(default)]
    lock_index: u64,
    session: Option<String>,
}

/// Text that is borrowed where it has no escapes, also inside of an option.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Raw<'_> {
    /// An empty value is `null` in answers, and is not told from no value.
    pub(crate) fn into_entry(self) -> Result<Entry, base64::DecodeError> {
        let value = match &self.value {
            Some(Text(text)) => STANDARD.decode(text.as_bytes())?,
            None => Vec::new(),
        };
        Ok(Entry {
            name: self.key.0.into_owned(),
            value: value.into(),
            flags: self.flags,
            create_index: self.create_index,
            modify_index: self.modify_index,
            lock_index: self.lock_index,
            session: self.session.filter(|session| !session.is_empty()),
        })
    }
}

/// Why text is no entry.
pub(crate) type Malformed = Box<dyn std::error::Error + Send + Sync>;

impl Entry {
    /// Reads the JSON object of an entry.
    pub(crate) fn parse(object: &[u8]) -> Result<Self, Malformed> {
        Ok(serde_json::from_slice::<Raw<'_>>(object)?.into_entry()?)
    }

    /// Reads a JSON array of entries that is there as a whole.
    pub(crate) fn parse_all(array: &[u8]) -> Result<Vec<Self>, Malformed> {
        let raws: Vec<Raw<'_>> = serde_json::from_slice(array)?;
        Ok(raws.into_iter().map(Raw::into_entry).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_with_all_that_is_known() {
        let text = br#"{"LockIndex":2,"Key":"a/\u00e9\"","Flags":18446744073709551615,
            "Value":"AP8=","CreateIndex":10,"ModifyIndex":11,"Session":"s-1","Partition":"x"}"#;
        let expected = Entry {
            name: "a/é\"".to_owned(),
            value: Bytes::from_static(b"\0\xff"),
            flags: u64::MAX,
            create_index: 10,
            modify_index: 11,
            lock_index: 2,
            session: Some("s-1".to_owned()),
        };
        assert_eq!(Entry::parse(text).unwrap(), expected);
    }

    #[test]
    fn no_value_is_an_empty_one() {
        for value in ["null", "\"\""] {
            let text = format!(r#"[{{"Key":"a","Value":{value},"ModifyIndex":3}}]"#);
            let entries = Entry::parse_all(text.as_bytes()).unwrap();
            assert_eq!((entries[0].value.len(), entries[0].session.as_deref()), (0, None));
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"Key":"a","Value":"x","ModifyIndex":1}"#,
            r#"{"Key":"a","Value":"!!!!","ModifyIndex":1}"#,
            r#"{"Key":"a","Value":null,"ModifyIndex":-1}"#,
            r#"{"Key":"a","Value":null}"#,
        ] {
            assert!(Entry::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
