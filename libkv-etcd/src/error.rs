use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::Error as ClientError;
use libkv_core::{BackendName, Error, ErrorKind};
use tonic::{Code, ConnectError, Status};

/// The name of the backend in errors and versions.
pub(crate) const ETCD: BackendName = BackendName::new("etcd");

/// What a failed exchange with a server means.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) verdict: Verdict,
    /// What the error is for a read, and for a write that surely did not happen.
    pub(crate) kind: ErrorKind,
    /// There was no connection, and none could be made.
    pub(crate) unreached: bool,
    /// The connection broke before the server had ever said anything on it.
    pub(crate) unheard: bool,
    advice: String,
    transient: Option<bool>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What may be done after a failed exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The cluster refused it and did nothing; so would every member.
    Refused,
    /// This member did nothing, because it could not be reached or has no leader: another may.
    Elsewhere,
    /// The server refused the token, and did nothing.
    Token,
    /// A write may have happened.
    Unknown,
}

impl Fault {
    fn new(verdict: Verdict, kind: ErrorKind, advice: impl Into<String>) -> Self {
        let advice = advice.into();
        let (unreached, unheard, transient, source) = (false, false, None, None);
        Self { verdict, kind, unreached, unheard, advice, transient, source }
    }

    fn unreached() -> Self {
        let fault = Self::new(Verdict::Elsewhere, ErrorKind::NotReachable, "no connection");
        Self { unreached: true, ..fault }
    }

    fn caused_by(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: Some(source.into().into()), ..self }
    }

    /// No answer in time.
    pub(crate) fn silent(waited: Duration) -> Self {
        let advice = format!("no answer within {waited:?}");
        Self::new(Verdict::Unknown, ErrorKind::Timeout, advice)
    }

    /// No connection in time.
    pub(crate) fn unconnected(waited: Duration) -> Self {
        let advice = format!("no connection within {waited:?}");
        let fault = Self::new(Verdict::Elsewhere, ErrorKind::Timeout, advice);
        Self { unreached: true, ..fault }
    }

    /// It is not the server's word, but that of whoever was to carry it.
    pub(crate) fn is_of_the_connection(&self) -> bool {
        self.unreached || self.is_lasting() || self.advice == BROKEN
    }

    /// The same of the first exchange on a connection, which is no part of the call that waits for
    /// it.
    pub(crate) fn before_the_call(mut self) -> Self {
        self.unheard = self.advice == BROKEN;
        if self.verdict == Verdict::Unknown {
            self.verdict = Verdict::Elsewhere;
        }
        self
    }

    /// A member that answers and knows no leader.
    pub(crate) fn no_leader() -> Self {
        Self::new(Verdict::Elsewhere, ErrorKind::NotReachable, "the member has no leader")
    }

    /// The server's word that a lease does not exist, in one of its two forms.
    pub(crate) fn is_lease_gone(&self) -> bool {
        self.advice.contains(LEASE_GONE)
    }

    /// Trying again later does not help, whatever the kind.
    pub(crate) fn is_lasting(&self) -> bool {
        self.transient == Some(false)
    }

    /// The lease's number is taken.
    pub(crate) fn is_lease_taken(&self) -> bool {
        self.advice.contains(LEASE_TAKEN)
    }

    /// The revision that was asked for is no longer kept.
    pub(crate) fn is_compacted(&self) -> bool {
        self.advice.contains(COMPACTED)
    }

    /// The answer was longer than what is accepted at once.
    pub(crate) fn is_too_long(&self) -> bool {
        self.advice.contains(TOO_LONG)
    }

    /// The error that the caller gets; `wrote` says whether it was a write.
    pub(crate) fn into_error(self, operation: &'static str, endpoint: &str, wrote: bool) -> Error {
        let unknown = wrote && self.verdict == Verdict::Unknown;
        let kind = if unknown { ErrorKind::OutcomeUnknown } else { self.kind };
        let mut error =
            Error::new(kind, ETCD, operation).with_detail(format!("{endpoint}: {}", self.advice));
        if let Some(transient) = self.transient.filter(|_| !unknown) {
            error = error.with_transient(transient);
        }
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }

    /// The server asks for a user. Where there is one, it was not asked for when the connection was
    /// made.
    pub(crate) fn is_nameless(&self) -> bool {
        self.advice == NAMELESS
    }

    /// A refusal that a login mends.
    pub(crate) fn for_a_new_token(mut self) -> Self {
        self.verdict = Verdict::Token;
        self
    }

    /// A task that ended before its time, as when the runtime does.
    pub(crate) fn task_ended(error: tokio::task::JoinError) -> Self {
        Self::new(Verdict::Elsewhere, ErrorKind::Other, "the task that connects has ended")
            .caused_by(error)
    }
}

