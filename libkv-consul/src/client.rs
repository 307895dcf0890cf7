//! The few calls of Consul's HTTP API that the backend needs. What they are for is not known here.

mod agent;
mod agents;
mod entries;
mod entry;
mod name;
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
use self::name::{Alphabet, Place, encoded};
use self::request::{Request, Way};
pub(crate) use self::session::{NewSession, SessionInfo};
#[allow(unused_imports, reason = "the store that asks for it comes next")]
pub(crate) use self::txn::body_bytes;
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
        Ok(Self {
            agents: Agents::prepare(config).await?,
            datacenter: config.datacenter.clone(),
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

    /// Reads a key.
    pub(crate) async fn get(
        &self,
        name: &str,
        mode: Mode,
        call: &Call,
    ) -> Result<Answer<Option<Entry>>, Failure> {
        let Some(path) = encoded(name, Alphabet::Letters).filter(|path| !path.is_empty()) else {
            return self.get_by_txn(name, mode, call).await;
        };
        let whole = match self.call(Request::kv(&path).mode(mode), call).await {
            Err(failure) if is_unprintable(&failure, name) => {
                return self.get_by_txn(name, mode, call).await;
            }
            whole => whole?,
        };
        if whole.head.status == 404 {
            return Ok(whole.answer(None));
        }
        let entry = whole.parsed(Entry::parse_all)?.into_iter().find(|entry| entry.name == name);
        match entry {
            Some(entry) => Ok(whole.answer(Some(entry))),
            None => Err(Failure::malformed("another key").at(&whole.address)),
        }
    }

    /// Reads a key whose name no path can carry.
    async fn get_by_txn(
        &self,
        name: &str,
        mode: Mode,
        call: &Call,
    ) -> Result<Answer<Option<Entry>>, Failure> {
        let answer = |entry| Answer { index: None, filtered: false, body: entry };
        match self.txn(&[Op::Get { name: name.to_owned() }], false, mode, call).await? {
            TxnReply::Done(entries) => Ok(answer(entries.into_iter().next())),
            TxnReply::Refused(refusals) => match refusals.into_iter().next() {
                Some(Refusal { what, .. }) if what.ends_with("doesn't exist") => Ok(answer(None)),
                Some(Refusal { what, .. }) => Err(Failure::refusal(&what).at(&self.address())),
                None => Err(Failure::malformed("no reason").refused().at(&self.address())),
            },
        }
    }

    /// Reads the names that begin with a prefix.
    pub(crate) async fn keys(
        &self,
        prefix: &str,
        mode: Mode,
        call: &Call,
    ) -> Result<Answer<Vec<String>>, Failure> {
        let span = Span::Prefix(prefix.to_owned());
        let request = |place: &Place| Request::kv(&place.path).flag("keys").mode(mode);
        let place = Place::of(&span, Alphabet::Letters);
        let whole = match self.call(request(&place), call).await {
            Err(failure) if is_unprintable(&failure, prefix) => {
                self.call(request(&Place::of(&span, Alphabet::Ascii)), call).await?
            }
            whole => whole?,
        };
        if whole.head.status == 404 {
            return Ok(whole.answer(Vec::new()));
        }
        let mut names: Vec<String> = whole.parsed(|body| Ok(serde_json::from_slice(body)?))?;
        names.retain(|name| span.covers(name));
        Ok(whole.answer(names))
    }

    /// Reads the keys that begin with a prefix, as they come.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        mode: Mode,
        call: &Call,
    ) -> Result<Answer<Entries>, Failure> {
        let span = Span::Prefix(prefix.to_owned());
        match self.list_at(Place::of(&span, Alphabet::Letters), mode, call).await {
            Err(failure) if is_unprintable(&failure, prefix) => {
                self.list_at(Place::of(&span, Alphabet::Ascii), mode, call).await
            }
            answer => answer,
        }
    }

    async fn list_at(
        &self,
        place: Place,
        mode: Mode,
        call: &Call,
    ) -> Result<Answer<Entries>, Failure> {
        let request = self.addressed(Request::kv(&place.path).flag("recurse").mode(mode));
        let (coming, address) = self.agents.begin(&request, call).await?;
        let head = coming.head;
        let body = Entries::of(coming, place.only, address);
        Ok(Answer { index: head.index, filtered: head.filtered, body })
    }

    /// Waits until the index of a span is above `index`, and at most about `wait`; without an index,
    /// or with zero, the answer comes at once. It asks one agent, once.
    ///
    /// A server never learns that nobody waits any more, other than by its connection.
    pub(crate) async fn block(
        &self,
        span: &Span,
        index: Option<u64>,
        wait: Duration,
        operation: &'static str,
    ) -> Result<Answer<Entries>, Failure> {
        let name = match span {
            Span::One(name) | Span::Prefix(name) => name,
        };
        match self.block_at(Place::of(span, Alphabet::Letters), index, wait, operation).await {
            Err(failure) if is_unprintable(&failure, name) => {
                self.block_at(Place::of(span, Alphabet::Ascii), index, wait, operation).await
            }
            answer => answer,
        }
    }

    async fn block_at(
        &self,
        place: Place,
        index: Option<u64>,
        wait: Duration,
        operation: &'static str,
    ) -> Result<Answer<Entries>, Failure> {
        let mut request = Request::kv(&place.path);
        if place.recurse {
            request = request.flag("recurse");
        }
        request = request.mode(Mode::Consistent);
        let mut limit = self.operation_timeout;
        if let Some(index) = index.filter(|index| *index > 0) {
            request = request.after(index, wait);
            // The server waits up to a sixteenth longer, so that not all come back at once.
            limit += wait + wait / 16;
        }
        tracing::trace!(backend = %crate::error::CONSUL, operation, index, "a query waits");
        let (coming, address) = self.agents.watch(&self.addressed(request), limit).await?;
        let head = coming.head;
        let body = Entries::of(coming, place.only, address);
        Ok(Answer { index: head.index, filtered: head.filtered, body })
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
        whole.parsed(|body| TxnReply::parse(status, body)).map_err(|failure| match status {
            409 => failure.refused(),
            _ => failure,
        })
    }

    /// Makes a session, and says its id.
    pub(crate) async fn create_session(
        &self,
        session: &NewSession,
        call: &Call,
    ) -> Result<String, Failure> {
        let request = Request::put(Way::Write, "/v1/session/create").body(session.body());
        self.call(request, call).await?.parsed(session::created)
    }

    /// Renews a session, and says for how long; none if there is no such session.
    pub(crate) async fn renew_session(
        &self,
        id: &str,
        call: &Call,
    ) -> Result<Option<Duration>, Failure> {
        let request = Request::put(Way::Read, "/v1/session/renew").part(id);
        let whole = self.call(request.answered_by(&[200, 404]), call).await?;
        if whole.head.status == 404 {
            return Ok(None);
        }
        let renewed = whole.parsed(SessionInfo::parse_all)?;
        match renewed.into_iter().next().and_then(|session| session.ttl) {
            Some(ttl) => Ok(Some(ttl)),
            None => Err(Failure::malformed("no time to live").at(&whole.address)),
        }
    }

    /// Ends a session. One that is gone is as good.
    pub(crate) async fn destroy_session(&self, id: &str, call: &Call) -> Result<(), Failure> {
        let request = Request::put(Way::Read, "/v1/session/destroy").part(id);
        self.call(request, call).await.map(drop)
    }

    /// Reads a session.
    pub(crate) async fn session(
        &self,
        id: &str,
        mode: Mode,
        call: &Call,
    ) -> Result<Option<SessionInfo>, Failure> {
        let request = Request::get("/v1/session/info").part(id).mode(mode);
        let found = self.call(request, call).await?.parsed(SessionInfo::parse_all)?;
        Ok(found.into_iter().find(|session| session.id == id))
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

/// Whether an agent may have refused a path because its table of Unicode is older than a letter.
fn is_unprintable(failure: &Failure, name: &str) -> bool {
    failure.is_bad_request() && !name.is_ascii()
}

impl Whole {
    fn answer<T>(&self, body: T) -> Answer<T> {
        Answer { index: self.head.index, filtered: self.head.filtered, body }
    }

    fn parsed<T>(
        &self,
        parse: impl FnOnce(&[u8]) -> Result<T, entry::Malformed>,
    ) -> Result<T, Failure> {
        parse(&self.body).map_err(|cause| Failure::malformed(cause).at(&self.address))
    }
}
