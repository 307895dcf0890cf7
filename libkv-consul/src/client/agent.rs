//! One agent, and the connections to it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use libkv_core::{Error, ErrorKind, Result};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, Url};
use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::WATCH_CONNECTIONS;
use super::request::{Lane, Request};
use super::token::Carried;
use crate::config::ConsulConfig;
use crate::error::{CONSUL, Failure, judge};

/// A connection that nobody uses is given back to the agent after this.
const IDLE: Duration = Duration::from_secs(60);
/// A peer that is gone without a word is found by these, where a call waits long for its answer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TRIES: u32 = 3;
/// The part of the connections for calls that sessions have besides.
const SOME: usize = 4;
/// How much of an answer is read that only explains a failure.
const LONGEST_EXPLANATION: usize = 64 << 10;

/// An agent. Calls and watches have connections of their own, so that neither takes the other's.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) address: String,
    base: String,
    calls: reqwest::Client,
    watches: reqwest::Client,
    turns: Turns,
}

/// Who may call an agent now; the others wait in line. An agent drops what is over its limit of
/// connections, and what was sent on one is then lost.
#[derive(Debug)]
struct Turns {
    calls: Arc<Semaphore>,
    lists: Arc<Semaphore>,
    sessions: Arc<Semaphore>,
    /// Shared by all agents.
    watches: Arc<Semaphore>,
}

/// What an agent answers before the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) index: Option<u64>,
    pub(crate) filtered: bool,
    /// There is surely no body.
    pub(crate) empty: bool,
}

/// An answer whose body is still to come. It keeps its turn until it is dropped.
#[derive(Debug)]
pub(crate) struct Coming {
    pub(crate) head: Head,
    pub(crate) response: Response,
    pub(crate) _turn: OwnedSemaphorePermit,
}

impl Agent {
    /// Waits in line.
    pub(crate) async fn turn(&self, lane: Lane) -> Result<OwnedSemaphorePermit, Failure> {
        let line = match lane {
            Lane::Calls => &self.turns.calls,
            Lane::Lists => &self.turns.lists,
            Lane::Sessions => &self.turns.sessions,
            Lane::Watches => &self.turns.watches,
        };
        // No line is ever closed.
        line.clone().acquire_owned().await.map_err(|_| Failure::queued(Duration::ZERO))
    }

    /// Sends a request, and waits until the answer begins. What is no answer to it is a failure.
    pub(crate) async fn send(
        &self,
        request: &Request,
        turn: OwnedSemaphorePermit,
        token: Option<&Carried>,
        until: Instant,
    ) -> Result<Coming, Failure> {
        let (begun, fate) = (Instant::now(), Arc::new(Fate::default()));
        let http = self.http(request, token, &fate)?;
        let client = match request.lane {
            Lane::Watches => &self.watches,
            Lane::Calls | Lane::Lists | Lane::Sessions => &self.calls,
        };
        let has_left = || request.body.is_none() || fate.has_left();
        let response = match timeout_at(until, client.execute(http)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Failure::broken(error, has_left()).at(&self.address)),
            Err(_) => return Err(Failure::silent(begun.elapsed(), has_left()).at(&self.address)),
        };
        let head = Head::of(&response);
        let coming = Coming { head, response, _turn: turn };
        if request.is_answered_by(&head) {
            return Ok(coming);
        }
        let retry_after = coming.response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let text = explanation(coming.response, until).await;
        let retry_after = retry_after.map(Duration::from_secs);
        let secret = token.map(|token| &token.secret);
        Err(judge(head.status, &text, retry_after, secret).at(&self.address))
    }

    /// Prepares a request, whose `fate` is told by its body.
    fn http(
        &self,
        request: &Request,
        token: Option<&Carried>,
        fate: &Arc<Fate>,
    ) -> Result<reqwest::Request, Failure> {
        let unusable = |error: String| Failure::unsent(ErrorKind::Other, error).at(&self.address);
        let url = Url::parse(&format!("{}{}", self.base, request.target))
            .map_err(|error| unusable(format!("no request can be made of it: {error}")))?;
        let path_and_query = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        // A URL may be folded; another key than the one meant must never be asked for.
        if path_and_query != request.target {
            return Err(unusable("no URL can carry it".to_owned()));
        }
        let mut http = reqwest::Request::new(request.method.clone(), url);
        if let Some(token) = token {
            http.headers_mut().insert("x-consul-token", token.header.clone());
        }
        if let Some(body) = &request.body {
            let json = reqwest::header::HeaderValue::from_static("application/json");
            http.headers_mut().insert(CONTENT_TYPE, json);
            let told = Told { body: Some(body.clone()), fate: fate.clone() };
            *http.body_mut() = Some(reqwest::Body::wrap(told));
        }
        Ok(http)
    }
}

impl Head {
    fn of(response: &Response) -> Self {
        let header = |name| response.headers().get(name)?.to_str().ok();
        Self {
            status: response.status().as_u16(),
            index: header("x-consul-index").and_then(|index| index.parse().ok()),
            filtered: header("x-consul-results-filtered-by-acls") == Some("true"),
            empty: response.content_length() == Some(0),
        }
    }
}

