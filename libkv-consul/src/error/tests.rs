use std::time::Duration;

use libkv_core::ErrorKind;
use secrecy::SecretString;
use tokio::time::Instant;

use super::*;

fn said(status: u16, text: &str) -> Failure {
    judge(status, text.as_bytes(), None, None).at("h:1")
}

fn call() -> Call {
    Call { operation: "put", deadline: Instant::now() }
}

#[test]
fn every_status_and_text_has_its_meaning() {
    use ErrorKind::{
        InvalidConfig, NotReachable, Other, OutcomeUnknown, PermissionDenied, Timeout, TooLarge,
    };
    let known = [
        (301, "", Other, Other),
        (307, "", Other, Other),
        (400, "Bad request", Other, Other),
        (400, "Client sent an HTTP request to an HTTPS server.", NotReachable, NotReachable),
        (401, "ACL support disabled", PermissionDenied, PermissionDenied),
        (403, "Permission denied", PermissionDenied, PermissionDenied),
        (403, "ACL not found", PermissionDenied, PermissionDenied),
        (403, "", PermissionDenied, PermissionDenied),
        (404, "404 page not found", Other, Other),
        (405, "method PUT not allowed", Other, Other),
        (409, "", Other, Other),
        (413, "Request body too large", TooLarge, TooLarge),
        (429, "Your IP is issuing too many concurrent connections", Other, Other),
        (429, "rate limit exceeded, try again later", Other, Other),
        (500, "No cluster leader", NotReachable, NotReachable),
        (500, "rpc error making call: No cluster leader", NotReachable, NotReachable),
        (500, "No known Consul servers", NotReachable, NotReachable),
        (500, "Raft leader not found in server lookup mapping", NotReachable, NotReachable),
        (500, "no server currently reachable", NotReachable, NotReachable),
        (500, "rpc error making call: Rate limit reached, try again later", Other, Other),
        (500, "RPC rate limit exceeded", Other, Other),
        (500, "No path to datacenter", InvalidConfig, InvalidConfig),
        (500, "rpc error making call: invalid session \"s\"", Other, Other),
        (500, "missing session", Other, Other),
        (
            500,
            "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]",
            InvalidConfig,
            InvalidConfig,
        ),
        (500, "rpc error making call: Permission denied", PermissionDenied, PermissionDenied),
        (500, "rpc error making call: ACL not found", PermissionDenied, PermissionDenied),
        // What follows may have been done.
        (500, "leadership lost while committing log", NotReachable, OutcomeUnknown),
        (500, "node is not the leader", NotReachable, OutcomeUnknown),
        (500, "raft is already shutdown", NotReachable, OutcomeUnknown),
        (500, "Not ready to serve consistent reads", NotReachable, OutcomeUnknown),
        (500, "rpc error making call: EOF", NotReachable, OutcomeUnknown),
        (500, "something new", Other, OutcomeUnknown),
        (500, "", Other, OutcomeUnknown),
        (502, "", NotReachable, OutcomeUnknown),
        (503, "", NotReachable, OutcomeUnknown),
        (504, "", NotReachable, OutcomeUnknown),
        (408, "", Other, OutcomeUnknown),
        (418, "", Other, OutcomeUnknown),
        (200, "", Other, OutcomeUnknown),
        (204, "", Other, OutcomeUnknown),
        // A proxy quotes anything.
        (502, "Permission denied", NotReachable, OutcomeUnknown),
        (404, "invalid session", Other, Other),
    ];
    for (status, text, read, write) in known {
        let failure = said(status, text);
        let kinds = (failure.kind_for(false), failure.kind_for(true));
        assert_eq!(kinds, (read, write), "{status} {text}");
        assert_eq!(failure.is_denied(), read == PermissionDenied, "{status} {text}");
    }
    let silent = |sent| Failure::silent(Duration::from_secs(1), sent);
    assert_eq!(silent(true).kind_for(true), OutcomeUnknown);
    assert_eq!((silent(true).kind_for(false), silent(false).kind_for(true)), (Timeout, Timeout));
    assert_eq!(Failure::queued(Duration::ZERO).kind_for(true), Timeout);
    assert_eq!(Failure::cut().kind_for(true), OutcomeUnknown);
    assert_eq!(Failure::cut().refused().kind_for(true), NotReachable);
    assert!(Failure::withheld().is_denied());
    assert_eq!(Failure::withheld().kind_for(true), OutcomeUnknown);
    assert_eq!(Failure::malformed("x").kind_for(true), OutcomeUnknown);
}

#[test]
fn what_a_caller_asks_of_a_failure_is_answered() {
    assert!(said(500, "invalid session \"s\"").is_session_gone());
    assert!(!said(500, "something").is_session_gone());
    let limited = judge(429, b"", Some(Duration::from_secs(2)), None);
    assert!(limited.is_limited() && !said(500, "").is_limited());
    assert_eq!(limited.retry_after(), Some(Duration::from_secs(2)));
    assert!(limited.into_error(&call(), true).is_transient());
    assert!(!said(403, "").into_error(&call(), true).is_transient());
    assert!(said(503, "").into_error(&call(), false).is_transient());
    assert!(!said(503, "").into_error(&call(), true).is_transient());
    assert!(said(400, "").is_bad_request());
    // Whoever waits for a server goes on, whatever was the matter with it.
    assert!(said(500, "something new").into_error(&call(), false).is_transient());
    assert!(!said(500, "something new").into_error(&call(), true).is_transient());
    assert!(!said(404, "").into_error(&call(), false).is_transient());
}

#[test]
fn a_reason_is_known_by_its_beginning_and_not_by_a_key_that_it_quotes() {
    assert!(
        is_session_gone_text("invalid session \"s\"") && is_session_gone_text("missing session")
    );
    assert!(!is_session_gone_text("failed to lock key \"invalid session\", lock is already held"));
    assert!(is_denied_text("Permission denied") && is_denied_text("ACL not found"));
    assert!(is_denied_text("Permission denied: token with AccessorID 'x' lacks permission"));
    assert!(!is_denied_text("key \"Permission denied\" doesn't exist"));
    assert!(Failure::refusal("Permission denied").is_denied());
    assert!(Failure::refusal("missing session").is_session_gone());
    assert_eq!(Failure::refusal("other").kind_for(true), ErrorKind::Other);
}

#[test]
fn an_error_names_the_agent_and_what_to_do_and_repeats_no_cause() {
    let error = said(403, "Permission denied").into_error(&call(), true);
    assert_eq!(error.to_string(), "consul put: permission denied: h:1: the token lacks the right");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "HTTP status 403: Permission denied");
    let unknown = said(500, "rpc error making call: EOF").into_error(&call(), true);
    assert_eq!(unknown.to_string(), "consul put: outcome unknown: h:1: the agent lost its server");
    let large = Failure::unsent(ErrorKind::TooLarge, "9 bytes").into_error(&call(), true);
    assert_eq!(large.to_string(), "consul put: too large: 9 bytes");
}

#[test]
fn no_text_of_an_agent_brings_the_token_or_a_line_break() {
    let token = SecretString::from("hunter2");
    let text = format!("denied:\n hunter2{}", "x".repeat(100_000));
    let failure = judge(500, text.as_bytes(), None, Some(&token));
    let shown = format!("{failure:?} {:?}", failure.clone().into_error(&call(), false));
    assert!(shown.contains("denied:  ***x") && !shown.contains("hunter2"), "{shown}");
    assert!(shown.len() < 4_000 && !shown.contains("\\n"), "{}", shown.len());
    judge(500, &[0xff, 0xfe, 0xe2], None, None);
}
