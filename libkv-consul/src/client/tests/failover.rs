//! Several agents.

use libkv_core::ErrorKind;

use super::responder::{Responder, Step, answer};
use super::*;

/// An address where nobody is.
async fn nobody() -> Responder {
    let mut responder = Responder::start([]).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    responder.address = listener.local_addr().unwrap().to_string();
    responder
}

async fn write(client: &Client) -> Result<TxnReply, Failure> {
    client.txn(&[delete("a")], true, Mode::Stale, &call()).await
}

#[tokio::test]
async fn a_read_goes_to_another_agent_and_stays_there() {
    let first = Responder::start([Step::Cut(String::new())]).await;
    let second = Responder::start([answer(404, &[], ""), answer(404, &[], "")]).await;
    let client = client(&[&first, &second], "").await;
    assert_eq!(client.address(), first.address);
    for _ in 0..2 {
        client.get("a", Mode::Consistent, &call()).await.unwrap();
    }
    assert_eq!(client.address(), second.address);
    assert_eq!((first.lines().len(), second.lines().len()), (1, 2));
}

#[tokio::test]
async fn a_read_leaves_a_silent_agent_within_its_time() {
    let first = Responder::start([Step::Silence]).await;
    let second = Responder::start([answer(404, &[], "")]).await;
    let client = client(&[&first, &second], "").await;
    client.get("a", Mode::Consistent, &within(3 * SHORT)).await.unwrap();
    assert_eq!((first.lines().len(), second.lines().len()), (1, 1));
}

#[tokio::test]
async fn a_write_goes_to_another_agent_only_where_the_first_did_nothing() {
    let (dead, second) = (nobody().await, Responder::start([answer(200, &[], "{}")]).await);
    let both = client(&[&dead, &second], "").await;
    write(&both).await.unwrap();
    assert_eq!(both.address(), second.address);

    for step in [Step::Cut(String::new()), Step::Silence, answer(500, &[], "raft: something")] {
        let first = Responder::start([step]).await;
        let second = Responder::start([answer(200, &[], "{}")]).await;
        let client = client(&[&first, &second], "").await;
        let ops = [delete("a")];
        let failure = client.txn(&ops, true, Mode::Stale, &within(SHORT)).await.unwrap_err();
        assert_eq!(failure.kind_for(true), ErrorKind::OutcomeUnknown, "{failure:?}");
        assert!(second.lines().is_empty());
        // The next one goes where somebody may answer.
        assert_eq!(client.address(), second.address);
    }

    let first = Responder::start([answer(500, &[], "No cluster leader")]).await;
    let second = Responder::start([answer(200, &[], "{}")]).await;
    write(&client(&[&first, &second], "").await).await.unwrap();
    let first = Responder::start([answer(429, &[], "")]).await;
    let second = Responder::start([answer(200, &[], "{}")]).await;
    write(&client(&[&first, &second], "").await).await.unwrap();
}

#[tokio::test]
async fn where_nobody_is_the_call_ends_at_once_and_changed_nothing() {
    let (first, second) = (nobody().await, nobody().await);
    let client = client(&[&first, &second], "").await;
    let begun = Instant::now();
    let failure = write(&client).await.unwrap_err();
    assert_eq!(failure.kind_for(true), ErrorKind::NotReachable);
    let failure = client.get("a", Mode::Consistent, &call()).await.unwrap_err();
    assert_eq!(failure.kind_for(false), ErrorKind::NotReachable);
    assert!(begun.elapsed() < WHOLE / 2);
    let error = failure.into_error(&call(), false);
    assert!(error.to_string().contains(": no connection") && error.is_transient(), "{error}");
}

#[tokio::test]
async fn where_every_connection_breaks_at_once_nobody_is_there() {
    let responder = Responder::start([(); 4].map(|()| Step::Cut(String::new()))).await;
    let client = client(&[&responder], "").await;
    let failure = client.get("a", Mode::Consistent, &call()).await.unwrap_err();
    assert_eq!(failure.kind_for(false), ErrorKind::NotReachable);
    assert_eq!(responder.lines().len(), 3);
}

#[tokio::test]
async fn a_query_that_fails_is_asked_elsewhere_the_next_time() {
    let first = Responder::start([Step::Cut(String::new())]).await;
    let second = Responder::start([answer(404, &["X-Consul-Index: 4"], "")]).await;
    let client = client(&[&first, &second], "").await;
    let span = Span::Prefix("a/".to_owned());
    let failure = client.block(&span, Some(3), WHOLE, "watch").await.unwrap_err();
    assert_eq!(failure.kind_for(false), ErrorKind::NotReachable);
    let answer = client.block(&span, Some(3), WHOLE, "watch").await.unwrap();
    assert_eq!(answer.index, Some(4));
}
