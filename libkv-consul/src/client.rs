//! The few calls of Consul's HTTP API that the backend needs. What they are for is not known here.

mod agent;
mod agents;
mod entries;
mod entry;
mod name;
mod reads;
mod request;
mod session;
mod splitter;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod txn;

use std::time::Duration;

use libkv_core::{ErrorKind, Result};
use serde::Deserialize;
use tokio::time::Instant;

use self::agents::{Agents, Whole};
pub(crate) use self::entries::Entries;
pub(crate) use self::entry::Entry;
use self::request::{Request, Way};
pub(crate) use self::session::{NewSession, SessionInfo};
#[cfg(test)]
use self::txn::body_bytes;
pub(crate) use self::txn::{LONGEST_BODY, Op, Refusal, TxnReply};
use crate::config::ConsulConfig;
use crate::error::Failure;

/// How many blocking queries may be under way, each on a connection of its own. With the ordinary
/// calls they stay below the 200 connections that an agent takes of one machine.
pub(crate) const WATCH_CONNECTIONS: usize = 64;

/// Which state a read sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// All that was acknowledged before the read.
    Consistent,
    /// What the asked server knows, however old that is.
    Stale,
}

/// A name, or all names that begin with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Span {
    One(String),
    Prefix(String),
}

/// What is done, and until when. The operation is for errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) operation: &'static str,
    pub(crate) deadline: Instant,
}

/// An answer of a read.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// Where a blocking query goes on from, as the server sent it: it may be zero, and may be less
    /// than the one before.
    pub(crate) index: Option<u64>,
    /// The token may not read all of it. Servers before 1.12 do not tell.
    pub(crate) filtered: bool,
    /// The server was asked for more than that, and leaves out of it what the token may not read.
    pub(crate) wide: bool,
    pub(crate) body: T,
}

/// A client of the agents of a datacenter.
#[derive(Debug)]
pub(crate) struct Client {
    agents: Agents,
    datacenter: Option<String>,
    operation_timeout: Duration,
}

impl Client {
    /// Reads what a configuration names, and prepares the agents. Nothing is connected yet.
    pub(crate) async fn open(config: &ConsulConfig) -> Result<Self> {
        let config = config.clone().checked()?;
        Ok(Self {
            agents: Agents::prepare(&config).await?,
            datacenter: config.datacenter,
            operation_timeout: config.common.operation_timeout,
        })
    }

    pub(crate) fn operation_timeout(&self) -> Duration {
        self.operation_timeout
    }

    /// The agent that is asked, for errors.
    pub(crate) fn address(&self) -> String {
        self.agents.address()
    }

    /// Whether calls show a token.
    pub(crate) fn shows_token(&self) -> bool {
        self.agents.shows_token()
    }

    /// How many more blocking queries find a connection at once.
    pub(crate) fn watch_connections_left(&self) -> usize {
        self.agents.watches_left()
    }

    /// Does several operations together or not at all. Where it is no `write` it may be repeated,
    /// and sees the state that `mode` says.
    pub(crate) async fn txn(
        &self,
        ops: &[Op],
        write: bool,
        mode: Mode,
        call: &Call,
    ) -> Result<TxnReply, Failure> {
        let body = txn::body(ops);
        if body.len() > LONGEST_BODY {
            let advice = format!(
                "{} bytes with keys and encoded values, and the server takes {LONGEST_BODY} at once",
                body.len()
            );
            return Err(Failure::unsent(ErrorKind::TooLarge, advice));
        }
        // The server decides by the operations, and so must be what is done after a failure.
        let way = if write || ops.iter().any(Op::writes) { Way::Write } else { Way::Read };
        let request = Request::put(way, "/v1/txn").answered_by(&[200, 409]).body(body);
        let request = if way == Way::Read { request.mode(mode) } else { request };
        let whole = self.call(request, call).await?;
        let status = whole.head.status;
        match whole.parsed(|body| TxnReply::parse(ops, status, body)) {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(Failure::withheld().at(&whole.address)),
            Err(failure) if status == 409 => Err(failure.refused()),
            Err(failure) => Err(failure),
        }
    }

    /// The address of the datacenter's leader, where there is one.
    pub(crate) async fn leader(&self, call: &Call) -> Result<Option<String>, Failure> {
        let whole = self.call(Request::get("/v1/status/leader"), call).await?;
        let leader: String = whole.parsed(|body| Ok(serde_json::from_slice(body)?))?;
        Ok((!leader.is_empty()).then_some(leader))
    }

    /// The agent's version; none where the token may not know it.
    pub(crate) async fn version(&self, call: &Call) -> Result<Option<(u32, u32)>, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Agent {
            config: Option<Config>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Config {
            version: Option<String>,
        }
        let request = Request::get("/v1/agent/self");
        let whole = match self.call(request, call).await {
            Err(failure) if failure.is_denied() => return Ok(None),
            whole => whole?,
        };
        let agent: Option<Agent> = serde_json::from_slice(&whole.body).ok();
        let version = agent.and_then(|agent| agent.config?.version);
        Ok(version.and_then(|version| {
            let mut numbers = version.splitn(3, '.').map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??))
        }))
    }

    /// Whether the servers ask who somebody is.
    pub(crate) async fn acls_enabled(&self, call: &Call) -> Result<bool, Failure> {
        let request = Request::get("/v1/acl/token/self").answered_by(&[200, 401, 403]);
        let whole = self.call(request, call).await?;
        let disabled = whole.head.status == 401
            && String::from_utf8_lossy(&whole.body).contains("ACL support disabled");
        Ok(!disabled)
    }

    async fn call(&self, request: Request, call: &Call) -> Result<Whole, Failure> {
        self.agents.call(&self.addressed(request), call).await
    }

    fn addressed(&self, request: Request) -> Request {
        request.datacenter(self.datacenter.as_deref())
    }
}

impl Whole {
    fn answer<T>(&self, body: T) -> Answer<T> {
        Answer { index: self.head.index, filtered: self.head.filtered, wide: false, body }
    }

    fn parsed<T>(
        &self,
        parse: impl FnOnce(&[u8]) -> Result<T, entry::Malformed>,
    ) -> Result<T, Failure> {
        parse(&self.body).map_err(|cause| Failure::malformed(cause).at(&self.address))
    }
}
