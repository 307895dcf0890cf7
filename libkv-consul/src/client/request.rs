//! What is asked of an agent, as a path and parameters.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;

use super::Mode;
use super::agent::Head;

/// Whether a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A second time does no harm.
    Read,
    /// It is sent again only where it surely did nothing.
    Write,
}

/// What a request is about. Each kind waits in a line of its own, so that no long listing and no
/// crowd of calls keeps the renewal of a session waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Calls,
    Lists,
    Sessions,
    Watches,
}

/// A request, without the agent that it goes to.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) body: Option<Bytes>,
    pub(crate) way: Way,
    pub(crate) lane: Lane,
    /// The statuses that answer it; any other is a failure.
    answers: &'static [u16],
    /// It is about keys, and a key that is not there is an answer.
    keys: bool,
    has_query: bool,
}

impl Request {
    fn new(method: Method, way: Way, target: String) -> Self {
        let (lane, answers) = (Lane::Calls, &[200]);
        Self { method, target, body: None, way, lane, answers, keys: false, has_query: false }
    }

    /// Reads what is at a path.
    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new(Method::GET, Way::Read, target.into())
    }

    /// Changes something, or tells the agent to do it.
    pub(crate) fn put(way: Way, target: impl Into<String>) -> Self {
        Self::new(Method::PUT, way, target.into())
    }

    /// Reads keys. `name` is encoded already. A key that is not there is an answer.
    pub(crate) fn kv(name: &str) -> Self {
        Self { keys: true, ..Self::get(format!("/v1/kv/{name}")) }
    }

    /// Whether an answer is one to this. That a key is not there Consul says with an index or
    /// without a word: other words of that status are somebody else's, such as a proxy's.
    pub(crate) fn is_answered_by(&self, head: &Head) -> bool {
        let absent = self.keys && head.status == 404 && (head.index.is_some() || head.empty);
        absent || self.answers.contains(&head.status)
    }

    /// Names something behind the path, other than a key.
    pub(crate) fn part(mut self, part: &str) -> Self {
        const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
        // Writing to a string does not fail.
        let _ = write!(self.target, "/{}", utf8_percent_encode(part, PART));
        self
    }

    pub(crate) fn answered_by(self, answers: &'static [u16]) -> Self {
        Self { answers, ..self }
    }

    pub(crate) fn lane(self, lane: Lane) -> Self {
        Self { lane, ..self }
    }

    pub(crate) fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    /// Says yes to a parameter. Consul takes it for said wherever it stands, also as `=false`, so
    /// there is no other way to write one.
    pub(crate) fn flag(mut self, name: &'static str) -> Self {
        self.separate();
        self.target.push_str(name);
        self
    }

    pub(crate) fn mode(self, mode: Mode) -> Self {
        match mode {
            Mode::Consistent => self.flag("consistent"),
            Mode::Stale => self.flag("stale"),
        }
    }

    /// Names another datacenter than the agent's own.
    pub(crate) fn datacenter(self, datacenter: Option<&str>) -> Self {
        match datacenter {
            Some(datacenter) => self.value("dc", datacenter),
            None => self,
        }
    }

    /// Waits until something is newer than an index. Without one the answer comes at once.
    pub(crate) fn after(self, index: u64, wait: Duration) -> Self {
        let wait = format!("{}ms", wait.as_millis().max(1));
        self.value("index", &index.to_string()).value("wait", &wait)
    }

    fn value(mut self, name: &'static str, value: &str) -> Self {
        self.separate();
        let _ = write!(self.target, "{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        self
    }

    fn separate(&mut self) {
        self.target.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_is_said_by_its_presence_has_no_value() {
        let wait = Duration::from_secs(60);
        let dc = Some("a b");
        for (request, target) in [
            (Request::kv("a%20b").mode(Mode::Consistent), "/v1/kv/a%20b?consistent"),
            (Request::kv("").flag("keys").mode(Mode::Stale), "/v1/kv/?keys&stale"),
            (
                Request::kv("a/")
                    .flag("recurse")
                    .mode(Mode::Consistent)
                    .after(7, wait)
                    .datacenter(dc),
                "/v1/kv/a/?recurse&consistent&index=7&wait=60000ms&dc=a%20b",
            ),
            (Request::get("/v1/session/info").part("a/b?c"), "/v1/session/info/a%2Fb%3Fc"),
            (Request::put(Way::Write, "/v1/txn").datacenter(None), "/v1/txn"),
        ] {
            assert_eq!(request.target, target);
        }
    }
}
