use std::time::Duration;

use bytes::Bytes;

use crate::json::{ConsulEntry, Line, decode};

use super::plan::Plan;

/// Reads what `libkv export` or `consul kv export` wrote; the first byte tells which.
pub(super) fn read(bytes: &[u8], plan: &mut Plan) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.trim_ascii_start().starts_with(b"[") {
        return read_consul(bytes, plan);
    }
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
    let entries: Vec<ConsulEntry> = match serde_json::from_slice(bytes) {
        Ok(entries) => entries,
        Err(error) => return plan.problem("Consul's form".to_owned(), error.to_string()),
    };
    for (number, entry) in (1..).zip(entries) {
        let place = format!("entry {number}");
        let value = match decode(&entry.value.unwrap_or_default()) {
            Ok(value) => value,
            Err(reason) => {
                plan.problem(place, reason);
                continue;
            }
        };
        if entry.key.ends_with('/') {
            match value.is_empty() {
                true => plan.folders += 1,
                false => plan.problem(
                    place,
                    format!(
                        "{:?} ends with a slash and holds a value, which no key of ours can",
                        entry.key
                    ),
                ),
            }
            continue;
        }
        plan.flags += usize::from(entry.flags != 0);
        plan.add(place, &entry.key, value, None);
    }
}
