use std::time::Duration;

use bytes::Bytes;
use libkv::Key;
use serde_json::Value;

use crate::forms::{ConsulEntry, Form, Line};

use super::plan::Plan;

/// Reads what `libkv export` or `consul kv export` wrote; the first byte tells which.
pub(super) fn read(bytes: &[u8], form: Option<Form>, plan: &mut Plan) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let is_array = bytes.trim_ascii_start().starts_with(b"[");
    match form {
        Some(Form::Consul) | None if is_array => read_consul(bytes, plan),
        Some(Form::Consul) => {
            plan.problem("the beginning".to_owned(), "no array, which Consul's form is");
        }
        _ => read_lines(bytes, plan),
    }
}

fn read_lines(bytes: &[u8], plan: &mut Plan) {
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = format!("line {number}");
        match read_line(line) {
            Ok((key, value, ttl)) => plan.add(place, &key, value, ttl),
            Err(reason) => plan.problem(place, reason),
        }
    }
}

fn read_line(line: &[u8]) -> Result<(String, Bytes, Option<Duration>), String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        // Its line is always the first: the number that matters stands before.
        text.replace("at line 1 column", "at column")
    })?;
    let value = Bytes::try_from(line.value)?;
    Ok((line.key, value, line.ttl_ms.map(Duration::from_millis)))
}

fn read_consul(bytes: &[u8], plan: &mut Plan) {
    let entries: Vec<Value> = match serde_json::from_slice(bytes) {
        Ok(entries) => entries,
        Err(error) => {
            let place = format!("line {} column {}", error.line(), error.column());
            let text = error.to_string();
            let reason = match error.is_eof() {
                true => "the input ends in the middle; it was cut off",
                false => text.split(" at line ").next().unwrap_or_default(),
            };
            return plan.problem(place, reason);
        }
    };
    for (number, entry) in (1..).zip(entries) {
        let place = format!("entry {number}");
        match serde_json::from_value(entry) {
            Ok(entry) => add_consul(place, &entry, plan),
            Err(error) => plan.problem(place, error.to_string()),
        }
    }
}

fn add_consul(place: String, entry: &ConsulEntry, plan: &mut Plan) {
    if entry.is_lock() {
        plan.locks += 1;
        return;
    }
    // Each name is another one for Consul, however it would be folded.
    if Key::new(&entry.key).is_ok_and(|key| key.as_str() != entry.key) {
        let reason = "a slash at an end or two together, which no key has";
        return plan.no_key(place, format!("{reason}, in {:?}", entry.key));
    }
    match entry.value() {
        Ok(value) => {
            plan.flags += usize::from(entry.has_flags());
            plan.add(place, &entry.key, value, None);
        }
        Err(reason) => plan.problem(place, format!("{:?}: {reason}", entry.key)),
    }
}
