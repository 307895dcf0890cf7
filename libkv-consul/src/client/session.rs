//! Sessions: what a server keeps of them, and in which form.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entry::Malformed;
use super::request::{Lane, Request, Way};
use super::{Call, Client, Mode};
use crate::error::{Failure, judge};

/// A session to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewSession {
    /// What operators see of it.
    pub(crate) name: &'static str,
    pub(crate) ttl: Duration,
}

/// A session as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionInfo {
    pub(crate) id: String,
    pub(crate) name: String,
    /// None where it does not end by itself, or where nobody can tell.
    pub(crate) ttl: Option<Duration>,
    pub(crate) behavior: String,
}

impl Client {
    /// Makes a session, and says its id.
    pub(crate) async fn create_session(
        &self,
        session: &NewSession,
        call: &Call,
    ) -> Result<String, Failure> {
        let request = Request::put(Way::Write, "/v1/session/create")
            .body(session.body())
            .lane(Lane::Sessions);
        self.call(request, call).await?.parsed(created)
    }

    /// Renews a session, and says for how long; none if there is no such session.
    pub(crate) async fn renew_session(
        &self,
        id: &str,
        call: &Call,
    ) -> Result<Option<Duration>, Failure> {
        let request = Request::put(Way::Read, "/v1/session/renew").part(id).lane(Lane::Sessions);
        let whole = self.call(request.answered_by(&[200, 404]), call).await?;
        if whole.head.status == 404 {
            // Others than Consul know nothing of the session, and that says nothing of it.
            let named = String::from_utf8_lossy(&whole.body).contains(id);
            return if named {
                Ok(None)
            } else {
                Err(judge(404, &whole.body, None, None).at(&whole.address))
            };
        }
        let renewed = whole.parsed(SessionInfo::parse_all)?;
        match renewed.into_iter().next().and_then(|session| session.ttl) {
            Some(ttl) => Ok(Some(ttl)),
            None => Err(Failure::malformed("no time to live").at(&whole.address)),
        }
    }

    /// Ends a session. One that is gone is as good.
    pub(crate) async fn destroy_session(&self, id: &str, call: &Call) -> Result<(), Failure> {
        let request = Request::put(Way::Read, "/v1/session/destroy").part(id).lane(Lane::Sessions);
        self.call(request, call).await.map(drop)
    }

    /// Reads a session. To a token without the right to, servers before 1.12 say that it is gone.
    pub(crate) async fn session(
        &self,
        id: &str,
        mode: Mode,
        call: &Call,
    ) -> Result<Option<SessionInfo>, Failure> {
        let request = Request::get("/v1/session/info").part(id).lane(Lane::Sessions).mode(mode);
        let whole = self.call(request, call).await?;
        let found = whole.parsed(SessionInfo::parse_all)?;
        match found.into_iter().find(|session| session.id == id) {
            None if whole.head.filtered => Err(Failure::withheld().at(&whole.address)),
            session => Ok(session),
        }
    }

    /// Reads all sessions of the datacenter.
    pub(crate) async fn sessions(
        &self,
        mode: Mode,
        call: &Call,
    ) -> Result<Vec<SessionInfo>, Failure> {
        let request = Request::get("/v1/session/list").mode(mode);
        self.call(request, call).await?.parsed(SessionInfo::parse_all)
    }
}

/// How long nobody may take a key after its session ended. The server keeps the delay by its own
/// clock and tells nobody when it is over, so it is as short as it gets.
const LOCK_DELAY: &str = "0s";

impl NewSession {
    /// The body of the request. Its keys go with the session. It hangs on no check: the usual one is
    /// of the agent's machine, whose end is not the client's.
    pub(crate) fn body(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Body<'a> {
            name: &'a str,
            #[serde(rename = "TTL")]
            ttl: String,
            behavior: &'a str,
            lock_delay: &'a str,
            // The first is of older servers, and the others of newer ones.
            checks: [(); 0],
            node_checks: [(); 0],
            service_checks: [(); 0],
        }
        let body = Body {
            name: self.name,
            ttl: format!("{}ms", self.ttl.as_millis()),
            behavior: "delete",
            lock_delay: LOCK_DELAY,
            checks: [],
            node_checks: [],
            service_checks: [],
        };
        // Text and empty lists can always be written.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl SessionInfo {
    pub(crate) fn parse_all(array: &[u8]) -> Result<Vec<Self>, Malformed> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Raw {
            #[serde(rename = "ID")]
            id: String,
            #[serde(default)]
            name: String,
            #[serde(default, rename = "TTL")]
            ttl: String,
            #[serde(default)]
            behavior: String,
        }
        let raws: Option<Vec<Raw>> = serde_json::from_slice(array)?;
        let info = |raw: Raw| Self {
            id: raw.id,
            name: raw.name,
            ttl: duration(&raw.ttl),
            behavior: raw.behavior,
        };
        Ok(raws.unwrap_or_default().into_iter().map(info).collect())
    }
}

/// Reads the id of a new session.
pub(crate) fn created(object: &[u8]) -> Result<String, Malformed> {
    #[derive(Deserialize)]
    struct Created {
        #[serde(rename = "ID")]
        id: String,
    }
    let created: Created = serde_json::from_slice(object)?;
    match created.id.is_empty() {
        true => Err("a session without an id".into()),
        false => Ok(created.id),
    }
}

/// Reads a time span as Go writes it, such as `15s`, `1m30s` or `1.5h`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let unit = &after[..after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len())];
        let seconds = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        let part = Duration::try_from_secs_f64(number * seconds).ok()?;
        sum = sum.checked_add(part)?;
        rest = &after[unit.len()..];
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_hangs_on_no_check_and_takes_its_keys_with_it() {
        let session = NewSession { name: "libkv", ttl: Duration::from_secs(15) };
        let body = String::from_utf8(session.body()).unwrap();
        assert_eq!(
            body,
            r#"{"Name":"libkv","TTL":"15000ms","Behavior":"delete","LockDelay":"0s","Checks":[],"NodeChecks":[],"ServiceChecks":[]}"#
        );
    }

    #[test]
    fn what_the_server_knows_is_read() {
        let text = br#"[{"ID":"s-1","Name":"n","TTL":"1m30s","Behavior":"delete","Node":"x"},
            {"ID":"s-2","TTL":""}]"#;
        let sessions = SessionInfo::parse_all(text).unwrap();
        assert_eq!(sessions[0].ttl, Some(Duration::from_secs(90)));
        assert_eq!((sessions[0].id.as_str(), sessions[0].behavior.as_str()), ("s-1", "delete"));
        assert_eq!((sessions[1].name.as_str(), sessions[1].ttl), ("", None));
        assert_eq!(SessionInfo::parse_all(b"null").unwrap(), []);
        assert!(SessionInfo::parse_all(b"{}").is_err());
        assert_eq!(created(br#"{"ID":"s-3"}"#).unwrap(), "s-3");
        assert!(created(br#"{"ID":""}"#).is_err() && created(b"true").is_err());
    }

    #[test]
    fn times_are_read_as_go_writes_them() {
        for (text, millis) in [
            ("15s", 15_000),
            ("15000ms", 15_000),
            ("1h0m0s", 3_600_000),
            ("1m1.5s", 61_500),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("1\u{b5}s1ns"), Some(Duration::from_nanos(1_001)));
        for text in ["", "15", "s", "-1s", "1d", "1..s", "1e999h", "99999999999999999999h", "1s "] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