/// What the agent says about a failure, as far as that comes.
async fn explanation(mut response: Response, until: Instant) -> Vec<u8> {
    let mut text = Vec::new();
    while text.len() < LONGEST_EXPLANATION {
        match timeout_at(until, response.chunk()).await {
            Ok(Ok(Some(piece))) => text.extend_from_slice(&piece),
            _ => break,
        }
    }
    text
}

/// Whether a request has left. The connection may take its body at any time, on another thread, so
/// whoever says that it has not left also keeps it from leaving.
#[derive(Debug, Default)]
struct Fate(AtomicU8);

const WAITING: u8 = 0;
const LEFT: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Fate {
    /// Lets it leave, unless it was withdrawn.
    fn leave(&self) -> bool {
        self.settle(LEFT) != WITHDRAWN
    }

    /// Whether it has left; if not, it never will.
    fn has_left(&self) -> bool {
        self.settle(WITHDRAWN) == LEFT
    }

    /// Settles it if nobody did before, and says what it was then.
    fn settle(&self, wanted: u8) -> u8 {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        match self.0.compare_exchange(WAITING, wanted, success, failure) {
            Ok(_) => wanted,
            Err(settled) => settled,
        }
    }
}

/// A body that tells when it is taken. Until then nothing of the request has left: its head goes out
/// with the first piece of its body.
struct Told {
    body: Option<Bytes>,
    fate: Arc<Fate>,
}

/// Nobody waits for the answer any more, and was told that nothing was sent.
#[derive(Debug)]
struct Withdrawn;

impl std::fmt::Display for Withdrawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("withdrawn before it was sent")
    }
}

impl std::error::Error for Withdrawn {}

impl Body for Told {
    type Data = Bytes;
    type Error = Withdrawn;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if !self.fate.leave() {
            return Poll::Ready(Some(Err(Withdrawn)));
        }
        Poll::Ready(self.body.take().map(|body| Ok(Frame::data(body))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }
}

/// Prepares the agents of a configuration. Nothing is connected yet.
pub(crate) fn prepare(
    config: &ConsulConfig,
    tls: ClientConfig,
    watches: &Arc<Semaphore>,
) -> Result<Vec<Agent>> {
    let agents = config.agents().into_iter().zip(config.addresses());
    agents
        .map(|((name, port), address)| prepare_one(config, &tls, watches, name, port, address))
        .collect()
}

fn prepare_one(
    config: &ConsulConfig,
    tls: &ClientConfig,
    watches: &Arc<Semaphore>,
    name: String,
    port: u16,
    address: String,
) -> Result<Agent> {
    let scheme = if config.common.tls.is_some() { "https" } else { "http" };
    let server_name = config.common.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
    let (authority, address) = match (&config.unix_socket, server_name) {
        (Some(path), _) => ("localhost".to_owned(), path.display().to_string()),
        (None, Some(server_name)) => (format!("{server_name}:{port}"), address),
        (None, None) => (address.clone(), address),
    };
    let base = format!("{scheme}://{authority}");
    let invalid =
        |detail: String| Error::new(ErrorKind::InvalidConfig, CONSUL, "open").with_detail(detail);
    let parsed = Url::parse(&base)
        .map_err(|error| invalid(format!("{authority} cannot be used")).with_source(error))?;
    if server_name.is_some() && parsed.domain().is_none() {
        return Err(invalid(
            "server_name is no name; an address in a certificate needs none".to_owned(),
        ));
    }
    let client = |most_idle| {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(concat!("libkv/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.common.connection_timeout)
            .pool_max_idle_per_host(most_idle)
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .tcp_keepalive(KEEP_ALIVE)
            .tcp_keepalive_interval(KEEP_ALIVE)
            .tcp_keepalive_retries(KEEP_ALIVE_TRIES);
        if server_name.is_some() {
            builder = builder.dns_resolver(Arc::new(Fixed { name: name.clone(), port }));
        }
        #[cfg(unix)]
        if let Some(path) = &config.unix_socket {
            builder = builder.unix_socket(path.clone());
        }
        builder
            .build()
            .map_err(|error| invalid(format!("{address} cannot be used")).with_source(error))
    };
    let (calls, watching) = (client(config.max_connections)?, client(WATCH_CONNECTIONS)?);
    let line = |length| Arc::new(Semaphore::new(length));
    let some = config.max_connections.div_ceil(SOME);
    let turns = Turns {
        calls: line(config.max_connections),
        lists: line(config.max_connections),
        sessions: line(some),
        watches: watches.clone(),
    };
    Ok(Agent { address: address.clone(), base, calls, watches: watching, turns })
}

/// Finds the agent where the URL has the name of its certificate instead of its own, so that the
/// name is shown to the agent, too.
struct Fixed {
    name: String,
    port: u16,
}

impl Resolve for Fixed {
    fn resolve(&self, _: Name) -> Resolving {
        let (name, port) = (self.name.clone(), self.port);
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name, port)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_not_to_have_left_never_leaves() {
        for given_up in [false, true] {
            let fate = Arc::new(Fate::default());
            let mut body = Told { body: Some(Bytes::from_static(b"x")), fate: fate.clone() };
            if given_up {
                assert!(!fate.has_left());
            }
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) else {
                panic!("a body is there at once");
            };
            assert_eq!((frame.is_err(), fate.has_left()), (given_up, !given_up));
        }
    }
}