/// What the client's error means. The texts are those of etcd's `api/v3rpc/rpctypes/error.go`.
pub(crate) fn judge(error: ClientError) -> Fault {
    match error {
        ClientError::GRpcStatus(status) => judge_status(status),
        ClientError::TransportError(error) => judge_transport(error),
        // The client's own words for a reply with a time to live of zero.
        ClientError::LeaseKeepAliveError(text) if text == "lease not found" => {
            Fault::new(Verdict::Refused, ErrorKind::Other, LEASE_GONE)
        }
        ClientError::InvalidUri(error) => {
            Fault::new(Verdict::Refused, ErrorKind::InvalidConfig, "the host is no address")
                .caused_by(error)
        }
        // The stream of requests ended before the answer came.
        error @ (ClientError::WatchError(_) | ClientError::LeaseKeepAliveError(_)) => {
            Fault::new(Verdict::Unknown, ErrorKind::NotReachable, BROKEN).caused_by(error)
        }
        error => {
            Fault::new(Verdict::Unknown, ErrorKind::Other, "the client failed").caused_by(error)
        }
    }
}

/// What a watch's reason for its cancellation means. It is the whole text of the server's status.
pub(crate) fn judge_reason(reason: &str) -> Fault {
    judge_text(Code::Unknown, reason)
        .map(|fault| fault.caused_by(reason))
        .unwrap_or_else(|| Fault::new(Verdict::Unknown, ErrorKind::Other, reason))
}

fn judge_status(status: Status) -> Fault {
    // A call that broke has tonic's transport error among its causes too, but not this one.
    let connecting = causes(&status).any(|cause| cause.is::<ConnectError>());
    if let Some(fault) = judge_tls(&status, connecting) {
        return fault.caused_by(status);
    }
    if connecting {
        return Fault::unreached().caused_by(status);
    }
    // The client's own trouble has a cause, and the server's word has none.
    if status.source().is_some() {
        return Fault::new(Verdict::Unknown, ErrorKind::NotReachable, BROKEN).caused_by(status);
    }
    let fault = judge_text(status.code(), status.message()).unwrap_or_else(|| {
        let (verdict, kind, advice) = judge_code(status.code());
        Fault::new(verdict, kind, advice)
    });
    fault.caused_by(status)
}

/// A connection that could not be made.
fn judge_transport(error: tonic::transport::Error) -> Fault {
    if let Some(fault) = judge_tls(&error, true) {
        return fault.caused_by(error);
    }
    let fault = Fault::unreached();
    // Only a handshake of TLS waits for the server's word.
    let fault = match io_cause(&error, io::ErrorKind::UnexpectedEof) {
        Some(_) => Fault { advice: CUT_OFF.to_owned(), ..fault },
        None => fault,
    };
    fault.caused_by(error)
}

/// Trouble with TLS, which rustls reports as invalid data; trying again does not mend it.
fn judge_tls(error: &(dyn StdError + 'static), connecting: bool) -> Option<Fault> {
    io_cause(error, io::ErrorKind::InvalidData)?;
    let verdict = if connecting { Verdict::Elsewhere } else { Verdict::Unknown };
    let advice = "the TLS handshake failed; look at the certificates, the server's name, and \
                  whether the port speaks TLS";
    Some(Fault { transient: Some(false), ..Fault::new(verdict, ErrorKind::NotReachable, advice) })
}

/// The system's error of a kind among the causes.
fn io_cause<'a>(error: &'a (dyn StdError + 'static), kind: io::ErrorKind) -> Option<&'a io::Error> {
    let mut errors = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
    errors.find(|error| error.kind() == kind)
}

fn judge_text(code: Code, text: &str) -> Option<Fault> {
    let row = TEXTS.iter().find(|(part, ..)| text.contains(part))?;
    let (part, verdict, kind, advice) = *row;
    // With this text a member refuses at its door; with others of this code it may have begun.
    if part == NO_LEADER && !matches!(code, Code::Unavailable | Code::Unknown) {
        return None;
    }
    let transient = (kind == ErrorKind::Other && advice == BUSY).then_some(true);
    Some(Fault { transient, ..Fault::new(verdict, kind, advice) })
}

fn judge_code(code: Code) -> (Verdict, ErrorKind, &'static str) {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::ResourceExhausted => (Verdict::Refused, ErrorKind::Other, "the server refused it"),
        Code::PermissionDenied | Code::Unauthenticated => {
            (Verdict::Refused, ErrorKind::PermissionDenied, "the server refused it")
        }
        Code::Unavailable => {
            (Verdict::Unknown, ErrorKind::NotReachable, "the server was not available")
        }
        Code::DeadlineExceeded => (Verdict::Unknown, ErrorKind::Timeout, "the server was late"),
        _ => (Verdict::Unknown, ErrorKind::Other, "the server failed"),
    }
}

/// An error and what caused it, outermost first.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (**error).source())
}

