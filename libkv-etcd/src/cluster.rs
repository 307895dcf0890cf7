use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::Error as ClientError;
use libkv_core::{Backoff, Config, Error, Result};
use tokio::time::{Instant, sleep, timeout_at};

use crate::endpoint::{Connection, Endpoint, Lane, prepare};
use crate::error::{ETCD, Fault, Verdict, judge};

/// What a read may take at one member before it is tried at another, as a part of its time.
const SHARE: u32 = 3;
/// Pauses between rounds over all members.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How many connections to each member may break at once before nobody is taken to be there.
const UNHEARD: usize = 3;

/// The members of a cluster. Calls go to one of them, until it fails.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: Vec<Arc<Endpoint>>,
    current: AtomicUsize,
    pub(crate) operation_timeout: Duration,
}

/// Whether a call may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A second time does no harm.
    Read,
    /// It is sent again only where the server said that it did nothing.
    Write,
}

/// A call on its way to a cluster: what is done, where and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) operation: &'static str,
    pub(crate) lane: Lane,
    pub(crate) way: Way,
    pub(crate) deadline: Instant,
}

/// A failure, and the member that it came from.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    address: String,
}

impl Failure {
    pub(crate) fn into_error(self, call: &Call) -> Error {
        self.fault.into_error(call.operation, &self.address, call.way == Way::Write)
    }
}

impl Cluster {
    /// Prepares the members; nothing is connected yet.
    pub(crate) async fn prepare(addresses: &[String], config: &Config) -> Result<Self> {
        let members = prepare(addresses, config).await?;
        let current = AtomicUsize::new(0);
        Ok(Self { members, current, operation_timeout: config.operation_timeout })
    }

    /// Looks for a member that has a leader.
    pub(crate) async fn reach(&self, deadline: Instant) -> Result<()> {
        let call = Call { operation: "open", lane: Lane::Calls, way: Way::Read, deadline };
        let status =
            self.call(&call, |at: Connection| async move { at.maintenance().status().await });
        match status.await {
            Ok(status) if status.leader() != 0 => Ok(()),
            // The door of a member refuses calls without a leader, and not this one.
            Ok(_) => Err(Fault::no_leader().into_error("open", &self.address(), false)),
            Err(failure) => Err(failure.into_error(&call)),
        }
    }

    /// Calls the current member, and others where that is allowed and helps.
    pub(crate) async fn call<T, F>(
        &self,
        call: &Call,
        request: impl Fn(Connection) -> F + Send + Sync,
    ) -> Result<T, Failure>
    where
        T: Send,
        F: Future<Output = Result<T, ClientError>> + Send,
    {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let mut round = Round::default();
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let failure = match self.attempt(at, call, &request).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => Failure { fault, address: self.members[at].address.clone() },
            };
            let next = round.next(&failure.fault, call.way, self.members.len());
            if matches!(failure.fault.verdict, Verdict::Elsewhere | Verdict::Unknown) {
                self.leave(at);
            }
            let pause = match next {
                Next::GiveUp => return Err(failure),
                Next::AtOnce => Duration::ZERO,
                Next::Later => backoff.next_jittered(),
            };
            if Instant::now() + pause >= call.deadline {
                return Err(failure);
            }
            sleep(pause).await;
        }
    }

    async fn attempt<T, F>(
        &self,
        at: usize,
        call: &Call,
        request: impl Fn(Connection) -> F + Send + Sync,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, ClientError>> + Send,
    {
        let (begun, member) = (Instant::now(), &self.members[at]);
        let share = begun + call.deadline.saturating_duration_since(begun) / SHARE;
        let share = if self.members.len() == 1 { call.deadline } else { share };
        let connecting = timeout_at(share, member.connection(call.lane)).await;
        let connection = connecting.unwrap_or_else(|_| Err(Fault::unconnected(begun.elapsed())))?;
        let until = if call.way == Way::Write { call.deadline } else { share };
        let answer = timeout_at(until, request(connection.clone())).await;
        let fault = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => judge(error),
            Err(_) => Fault::silent(begun.elapsed()),
        };
        match fault.verdict {
            Verdict::Unknown | Verdict::Elsewhere => {
                member.forget(call.lane, &connection);
            }
            Verdict::Token => {
                self.renew_token(call.lane, &connection, begun, call.deadline).await;
            }
            // The server has got users since the connection was made.
            Verdict::Refused if fault.is_nameless() && connection.is_anonymous() => {
                member.forget(call.lane, &connection);
                return Err(fault.for_a_new_token());
            }
            Verdict::Refused => {}
        }
        Err(fault)
    }

    /// Logs in again, after the server refused the token of what began at `begun`. Where that fails
    /// the connection is made anew, and says why.
    pub(crate) async fn renew_token(
        &self,
        lane: Lane,
        connection: &Connection,
        begun: Instant,
        deadline: Instant,
    ) -> bool {
        let renewed = timeout_at(deadline, connection.log_in(begun)).await;
        let renewed = matches!(renewed, Ok(Ok(())));
        if !renewed {
            self.members.iter().any(|member| member.forget(lane, connection));
        }
        renewed
    }

    /// Gives up a connection that broke, and goes on to another member.
    pub(crate) fn give_up(&self, lane: Lane, connection: &Connection) {
        let at = self.members.iter().position(|member| member.forget(lane, connection));
        if let Some(at) = at {
            self.leave(at);
        }
    }

    /// The member that calls go to.
    pub(crate) fn address(&self) -> String {
        self.members[self.current.load(Ordering::Relaxed)].address.clone()
    }

    /// Goes on to the next member, unless somebody else has done so.
    fn leave(&self, at: usize) {
        let next = (at + 1) % self.members.len();
        // Another's change is as good as this one.
        let moved = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() && next != at {
            let (from, to) = (&self.members[at].address, &self.members[next].address);
            tracing::warn!(backend = %ETCD, from, to, "another member is asked");
        }
    }
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
    /// How many connections broke before the server said anything, as where it speaks TLS.
    unheard: usize,
    tokens: usize,
}

