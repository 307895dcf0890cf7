//! Which agent is asked, and when another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use libkv_core::{Backoff, Result};
use reqwest::Response;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::agent::{Agent, Coming, Head, prepare};
use super::request::{Request, Way};
use super::token::{Carried, Token};
use super::{Call, WATCH_CONNECTIONS, tls};
use crate::config::ConsulConfig;
use crate::error::{CONSUL, Failure, Verdict};

/// What a read may take at one agent before it is tried at another, as a part of its time.
const SHARE: u32 = 3;
/// Pauses between rounds over all agents.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many connections to each agent may break at once before nobody is taken to be there.
const UNHEARD: usize = 3;

/// The agents of a datacenter. Calls go to one of them, until it fails.
#[derive(Debug)]
pub(crate) struct Agents {
    agents: Vec<Agent>,
    current: AtomicUsize,
    token: Token,
    /// Who may watch now, at any agent.
    watching: Arc<Semaphore>,
}

/// An answer that is there as a whole, and whose it is.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) head: Head,
    pub(crate) body: Bytes,
    pub(crate) address: String,
}

/// How much of an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Head,
    Body,
}

/// An answer, as far as it was waited for.
enum Reply {
    Coming(Coming),
    Whole(Head, Bytes),
}

impl Agents {
    /// Prepares the agents; nothing is connected yet.
    pub(crate) async fn prepare(config: &ConsulConfig) -> Result<Self> {
        let tls = tls::client_config(config.common.tls.as_ref()).await?;
        let token = Token::open(config).await?;
        let watching = Arc::new(Semaphore::new(WATCH_CONNECTIONS));
        let agents = prepare(config, tls, &watching)?;
        Ok(Self { agents, current: AtomicUsize::new(0), token, watching })
    }

    /// Calls the current agent, and others where that is allowed and helps.
    pub(crate) async fn call(&self, request: &Request, call: &Call) -> Result<Whole, Failure> {
        match self.reply(request, call, Until::Body).await? {
            (Reply::Whole(head, body), address) => Ok(Whole { head, body, address }),
            (Reply::Coming(_), address) => Err(Failure::cut().at(&address)),
        }
    }

    /// The same for an answer that is read as it comes.
    pub(crate) async fn begin(
        &self,
        request: &Request,
        call: &Call,
    ) -> Result<(Coming, String), Failure> {
        match self.reply(request, call, Until::Head).await? {
            (Reply::Coming(coming), address) => Ok((coming, address)),
            (Reply::Whole(..), address) => Err(Failure::cut().at(&address)),
        }
    }

    /// Asks the current agent once, and waits for what may take long. It has a turn among the
    /// watches, however long they are in line for it, and `limit` counts from there. Where the token
    /// was refused and there is another one by now, it asks once more.
    pub(crate) async fn watch(
        &self,
        request: &Request,
        limit: Duration,
    ) -> Result<(Coming, String), Failure> {
        let mut renewed = false;
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let agent = &self.agents[at];
            let turn = agent.turn(request.lane).await?;
            let (until, token) = (Instant::now() + limit, self.token.current().await);
            let failure = match agent.send(request, turn, token.as_ref(), until).await {
                Ok(coming) => return Ok((coming, agent.address.clone())),
                Err(failure) => failure,
            };
            if !self.renews(&mut renewed, at, &failure, token.as_ref()).await {
                return Err(failure);
            }
        }
    }

    /// Whether calls show a token.
    pub(crate) fn shows_token(&self) -> bool {
        self.token.is_shown()
    }

    /// How many more could watch at once.
    pub(crate) fn watches_left(&self) -> usize {
        self.watching.available_permits()
    }

    /// The agent that calls go to.
    pub(crate) fn address(&self) -> String {
        self.agents[self.current.load(Ordering::Relaxed)].address.clone()
    }

    async fn reply(
        &self,
        request: &Request,
        call: &Call,
        wanted: Until,
    ) -> Result<(Reply, String), Failure> {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let (mut round, mut renewed) = (Round::default(), false);
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let token = self.token.current().await;
            let failure = match self.attempt(at, request, call, wanted, token.as_ref()).await {
                Ok(reply) => return Ok((reply, self.agents[at].address.clone())),
                Err(failure) => failure,
            };
            if self.renews(&mut renewed, at, &failure, token.as_ref()).await {
                continue;
            }
            let pause = match round.next(&failure, request.way, self.agents.len()) {
                Next::GiveUp => return Err(failure),
                Next::AtOnce => Duration::ZERO,
                Next::Later => {
                    backoff.next_jittered().max(failure.retry_after().unwrap_or_default())
                }
            };
            if Instant::now() + pause >= call.deadline {
                return Err(failure);
            }
            tracing::debug!(
                backend = %CONSUL, operation = call.operation, agent = self.agents[at].address,
                "asked again"
            );
            sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        at: usize,
        request: &Request,
        call: &Call,
        wanted: Until,
        token: Option<&Carried>,
    ) -> Result<Reply, Failure> {
        let (begun, agent) = (Instant::now(), &self.agents[at]);
        let share = begun + call.deadline.saturating_duration_since(begun) / SHARE;
        let alone = self.agents.len() == 1 || request.way == Way::Write;
        let until = if alone { call.deadline } else { share };
        let queued = || Failure::queued(begun.elapsed()).at(&agent.address);
        // One whose time is over has no turn, also where one is free.
        if begun >= until {
            return Err(queued());
        }
        let turn = timeout_at(call.deadline, agent.turn(request.lane)).await;
        let Ok(Ok(turn)) = turn else {
            return Err(queued());
        };
        let coming = agent.send(request, turn, token, until).await?;
        if wanted == Until::Head {
            return Ok(Reply::Coming(coming));
        }
        let head = coming.head;
        match timeout_at(until, whole(coming.response)).await {
            Ok(Ok(body)) => Ok(Reply::Whole(head, body)),
            Ok(Err(error)) => Err(Failure::cut_by(error).at(&agent.address)),
            Err(_) => Err(Failure::silent(begun.elapsed(), true).at(&agent.address)),
        }
        .map_err(|failure| match head.status {
            200..300 => failure,
            // The status has said that nothing was done, however the reasons were lost.
            _ => failure.refused(),
        })
    }

    /// Whether an agent is asked once more after a failure, since there is another token by now: once
    /// at the most. Otherwise an agent that failed is left.
    async fn renews(
        &self,
        renewed: &mut bool,
        at: usize,
        failure: &Failure,
        token: Option<&Carried>,
    ) -> bool {
        if failure.is_denied() && !*renewed && self.token.has_changed(token).await {
            *renewed = true;
            return true;
        }
        if failure.verdict != Verdict::Refused {
            self.leave(at);
        }
        false
    }

    /// Goes on to the next agent, unless somebody else has done so.
    fn leave(&self, at: usize) {
        let next = (at + 1) % self.agents.len();
        // Another's change is as good as this one.
        let moved = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() && next != at {
            let (from, to) = (&self.agents[at].address, &self.agents[next].address);
            tracing::warn!(backend = %CONSUL, from, to, "another agent is asked");
        }
    }
}

