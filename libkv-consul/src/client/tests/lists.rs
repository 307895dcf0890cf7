//! Listings that are read as they come.

use libkv_core::ErrorKind;

use super::responder::{Responder, Step, answer};
use super::*;

/// An answer in pieces of a length, as a server sends it that does not know how much will come.
fn pieces(body: &str, length: usize, complete: bool) -> String {
    let mut text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for piece in body.as_bytes().chunks(length) {
        let piece = std::str::from_utf8(piece).unwrap();
        text.push_str(&format!("{:x}\r\n{piece}\r\n", piece.len()));
    }
    text + if complete { "0\r\n\r\n" } else { "" }
}

async fn listed(step: Step) -> Entries {
    let responder = Responder::start([step]).await;
    let client = client(&[&responder], "").await;
    client.list("", Mode::Consistent, &call()).await.unwrap().body
}

#[tokio::test]
async fn a_long_listing_comes_in_small_parts() {
    let small = (0..2_500).map(|number| entry(&format!("k{number}"), "null", number + 1));
    let body = format!("[{}]", small.collect::<Vec<_>>().join(","));
    let mut entries = listed(Step::Say(pieces(&body, 777, true))).await;
    let (mut parts, mut indexes) = (Vec::new(), Vec::new());
    while let Some(part) = entries.next(WHOLE).await.unwrap() {
        indexes.extend(part.iter().map(|entry| entry.modify_index));
        parts.push(part.len());
    }
    assert_eq!(parts, [1_000, 1_000, 500]);
    assert_eq!(indexes, (1..=2_500).collect::<Vec<_>>());
    // It stays at its end.
    assert_eq!(entries.next(WHOLE).await.unwrap(), None);

    let value = format!("\"{}\"", "AAAA".repeat(10_000));
    let large: Vec<_> = (0..6).map(|number| entry(&format!("k{number}"), &value, 1)).collect();
    let mut entries = listed(answer(200, &[], &format!("[{}]", large.join(",")))).await;
    let mut parts = Vec::new();
    while let Some(part) = entries.next(WHOLE).await.unwrap() {
        assert!(part.iter().all(|entry| entry.value.len() == 30_000));
        parts.push(part.len());
    }
    assert_eq!(parts, [3, 3]);
}

#[tokio::test]
async fn a_listing_that_breaks_off_is_a_failure_and_stays_one() {
    let body = format!("[{},{}]", entry("a", "null", 1), entry("b", "null", 2));
    for (step, kind) in [
        (Step::Cut(pieces(&body[..20], 7, false)), ErrorKind::NotReachable),
        (Step::Cut(pieces(&body, 7, false)), ErrorKind::NotReachable),
        (Step::Say(pieces(&body[..body.len() - 1], 7, true)), ErrorKind::NotReachable),
        (Step::Say(pieces("", 7, true)), ErrorKind::NotReachable),
        (Step::Say(pieces("[{}]", 7, true)), ErrorKind::Other),
        (Step::Say(pieces("null", 7, true)), ErrorKind::Other),
        (Step::Say(pieces("[{\"Key\":1}]", 7, true)), ErrorKind::Other),
        (Step::Say(pieces(&format!("{body}x"), 7, true)), ErrorKind::Other),
    ] {
        let mut entries = listed(step).await;
        for _ in 0..2 {
            let failure = loop {
                match entries.next(WHOLE).await {
                    Ok(part) => assert!(part.is_some(), "a part of a listing is not the whole"),
                    Err(failure) => break failure,
                }
            };
            assert_eq!(failure.kind_for(false), kind, "{failure:?}");
        }
    }
}

#[tokio::test]
async fn a_listing_that_stands_still_ends_after_a_while() {
    let body = format!("[{},", entry("a", "null", 1));
    let mut entries = listed(Step::Say(pieces(&body, 7, false))).await;
    let failure = entries.next(SHORT).await.unwrap_err();
    assert_eq!(failure.kind_for(false), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_wait_that_is_dropped_loses_no_entry() {
    let body = format!("[{},{}]", entry("a", "null", 1), entry("b", "null", 2));
    let (first, second) = body.split_at(body.len() / 2 + 10);
    let (go, gone) = tokio::sync::oneshot::channel();
    let steps = [Step::Then(pieces(first, 1_000, false), gone)];
    let responder = Responder::start(steps).await;
    let client = client(&[&responder], "").await;
    let mut entries = client.list("", Mode::Consistent, &call()).await.unwrap().body;
    assert!(tokio::time::timeout(SHORT, entries.next(WHOLE)).await.is_err());
    go.send(format!("{:x}\r\n{second}\r\n0\r\n\r\n", second.len())).unwrap();
    let part = entries.next(WHOLE).await.unwrap().unwrap();
    assert_eq!(part.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(entries.next(WHOLE).await.unwrap(), None);
}
