//! The client against a server that answers what a test has written down.

mod bounds;
mod calls;
mod connections;
mod failover;
mod lists;
mod outcomes;
mod responder;

use std::time::Duration;

use bytes::Bytes;

use libkv_core::StoreUrl;
use tokio::time::Instant;

use self::responder::Responder;
use super::*;

const WHOLE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// A client of responders, in their order.
async fn client(responders: &[&Responder], parameters: &str) -> Client {
    let hosts: Vec<_> = responders.iter().map(|responder| responder.address.as_str()).collect();
    open(&format!("consul://{}{parameters}", hosts.join(","))).await.unwrap()
}

async fn open(url: &str) -> Result<Client> {
    Client::open(&url.parse::<StoreUrl>()?.try_into()?).await
}

fn within(time: Duration) -> Call {
    Call { operation: "test", deadline: Instant::now() + time }
}

fn call() -> Call {
    within(WHOLE)
}

fn set(name: &str, value: &str) -> Op {
    Op::Set { name: name.to_owned(), value: value.to_owned().into(), flags: 0 }
}

/// An operation that the server tells nothing of when it is done.
fn delete(name: &str) -> Op {
    Op::Delete { name: name.to_owned() }
}

/// The JSON of an entry. The value is in base64 already.
fn entry(name: &str, value: &str, index: u64) -> String {
    format!(
        r#"{{"LockIndex":0,"Key":"{name}","Flags":0,"Value":{value},"CreateIndex":1,"ModifyIndex":{index}}}"#
    )
}
