use std::io::Result;

use bytes::Bytes;
use serde_json::Value;

use crate::harness::http::{self, Answer, Request};
use crate::harness::on_harness;

/// Consul's HTTP interface, for what its program does not tell, or not to the byte. It is asked
/// without TLS, also where clients need that.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    addr: String,
    token: Option<String>,
}

impl Api {
    pub(super) fn new(addr: String, token: Option<String>) -> Self {
        Self { addr, token }
    }

    /// Asks with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { addr: self.addr.clone(), token: Some(token.to_owned()) }
    }

    /// The token that it asks with.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.ask("PUT", path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, "").await
    }

    async fn ask(&self, method: &'static str, path: &str, body: impl Into<Bytes>) -> Answer {
        let answer = self.try_ask(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("Consul does not answer to {method} {path}: {error}"))
    }

    /// Asks a server that may not be there, or that stands still.
    pub(super) async fn try_ask(
        &self,
        method: &'static str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let (addr, path, body) = (self.addr.clone(), path.to_owned(), body.into());
        let token = self.token.as_ref().map(|token| format!("X-Consul-Token: {token}\r\n"));
        on_harness(async move {
            let head = token.unwrap_or_default();
            http::send(&addr, Request { method, path: &path, head: &head, body: &body }).await
        })
        .await
    }
}

impl Answer {
    /// The body as JSON, if all went well; otherwise a panic with what the server said.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let text = self.text();
        assert_eq!(self.status, 200, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }
}