/// Reads an answer to its end.
async fn whole(mut response: Response) -> Result<Bytes, reqwest::Error> {
    let Some(first) = response.chunk().await? else {
        return Ok(Bytes::new());
    };
    // Most answers are one piece.
    let Some(second) = response.chunk().await? else {
        return Ok(first);
    };
    let mut body = Vec::with_capacity(2 * (first.len() + second.len()));
    body.extend_from_slice(&first);
    body.extend_from_slice(&second);
    while let Some(piece) = response.chunk().await? {
        body.extend_from_slice(&piece);
    }
    Ok(body.into())
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GiveUp,
    AtOnce,
    Later,
}

/// The attempts of one call so far.
#[derive(Debug, Default)]
struct Round {
    attempts: usize,
    /// How many of them found nobody at all.
    unreached: usize,
    /// How many connections broke before the agent said anything, as where it speaks TLS.
    unheard: usize,
}

impl Round {
    fn next(&mut self, failure: &Failure, way: Way, agents: usize) -> Next {
        use libkv_core::ErrorKind::{NotReachable, Timeout};
        self.attempts += 1;
        match failure.verdict {
            Verdict::Refused => return Next::GiveUp,
            Verdict::Unknown if way == Way::Write => return Next::GiveUp,
            _ => {}
        }
        self.unheard += usize::from(failure.is_unheard());
        if self.unheard >= UNHEARD * agents {
            return Next::GiveUp;
        }
        self.unreached += usize::from(failure.unreached);
        // A connection that had broken unnoticed is made anew by a second attempt.
        let broken = failure.verdict == Verdict::Unknown && !failure.is_lasting();
        let stale = self.attempts == 1 && broken;
        if stale || !self.attempts.is_multiple_of(agents) {
            return Next::AtOnce;
        }
        // Where nobody is there, waiting is the caller's choice.
        let nobody = std::mem::take(&mut self.unreached) >= agents;
        let passing = matches!(failure.kind_for(false), NotReachable | Timeout);
        let passing = passing || failure.is_limited();
        if nobody || failure.is_lasting() || !passing { Next::GiveUp } else { Next::Later }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::judge;

    fn said(status: u16, text: &str) -> Failure {
        judge(status, text.as_bytes(), None, None)
    }

    #[test]
    fn a_write_is_sent_again_only_where_nothing_was_done() {
        let next = |failure: &Failure| Round::default().next(failure, Way::Write, 3);
        assert_eq!(next(&said(500, "rpc error making call: EOF")), Next::GiveUp);
        assert_eq!(next(&said(503, "")), Next::GiveUp);
        assert_eq!(next(&Failure::silent(PAUSE, true)), Next::GiveUp);
        assert_eq!(next(&said(403, "Permission denied")), Next::GiveUp);
        assert_eq!(next(&said(500, "No cluster leader")), Next::AtOnce);
        assert_eq!(next(&said(429, "")), Next::AtOnce);
        assert_eq!(next(&Failure::silent(PAUSE, false)), Next::AtOnce);
    }

    #[test]
    fn a_read_goes_on_while_an_agent_answers() {
        use Next::{AtOnce, GiveUp, Later};
        let nexts = |failure: &Failure, agents| {
            let mut round = Round::default();
            [(); 6].map(|()| round.next(failure, Way::Read, agents))
        };
        let lost = said(500, "rpc error making call: EOF");
        assert_eq!(nexts(&lost, 3), [AtOnce, AtOnce, Later, AtOnce, AtOnce, Later]);
        assert_eq!(nexts(&lost, 1), [AtOnce, Later, Later, Later, Later, Later]);
        assert_eq!(nexts(&said(429, ""), 1), [Later; 6]);
        let unreached = Failure::silent(PAUSE, false);
        assert_eq!(nexts(&unreached, 2)[..2], [AtOnce, GiveUp]);
        // What one agent cannot do another may, and then it is not asked for again.
        assert_eq!(nexts(&said(500, "something new"), 2)[..2], [AtOnce, GiveUp]);
    }
}