const BROKEN: &str = "the connection broke; if the server speaks TLS, write etcds://";
const CUT_OFF: &str = "the TLS handshake was cut off; look whether the port speaks TLS";
const BUSY: &str = "the server has too many requests";
const NAMELESS: &str = "the server asks who this is; give a user and a password";
const NO_LEADER: &str = "etcdserver: no leader";
const LEASE_GONE: &str = "the lease is gone";
const LEASE_TAKEN: &str = "the lease's number is taken";
const COMPACTED: &str = "the revision is compacted";
const TOO_LONG: &str = "the answer is too long";

/// The server's texts that say more than their code, with what they mean.
const TEXTS: &[(&str, Verdict, ErrorKind, &str)] = {
    use ErrorKind::{InvalidConfig, NotReachable, Other, PermissionDenied, Timeout, TooLarge};
    use Verdict::{Elsewhere, Refused, Token, Unknown};
    &[
        (NO_LEADER, Elsewhere, NotReachable, "the member has no leader"),
        ("etcdserver: invalid auth token", Token, PermissionDenied, "the token was refused"),
        ("etcdserver: revision of auth store is old", Token, PermissionDenied, "the token is old"),
        ("etcdserver: permission denied", Refused, PermissionDenied, "the user lacks the right"),
        ("etcdserver: user name is empty", Refused, PermissionDenied, NAMELESS),
        (
            "etcdserver: authentication failed",
            Refused,
            PermissionDenied,
            "the user or the password is wrong",
        ),
        (
            "etcdserver: authentication is not enabled",
            Refused,
            InvalidConfig,
            "the server has no users; leave user and password out",
        ),
        ("etcdserver: requested lease not found", Refused, Other, LEASE_GONE),
        ("etcdserver: lease already exists", Refused, Other, LEASE_TAKEN),
        ("required revision has been compacted", Refused, Other, COMPACTED),
        ("decoded message length too large", Refused, TooLarge, TOO_LONG),
        (
            "etcdserver: request is too large",
            Refused,
            TooLarge,
            "the server takes less at once than its usual 1.5 MiB",
        ),
        (
            "etcdserver: too many operations in txn",
            Refused,
            TooLarge,
            "the server takes fewer operations than its usual 128",
        ),
        // The write that fills the database is done, and answered with this all the same
        // (`quotaApplierV3` in the server's `apply/quota.go`).
        (
            "etcdserver: mvcc: database space exceeded",
            Unknown,
            Other,
            "the server's database is full; compact, defragment and disarm its alarm",
        ),
        ("etcdserver: too many requests", Refused, Other, BUSY),
        ("etcdserver: not capable", Refused, Other, "the server is too old for this"),
        ("etcdserver: corrupt cluster", Refused, Other, "the cluster reports that it is corrupt"),
        ("etcdserver: rpc not supported for learner", Elsewhere, NotReachable, "it is a learner"),
        ("etcdserver: request timed out", Unknown, Timeout, "the cluster did not agree in time"),
        ("etcdserver: leader changed", Unknown, NotReachable, "the leader changed"),
        ("etcdserver: server stopped", Unknown, NotReachable, "the server stopped"),
        ("raft: stopped", Unknown, NotReachable, "the server is stopping"),
        ("raft proposal dropped", Unknown, NotReachable, "the cluster has no leader"),
    ]
};

#[cfg(test)]
mod tests;
