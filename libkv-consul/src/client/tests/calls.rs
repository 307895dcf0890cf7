//! What is sent, and how answers are read.

use super::responder::{Responder, answer};
use super::*;

#[tokio::test]
async fn every_call_has_its_address_and_body() {
    let session = r#"[{"ID":"s-1","Name":"n","TTL":"15s","Behavior":"delete"}]"#;
    let got = format!("[{}]", entry("a/b c", "\"eA==\"", 7));
    let done = format!(r#"{{"Results":[{{"KV":{}}}],"Errors":null}}"#, entry("a", "null", 9));
    let steps = [
        &got,
        r#"["a/","a/b"]"#,
        "[]",
        "[]",
        "[]",
        "[]",
        &done,
        &done,
        r#"{"ID":"s-1"}"#,
        session,
        "true",
        session,
        session,
        r#""10.0.0.1:8300""#,
        r#"{"Config":{"Version":"1.8.7+dfsg1"},"Member":{}}"#,
        "{}",
    ];
    let responder = Responder::start(steps.map(|body| answer(200, &[], body))).await;
    let client = client(&[&responder], "?dc=east%201").await;
    let (call, wait) = (call(), Duration::from_secs(60));
    let (one, all) = (Span::One("a?b".to_owned()), Span::Prefix("a/".to_owned()));

    let found = client.get("a/b c", Mode::Consistent, &call).await.unwrap().body.unwrap();
    assert_eq!((found.value.as_ref(), found.modify_index), (b"x".as_slice(), 7));
    let names = client.keys("a/", Mode::Stale, &call).await.unwrap().body;
    assert_eq!(names, ["a/", "a/b"]);
    let mut listed = client.list("", Mode::Consistent, &call).await.unwrap().body;
    assert_eq!(listed.next(WHOLE).await.unwrap(), None);
    client.block(&one, Some(7), wait, "watch").await.unwrap();
    client.block(&all, None, wait, "watch").await.unwrap();
    client.block(&all, Some(0), wait, "watch").await.unwrap();
    let reply = client.txn(&[set("a", "x")], true, Mode::Stale, &call).await.unwrap();
    assert!(matches!(reply, TxnReply::Done(entries) if entries[0].modify_index == 9));
    let get = Op::Get { name: "a".to_owned() };
    client.txn(&[get], false, Mode::Consistent, &call).await.unwrap();
    let new = NewSession { name: "libkv", ttl: Duration::from_secs(15) };
    assert_eq!(client.create_session(&new, &call).await.unwrap(), "s-1");
    let ttl = client.renew_session("s-1", &call).await.unwrap();
    assert_eq!(ttl, Some(Duration::from_secs(15)));
    client.destroy_session("s-1", &call).await.unwrap();
    let info = client.session("s-1", Mode::Consistent, &call).await.unwrap().unwrap();
    assert_eq!((info.name.as_str(), info.behavior.as_str()), ("n", "delete"));
    assert_eq!(client.sessions(Mode::Consistent, &call).await.unwrap(), [info]);
    assert_eq!(client.leader(&call).await.unwrap().as_deref(), Some("10.0.0.1:8300"));
    assert_eq!(client.version(&call).await.unwrap(), Some((1, 8)));
    assert!(client.acls_enabled(&call).await.unwrap());

    let expected = [
        "GET /v1/kv/a/b%20c?consistent&dc=east%201",
        "GET /v1/kv/a/?keys&stale&dc=east%201",
        "GET /v1/kv/?recurse&consistent&dc=east%201",
        "GET /v1/kv/a%3Fb?consistent&index=7&wait=60000ms&dc=east%201",
        "GET /v1/kv/a/?recurse&consistent&dc=east%201",
        "GET /v1/kv/a/?recurse&consistent&dc=east%201",
        "PUT /v1/txn?dc=east%201",
        "PUT /v1/txn?consistent&dc=east%201",
        "PUT /v1/session/create?dc=east%201",
        "PUT /v1/session/renew/s-1?dc=east%201",
        "PUT /v1/session/destroy/s-1?dc=east%201",
        "GET /v1/session/info/s-1?consistent&dc=east%201",
        "GET /v1/session/list?consistent&dc=east%201",
        "GET /v1/status/leader?dc=east%201",
        "GET /v1/agent/self?dc=east%201",
        "GET /v1/acl/token/self?dc=east%201",
    ];
    assert_eq!(responder.lines(), expected);
    assert!(responder.lines().iter().all(|line| !line.contains("=false")));
    assert_eq!(
        responder.seen()[6].body,
        r#"[{"KV":{"Verb":"set","Key":"a","Value":"eA==","Flags":0}}]"#
    );
}

#[tokio::test]
async fn an_index_is_passed_on_as_it_was_sent() {
    let indexes = ["7", "5", "0", "", "many", "-1"].map(|index| format!("X-Consul-Index: {index}"));
    let mut steps: Vec<_> =
        indexes.iter().map(|index| answer(404, &[index.as_str()], "")).collect();
    steps.push(answer(404, &[], ""));
    steps.push(answer(200, &["X-Consul-Results-Filtered-By-ACLs: true"], "[]"));
    let responder = Responder::start(steps).await;
    let client = client(&[&responder], "").await;
    let span = Span::Prefix("a/".to_owned());
    let mut got = Vec::new();
    for _ in 0..8 {
        let answer = client.block(&span, Some(9), WHOLE, "watch").await.unwrap();
        got.push((answer.index, answer.filtered));
    }
    let plain = [Some(7), Some(5), Some(0), None, None, None, None].map(|index| (index, false));
    assert_eq!(got[..7], plain);
    assert_eq!(got[7], (None, true));
}

#[tokio::test]
async fn what_is_not_there_is_an_answer() {
    let steps = [
        answer(404, &["X-Consul-Index: 3"], ""),
        answer(404, &[], ""),
        answer(404, &[], ""),
        answer(404, &[], "Session id \"s\" not found"),
        answer(200, &[], "[]"),
        answer(200, &[], "\"\""),
        answer(401, &[], "ACL support disabled"),
        answer(403, &[], "ACL not found"),
        answer(403, &[], "Permission denied"),
    ];
    let responder = Responder::start(steps).await;
    let (client, call) = (client(&[&responder], "").await, call());
    let got = client.get("a", Mode::Consistent, &call).await.unwrap();
    assert_eq!((got.body, got.index), (None, Some(3)));
    assert!(client.keys("a", Mode::Consistent, &call).await.unwrap().body.is_empty());
    let mut listed = client.list("a", Mode::Consistent, &call).await.unwrap().body;
    assert_eq!(listed.next(WHOLE).await.unwrap(), None);
    assert_eq!(client.renew_session("s", &call).await.unwrap(), None);
    assert_eq!(client.session("s", Mode::Consistent, &call).await.unwrap(), None);
    assert_eq!(client.leader(&call).await.unwrap(), None);
    assert!(!client.acls_enabled(&call).await.unwrap());
    assert!(client.acls_enabled(&call).await.unwrap());
    assert_eq!(client.version(&call).await.unwrap(), None);
}

#[tokio::test]
async fn a_name_that_no_path_carries_is_read_by_another_way() {
    let names = format!("[{},{}]", entry("a", "null", 1), entry("a//b", "null", 2));
    let done = format!(r#"{{"Results":[{{"KV":{}}}]}}"#, entry("a/../b", "null", 9));
    let absent = r#"{"Results":null,"Errors":[{"OpIndex":0,"What":"key \"x\" doesn't exist"}]}"#;
    let steps = [
        answer(200, &[], &done),
        answer(409, &[], absent),
        // Of what the token may not read it says nothing.
        answer(200, &[], r#"{"Results":[],"Errors":null}"#),
        answer(200, &[], r#"["a","a//b","a//c"]"#),
        answer(200, &[], &names),
        answer(200, &[], &names),
        // An agent whose table of Unicode is older than a letter.
        answer(400, &[], ""),
        answer(409, &[], absent),
        answer(400, &[], ""),
        answer(404, &[], ""),
    ];
    let responder = Responder::start(steps).await;
    let (client, call) = (client(&[&responder], "").await, call());
    let got = client.get("a/../b", Mode::Consistent, &call).await.unwrap();
    assert_eq!(got.body.map(|entry| entry.modify_index), Some(9));
    assert_eq!(client.get("a//b", Mode::Stale, &call).await.unwrap().body, None);
    assert!(client.get("/a", Mode::Stale, &call).await.unwrap_err().is_denied());
    let names = client.keys("a//", Mode::Consistent, &call).await.unwrap().body;
    assert_eq!(names, ["a//b", "a//c"]);
    let mut listed = client.list("a//", Mode::Consistent, &call).await.unwrap().body;
    assert_eq!(listed.next(WHOLE).await.unwrap().unwrap()[0].name, "a//b");
    let one = Span::One("a//b".to_owned());
    let mut seen = client.block(&one, None, WHOLE, "watch").await.unwrap().body;
    assert_eq!(seen.next(WHOLE).await.unwrap().unwrap().len(), 1);
    assert_eq!(seen.next(WHOLE).await.unwrap(), None);
    assert_eq!(client.get("a/é", Mode::Consistent, &call).await.unwrap().body, None);
    assert!(client.keys("a/é/", Mode::Consistent, &call).await.unwrap().body.is_empty());
    assert_eq!(
        responder.lines(),
        [
            "PUT /v1/txn?consistent",
            "PUT /v1/txn?stale",
            "PUT /v1/txn?stale",
            "GET /v1/kv/a/?keys&consistent",
            "GET /v1/kv/a/?recurse&consistent",
            "GET /v1/kv/a/?recurse&consistent",
            "GET /v1/kv/a/%C3%A9?consistent",
            "PUT /v1/txn?consistent",
            "GET /v1/kv/a/%C3%A9/?keys&consistent",
            "GET /v1/kv/a/?keys&consistent",
        ]
    );
}

#[tokio::test]
async fn a_transactions_reasons_are_told() {
    let refused =
        r#"{"Results":null,"Errors":[{"OpIndex":1,"What":"invalid session \"s\""}],"Index":0}"#;
    let nothing = r#"{"Results":null,"Errors":null}"#;
    let steps = [answer(409, &[], refused), answer(200, &[], nothing), answer(200, &[], "{}")];
    let responder = Responder::start(steps).await;
    let (client, call) = (client(&[&responder], "").await, call());
    let ops = [
        Op::CheckIndex { name: "a".to_owned(), index: 5 },
        Op::Lock {
            name: "a".to_owned(),
            value: Bytes::new(),
            flags: u64::MAX,
            session: "s".to_owned(),
        },
        Op::CheckSession { name: "a".to_owned(), session: String::new() },
        Op::CheckNotExists { name: "b".to_owned() },
        Op::Unlock { name: "a".to_owned(), value: Bytes::new(), flags: 0, session: "s".to_owned() },
        Op::Delete { name: "c\"".to_owned() },
        Op::DeleteTree { prefix: "d/".to_owned() },
    ];
    let TxnReply::Refused(refusals) = client.txn(&ops, true, Mode::Stale, &call).await.unwrap()
    else {
        panic!("a status of 409 is a refusal");
    };
    assert_eq!(refusals, [Refusal { op: 1, what: "invalid session \"s\"".to_owned() }]);
    for _ in 0..2 {
        let reply = client.txn(&ops[5..], true, Mode::Stale, &call).await.unwrap();
        assert!(matches!(reply, TxnReply::Done(entries) if entries.is_empty()));
    }
    let expected = concat!(
        r#"[{"KV":{"Verb":"check-index","Key":"a","Index":5}},"#,
        r#"{"KV":{"Verb":"lock","Key":"a","Value":"","Flags":18446744073709551615,"Session":"s"}},"#,
        r#"{"KV":{"Verb":"check-session","Key":"a","Session":""}},"#,
        r#"{"KV":{"Verb":"check-not-exists","Key":"b"}},"#,
        r#"{"KV":{"Verb":"unlock","Key":"a","Value":"","Flags":0,"Session":"s"}},"#,
        r#"{"KV":{"Verb":"delete","Key":"c\""}},"#,
        r#"{"KV":{"Verb":"delete-tree","Key":"d/"}}]"#,
    );
    assert_eq!(responder.seen()[0].body, expected);
    assert_eq!(body_bytes(&ops), expected.len());
}

#[tokio::test]
async fn the_token_is_carried_and_shown_nowhere() {
    let echo = "who is hunter2?";
    let steps = [answer(404, &[], ""), answer(500, &[], echo), answer(500, &[], echo)];
    let responder = Responder::start(steps).await;
    let client = client(&[&responder], "?token=hunter2").await;
    client.get("a", Mode::Consistent, &call()).await.unwrap();
    let failure = client.get("a", Mode::Consistent, &call()).await.unwrap_err();
    let shown = format!("{failure:?} {:?} {client:?}", failure.clone().into_error(&call(), true));
    assert!(!shown.contains("hunter2"), "{shown}");
    for seen in responder.seen() {
        assert!(seen.headers.contains(&"x-consul-token: hunter2".to_owned()), "{seen:?}");
    }
}

#[tokio::test]
async fn a_refused_token_is_looked_after_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "old").unwrap();
    let denied = || answer(403, &[], "ACL not found");
    let steps = [denied(), denied(), answer(200, &[], "{}"), denied(), answer(404, &[], "")];
    let responder = Responder::start(steps).await;
    let client = client(&[&responder], &format!("?token_file={}", path.display())).await;
    let ops = [delete("a")];
    let failure = client.txn(&ops, true, Mode::Stale, &call()).await.unwrap_err();
    assert!(failure.is_denied());
    std::fs::write(&path, "new").unwrap();
    client.txn(&ops, true, Mode::Stale, &call()).await.unwrap();
    std::fs::write(&path, "newest").unwrap();
    let span = Span::One("a".to_owned());
    client.block(&span, None, WHOLE, "watch").await.unwrap();
    let tokens: Vec<_> = responder
        .seen()
        .into_iter()
        .flat_map(|seen| seen.headers)
        .filter(|header| header.starts_with("x-consul-token"))
        .collect();
    let expected = ["old", "old", "new", "new", "newest"];
    assert_eq!(tokens, expected.map(|token| format!("x-consul-token: {token}")));
}
