//! What is known after a failure, and what is sent again.

use libkv_core::ErrorKind;

use super::responder::{Responder, Step, answer, cut};
use super::*;

async fn write(client: &Client) -> Result<TxnReply, Failure> {
    client.txn(&[delete("a")], true, Mode::Stale, &call()).await
}

#[tokio::test]
async fn a_busy_agent_is_asked_again() {
    let busy = || answer(429, &["Retry-After: 0"], "");
    let steps = [busy(), answer(200, &[], "{}"), busy(), busy(), answer(404, &[], "")];
    let responder = Responder::start(steps).await;
    let client = client(&[&responder], "").await;
    write(&client).await.unwrap();
    client.get("a", Mode::Consistent, &call()).await.unwrap();
    assert_eq!(responder.lines().len(), 5);
    let responder = Responder::start([answer(429, &["Retry-After: 100"], "")]).await;
    let client = super::client(&[&responder], "").await;
    let failure = write(&client).await.unwrap_err();
    assert!(failure.is_limited() && responder.lines().len() == 1);
    assert_eq!(failure.retry_after(), Some(Duration::from_secs(100)));
    assert_eq!(failure.kind_for(true), ErrorKind::Other);
}

#[tokio::test]
async fn a_write_is_sent_again_where_the_server_did_nothing_and_nowhere_else() {
    let known = [(500, "No cluster leader"), (500, "No known Consul servers")];
    for (status, text) in known {
        let responder = Responder::start([answer(status, &[], text), answer(200, &[], "{}")]).await;
        write(&client(&[&responder], "").await).await.unwrap();
        assert_eq!(responder.lines().len(), 2, "{text}");
    }
    for (status, text, kind) in [
        (500, "rpc error making call: EOF", ErrorKind::OutcomeUnknown),
        (500, "something new", ErrorKind::OutcomeUnknown),
        (503, "", ErrorKind::OutcomeUnknown),
        (500, "invalid session", ErrorKind::Other),
        (403, "Permission denied", ErrorKind::PermissionDenied),
        (413, "", ErrorKind::TooLarge),
        (400, "", ErrorKind::Other),
    ] {
        let responder = Responder::start([answer(status, &[], text), answer(200, &[], "{}")]).await;
        let failure = write(&client(&[&responder], "").await).await.unwrap_err();
        assert_eq!(failure.kind_for(true), kind, "{status} {text}");
        assert_eq!(responder.lines().len(), 1, "{status} {text}");
    }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_unknown() {
    let cut_before = || Step::Cut(String::new());
    for step in [
        cut_before(),
        Step::Cut("HTTP/1.1 200 O".to_owned()),
        cut(200, r#"{"Results":"#),
        answer(200, &[], "{"),
        answer(200, &[], "<html>"),
        answer(200, &[], r#"{"Results":[{"KV":{"Key":"a"}}]}"#),
        Step::Say("nonsense\r\n\r\n".to_owned()),
    ] {
        let responder = Responder::start([step, answer(200, &[], "{}")]).await;
        let failure = write(&client(&[&responder], "").await).await.unwrap_err();
        assert_eq!(failure.kind_for(true), ErrorKind::OutcomeUnknown, "{failure:?}");
        assert_eq!(responder.lines().len(), 1);
    }
}

#[tokio::test]
async fn a_refused_write_did_nothing_also_where_its_reasons_are_lost() {
    for step in [cut(409, r#"{"Errors":["#), answer(409, &[], "x"), cut(403, "Permission")] {
        let responder = Responder::start([step]).await;
        let failure = write(&client(&[&responder], "").await).await.unwrap_err();
        assert_ne!(failure.kind_for(true), ErrorKind::OutcomeUnknown, "{failure:?}");
        assert_eq!(responder.lines().len(), 1);
    }
}

#[tokio::test]
async fn a_read_is_repeated_after_a_break_and_not_where_the_answer_is_wrong() {
    let entries = format!("[{}]", entry("a", "null", 7));
    let steps = [Step::Cut(String::new()), cut(200, &entries[..9]), answer(200, &[], &entries)];
    let responder = Responder::start(steps).await;
    let client = client(&[&responder], "").await;
    assert!(client.get("a", Mode::Consistent, &call()).await.unwrap().body.is_some());
    assert_eq!(responder.lines().len(), 3);
    for body in ["", "null", "[]", "<html>", "[1]", r#"[{"Key":"a","Value":"?","ModifyIndex":1}]"#]
    {
        let responder = Responder::start([answer(200, &[], body)]).await;
        let client = super::client(&[&responder], "").await;
        let failure = client.get("a", Mode::Consistent, &call()).await.unwrap_err();
        assert_eq!(failure.kind_for(false), ErrorKind::Other, "{body}");
        assert_eq!(responder.lines().len(), 1, "{body}");
    }
    // Another key is never taken for the one that was asked for.
    let other = format!("[{}]", entry("b", "null", 7));
    let responder = Responder::start([answer(200, &[], &other)]).await;
    let client = super::client(&[&responder], "").await;
    client.get("a", Mode::Consistent, &call()).await.unwrap_err();
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let other = Responder::start([answer(200, &[], "{}")]).await;
    let location = format!("Location: http://{}/v1/txn", other.address);
    let steps = [301, 307].map(|status| answer(status, &[&location], ""));
    let responder = Responder::start(steps).await;
    let client = client(&[&responder], "").await;
    assert_eq!(write(&client).await.unwrap_err().kind_for(true), ErrorKind::Other);
    let failure = client.get("a", Mode::Consistent, &call()).await.unwrap_err();
    let error = failure.into_error(&call(), false).to_string();
    assert!(error.contains("not followed"), "{error}");
    assert_eq!((other.lines().len(), responder.lines().len()), (0, 2));
}

#[tokio::test]
async fn what_the_server_would_not_take_is_not_sent() {
    let done = format!(r#"{{"Results":[{{"KV":{}}}]}}"#, entry("a", "null", 7));
    let responder = Responder::start([answer(200, &[], &done)]).await;
    let client = client(&[&responder], "").await;
    let ops = |length: usize| [set("a", &"x".repeat(length))];
    let fits = (LONGEST_BODY - body_bytes(&ops(0))) / 4 * 3;
    assert_eq!(body_bytes(&ops(fits)), txn::body(&ops(fits)).len());
    let failure = client.txn(&ops(fits + 1), true, Mode::Stale, &call()).await.unwrap_err();
    assert_eq!(failure.kind_for(true), ErrorKind::TooLarge);
    assert!(responder.lines().is_empty());
    client.txn(&ops(fits), true, Mode::Stale, &call()).await.unwrap();
}

#[tokio::test]
async fn operations_that_write_are_never_repeated_whatever_the_caller_says() {
    let responder = Responder::start([Step::Cut(String::new()), answer(200, &[], "{}")]).await;
    let client = client(&[&responder], "").await;
    let ops = [Op::DeleteTree { prefix: "a/".to_owned() }];
    let failure = client.txn(&ops, false, Mode::Consistent, &call()).await.unwrap_err();
    assert_eq!(failure.kind_for(true), ErrorKind::OutcomeUnknown);
    assert_eq!(responder.lines(), ["PUT /v1/txn"]);
}

#[tokio::test]
async fn only_consul_says_that_something_is_not_there() {
    let page = "<html>Not Found</html>";
    let responder = Responder::start([
        answer(404, &[], page),
        answer(404, &[], page),
        answer(404, &[], page),
        answer(404, &[], page),
        answer(404, &["X-Consul-Index: 7"], page),
        answer(404, &[], ""),
        answer(404, &[], "Session id 's-1' not found"),
    ])
    .await;
    let client = client(&[&responder], "").await;
    let (mode, call) = (Mode::Consistent, call());
    let span = Span::One("a".to_owned());
    for failure in [
        client.get("a", mode, &call).await.map(drop).unwrap_err(),
        client.keys("a", mode, &call).await.map(drop).unwrap_err(),
        client.block(&span, None, WHOLE, "watch").await.map(drop).unwrap_err(),
        client.renew_session("s-1", &call).await.map(drop).unwrap_err(),
    ] {
        let error = failure.into_error(&call, false).to_string();
        assert!(error.contains("look whether it is Consul"), "{error}");
    }
    for _ in 0..2 {
        assert!(client.get("a", mode, &call).await.unwrap().body.is_none());
    }
    assert_eq!(client.renew_session("s-1", &call).await.unwrap(), None);
}