impl Round {
    fn next(&mut self, fault: &Fault, way: Way, members: usize) -> Next {
        use libkv_core::ErrorKind::{NotReachable, Timeout};
        self.attempts += 1;
        let passing = matches!(fault.kind, NotReachable | Timeout);
        match fault.verdict {
            Verdict::Refused => return Next::GiveUp,
            Verdict::Token => {
                self.tokens += 1;
                // A new token is enough, unless the server's users are being changed.
                return if self.tokens <= 3 { Next::AtOnce } else { Next::GiveUp };
            }
            Verdict::Unknown if way == Way::Write => return Next::GiveUp,
            _ => {}
        }
        self.unheard += usize::from(fault.unheard);
        if self.unheard >= UNHEARD * members {
            return Next::GiveUp;
        }
        self.unreached += usize::from(fault.unreached);
        // A connection that had broken unnoticed is made anew by a second attempt.
        let stale = self.attempts == 1 && !fault.unreached && !fault.is_lasting();
        if stale || !self.attempts.is_multiple_of(members) {
            return Next::AtOnce;
        }
        // Where nobody is there, waiting is the caller's choice.
        let nobody = std::mem::take(&mut self.unreached) >= members;
        if nobody || fault.is_lasting() || !passing { Next::GiveUp } else { Next::Later }
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::*;

    fn fault(code: Code, text: &str) -> Fault {
        judge(ClientError::GRpcStatus(Status::new(code, text)))
    }

    #[test]
    fn a_write_is_sent_again_only_where_nothing_was_done() {
        let next = |fault: &Fault| Round::default().next(fault, Way::Write, 3);
        assert_eq!(next(&fault(Code::Unavailable, "etcdserver: leader changed")), Next::GiveUp);
        assert_eq!(next(&Fault::silent(PAUSE)), Next::GiveUp);
        assert_eq!(next(&Fault::no_leader()), Next::AtOnce);
        assert_eq!(
            next(&fault(Code::Unauthenticated, "etcdserver: invalid auth token")),
            Next::AtOnce
        );
        assert_eq!(
            next(&fault(Code::PermissionDenied, "etcdserver: permission denied")),
            Next::GiveUp
        );
    }

    #[test]
    fn a_read_goes_on_while_a_member_answers() {
        let mut round = Round::default();
        let lost = fault(Code::Unavailable, "etcdserver: leader changed");
        let nexts: Vec<_> = (0..6).map(|_| round.next(&lost, Way::Read, 3)).collect();
        use Next::{AtOnce, Later};
        assert_eq!(nexts, [AtOnce, AtOnce, Later, AtOnce, AtOnce, Later]);
    }

    #[test]
    fn where_every_connection_breaks_at_once_nobody_is_there() {
        let broken = || {
            let error = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
            judge(ClientError::GRpcStatus(Status::from_error(Box::new(error))))
        };
        use Next::{AtOnce, GiveUp, Later};
        let mut round = Round::default();
        let first = broken().before_the_call();
        let nexts: Vec<_> = (0..3).map(|_| round.next(&first, Way::Read, 1)).collect();
        assert_eq!(nexts, [AtOnce, Later, GiveUp]);
        let mut round = Round::default();
        let nexts: Vec<_> = (0..9).map(|_| round.next(&broken(), Way::Read, 1)).collect();
        assert_eq!((nexts[0], &nexts[1..]), (AtOnce, &[Later; 8][..]));
    }

    #[test]
    fn tokens_are_not_asked_for_without_end() {
        let mut round = Round::default();
        let token = fault(Code::Unauthenticated, "etcdserver: invalid auth token");
        let nexts: Vec<_> = (0..4).map(|_| round.next(&token, Way::Read, 3)).collect();
        assert_eq!(nexts[3], Next::GiveUp);
        assert!(nexts[..3].iter().all(|next| *next == Next::AtOnce));
    }
}
