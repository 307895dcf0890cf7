use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use libkv_core::{BackendName, Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};

use crate::client::Call;

/// The name of the backend in errors and versions.
pub(crate) const CONSUL: BackendName = BackendName::new("consul");

/// How much of an agent's text is kept; what explains a failure is at its beginning.
const LONGEST_TEXT: usize = 500;

/// What a failed exchange with an agent means, and which agent it was.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) verdict: Verdict,
    /// What the error is for a read, and for a write that surely did not happen.
    kind: ErrorKind,
    /// There was no connection, and none could be made.
    pub(crate) unreached: bool,
    advice: String,
    address: String,
    status: Option<u16>,
    retry_after: Option<Duration>,
    transient: Option<bool>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What may be done after a failed exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was refused, here or there, and nothing was done; no other agent would change that.
    Refused,
    /// This agent did nothing, because it could not be reached, was busy or knew no leader.
    Elsewhere,
    /// A write may have happened.
    Unknown,
}

impl Failure {
    fn new(verdict: Verdict, kind: ErrorKind, advice: impl Into<String>) -> Self {
        Self {
            verdict,
            kind,
            unreached: false,
            advice: advice.into(),
            address: String::new(),
            status: None,
            retry_after: None,
            transient: None,
            source: None,
        }
    }

    /// No agent that understands us, and trying again does not mend it.
    fn lasting(verdict: Verdict, advice: &str) -> Self {
        let failure = Self::new(verdict, ErrorKind::NotReachable, advice);
        Self { transient: Some(false), ..failure }
    }

    fn caused_by(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: Some(Arc::from(source.into())), ..self }
    }

    /// Names the agent.
    pub(crate) fn at(self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self }
    }

    /// What cannot be asked of any agent, and was not sent.
    pub(crate) fn unsent(kind: ErrorKind, advice: impl Into<String>) -> Self {
        Self::new(Verdict::Refused, kind, advice)
    }

    /// No turn in time: the calls before this one took all of it. That is no fault of the agent.
    pub(crate) fn queued(waited: Duration) -> Self {
        let advice = format!("no free connection within {waited:?}");
        Self::new(Verdict::Refused, ErrorKind::Timeout, advice)
    }

    /// No answer in time; `sent` says whether anything may have left.
    pub(crate) fn silent(waited: Duration, sent: bool) -> Self {
        let (verdict, what) = match sent {
            true => (Verdict::Unknown, "answer"),
            false => (Verdict::Elsewhere, "connection"),
        };
        let failure =
            Self::new(verdict, ErrorKind::Timeout, format!("no {what} within {waited:?}"));
        Self { unreached: !sent, ..failure }
    }

    /// The exchange broke before an answer; `sent` says whether anything of the request may have left.
    pub(crate) fn broken(error: reqwest::Error, sent: bool) -> Self {
        // The URL has the key in it, which the error names already.
        let error = error.without_url();
        let connecting = error.is_connect();
        let verdict = match connecting || !sent || is_rejected(&error) {
            true => Verdict::Elsewhere,
            false => Verdict::Unknown,
        };
        let failure = if is_tls(&error) {
            Self::lasting(verdict, TLS)
        } else if connecting && error.is_timeout() {
            Self::new(verdict, ErrorKind::Timeout, "no connection in time")
        } else if connecting {
            Self::new(verdict, ErrorKind::NotReachable, "no connection")
        } else {
            Self::new(verdict, ErrorKind::NotReachable, BROKEN)
        };
        Self { unreached: connecting, ..failure }.caused_by(error)
    }

    /// An answer that is none of Consul's. Where it says that a write is done, nobody can tell what
    /// it did.
    pub(crate) fn malformed(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Verdict::Unknown, ErrorKind::Other, "the answer is not what Consul answers")
            .caused_by(cause)
    }

    /// An answer without what the token may not read. A write beside it is done.
    pub(crate) fn withheld() -> Self {
        Self::new(Verdict::Unknown, ErrorKind::PermissionDenied, "the token may not read all of it")
    }

    /// An answer that ended too early.
    pub(crate) fn cut() -> Self {
        Self::new(Verdict::Unknown, ErrorKind::NotReachable, "the answer broke off")
    }

    /// The server's reason for refusing an operation of a transaction, where it is no condition.
    pub(crate) fn refusal(what: &str) -> Self {
        let failure = if is_denied_text(what) {
            Self::new(Verdict::Refused, ErrorKind::PermissionDenied, DENIED)
        } else if is_session_gone_text(what) {
            Self::new(Verdict::Refused, ErrorKind::Other, SESSION_GONE)
        } else {
            Self::new(Verdict::Refused, ErrorKind::Other, "the server refused it")
        };
        failure.caused_by(printable(what.as_bytes(), None))
    }

    /// The same, with what broke it.
    pub(crate) fn cut_by(error: reqwest::Error) -> Self {
        Self::cut().caused_by(error.without_url())
    }

    /// A refusal whose reasons could not be read: nothing was done all the same.
    pub(crate) fn refused(self) -> Self {
        Self { verdict: Verdict::Refused, ..self }
    }

    /// What the error is for a read or a write.
    pub(crate) fn kind_for(&self, write: bool) -> ErrorKind {
        if write && self.verdict == Verdict::Unknown {
            ErrorKind::OutcomeUnknown
        } else {
            self.kind
        }
    }

    /// The token lacks the right, or is unknown.
    pub(crate) fn is_denied(&self) -> bool {
        self.kind == ErrorKind::PermissionDenied
    }

    /// The server's word that a session does not exist.
    #[cfg(test)]
    pub(crate) fn is_session_gone(&self) -> bool {
        self.advice == SESSION_GONE
    }

    /// The agent has too many requests, and did nothing.
    pub(crate) fn is_limited(&self) -> bool {
        self.advice == BUSY
    }

    /// When the agent would like to be asked again, where it said so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the agent did not understand the request at all, as with characters in the path that
    /// it takes for unprintable.
    pub(crate) fn is_bad_request(&self) -> bool {
        self.status == Some(400)
    }

    /// The connection broke before the agent said anything.
    pub(crate) fn is_unheard(&self) -> bool {
        self.advice == BROKEN
    }

    /// Trying again later does not help, whatever the kind.
    pub(crate) fn is_lasting(&self) -> bool {
        self.transient == Some(false)
    }

    /// The error that the caller gets; `write` says whether it was a write.
    pub(crate) fn into_error(self, call: &Call, write: bool) -> Error {
        let kind = self.kind_for(write);
        let detail = match self.address.as_str() {
            "" => self.advice,
            address => format!("{address}: {}", self.advice),
        };
        let mut error = Error::new(kind, CONSUL, call.operation).with_detail(detail);
        if let Some(transient) = self.transient.filter(|_| kind != ErrorKind::OutcomeUnknown) {
            error = error.with_transient(transient);
        }
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

/// An agent's words, as the cause of an error.
#[derive(Debug)]
struct Answered {
    status: u16,
    text: String,
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP status {}", self.status)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl StdError for Answered {}

/// What an answer means that is not the one asked for.
pub(crate) fn judge(
    status: u16,
    body: &[u8],
    retry_after: Option<Duration>,
    token: Option<&SecretString>,
) -> Failure {
    let text = printable(body, token);
    let failure = judge_text(status, &text).unwrap_or_else(|| judge_status(status));
    Failure { status: Some(status), retry_after, ..failure }.caused_by(Answered { status, text })
}

/// Whether the reason of a refusal is that the session does not exist. Other reasons quote keys,
/// which can be any text, but none begins like this.
pub(crate) fn is_session_gone_text(what: &str) -> bool {
    ["invalid session", "missing session"].iter().any(|begin| what.starts_with(begin))
}

/// Whether the reason of a refusal is that the token lacks the right, or is unknown.
pub(crate) fn is_denied_text(what: &str) -> bool {
    ["Permission denied", "ACL not found"].iter().any(|begin| what.starts_with(begin))
}

/// The words that say more than their status. The texts are those of Consul's `agent/structs`,
/// `acl` and `agent/consul`.
fn judge_text(status: u16, text: &str) -> Option<Failure> {
    if status == 400 && text.contains("HTTP request to an HTTPS server") {
        return Some(Failure::lasting(Verdict::Refused, "the agent speaks TLS; write consuls://"));
    }
    // Elsewhere these words are a proxy's, or a key's.
    if !matches!(status, 403 | 409 | 429 | 500 | 503) {
        return None;
    }
    let row = TEXTS.iter().find(|(part, ..)| text.contains(part))?;
    let (_, verdict, kind, advice) = *row;
    let transient = (advice == BUSY).then_some(true);
    Some(Failure { transient, ..Failure::new(verdict, kind, advice) })
}

fn judge_status(status: u16) -> Failure {
    use ErrorKind::{InvalidConfig, NotReachable, Other, PermissionDenied, TooLarge};
    use Verdict::{Elsewhere, Refused, Unknown};
    let (verdict, kind, advice) = match status {
        301 | 302 | 303 | 307 | 308 => (
            Refused,
            Other,
            "the agent sends the request to another address, which is not followed; look whether \
             the address is that of Consul's HTTP API",
        ),
        400 => (Refused, Other, "the agent does not understand the request"),
        401 => (Refused, PermissionDenied, "the agent asks who this is; give a token"),
        403 => (Refused, PermissionDenied, DENIED),
        404 => (Refused, Other, "the agent knows no such thing; look whether it is Consul"),
        405 => (Refused, Other, "the agent does not take this call; look whether it is Consul"),
        409 => (Refused, Other, "the agent refused it"),
        413 => (Refused, TooLarge, "the agent takes less at once than its usual 512 KiB"),
        421 => (Refused, InvalidConfig, "the agent has another name; look at the address"),
        429 => (Elsewhere, Other, BUSY),
        502..=504 => (Unknown, NotReachable, "the agent was not available"),
        // What is not known can be anybody's word, also about a request that was passed on.
        _ => (Unknown, Other, "the agent failed"),
    };
    // A server that failed may do better the next time, whatever was wrong.
    let transient = (status == 429 || status >= 500).then_some(true);
    Failure { transient, ..Failure::new(verdict, kind, advice) }
}

/// What an agent wrote, as one line without the token, should somebody have put it there.
fn printable(body: &[u8], token: Option<&SecretString>) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * LONGEST_TEXT)]);
    let text = match token.map(ExposeSecret::expose_secret) {
        Some(token) if !token.is_empty() => text.replace(token, "***"),
        _ => text.into_owned(),
    };
    let line: String = text.trim().chars().take(LONGEST_TEXT).collect();
    line.replace(char::is_control, " ")
}

/// Trouble with TLS; trying again does not mend it.
fn is_tls(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.is::<rustls::Error>())
}

/// The agent did not take the client's certificate, or missed one. By TLS 1.3 the client may have sent
/// its first request by then, which the agent has not read.
fn is_rejected(error: &reqwest::Error) -> bool {
    use rustls::AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, HandshakeFailure, UnknownCA, UnsupportedCertificate,
    };
    causes(error).any(|cause| {
        matches!(
            cause.downcast_ref(),
            Some(rustls::Error::AlertReceived(
                AccessDenied
                    | BadCertificate
                    | CertificateExpired
                    | CertificateRequired
                    | CertificateRevoked
                    | CertificateUnknown
                    | HandshakeFailure
                    | UnknownCA
                    | UnsupportedCertificate
            ))
        )
    })
}

/// An error and what caused it, outermost first.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        // Its source is that of the error it was made of, which would be passed over.
        Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => error.source(),
    })
}

const BROKEN: &str = "the connection broke without an answer; if the agent speaks TLS, write \
                      consuls://";
const BUSY: &str = "the agent has too many requests";
const DENIED: &str = "the token lacks the right";
const NO_LEADER: &str = "the datacenter has no leader";
const SESSION_GONE: &str = "the session is gone";
const TLS: &str = "the TLS handshake failed; look at the certificates, the server's name, and \
                   whether the port speaks TLS";

/// The server's texts that say more than their status, with what they mean.
const TEXTS: &[(&str, Verdict, ErrorKind, &str)] = {
    use ErrorKind::{InvalidConfig, NotReachable, Other, PermissionDenied};
    use Verdict::{Elsewhere, Refused, Unknown};
    &[
        ("ACL not found", Refused, PermissionDenied, "the server does not know the token"),
        ("Permission denied", Refused, PermissionDenied, DENIED),
        // Consul itself sends a write again after these (`canRetry` of its `agent/consul`): they are
        // said before anything is handed to Raft.
        ("No cluster leader", Elsewhere, NotReachable, NO_LEADER),
        ("No known Consul servers", Elsewhere, NotReachable, "the agent knows no server"),
        ("Raft leader not found", Elsewhere, NotReachable, NO_LEADER),
        ("no server currently reachable", Elsewhere, NotReachable, "the agent reaches no server"),
        // Said by the agent's own limiter, before it passes a request on.
        ("RPC rate limit exceeded", Elsewhere, Other, BUSY),
        ("rate limit exceeded", Elsewhere, Other, BUSY),
        ("Rate limit reached", Elsewhere, Other, BUSY),
        ("No path to datacenter", Refused, InvalidConfig, "the agent knows no such datacenter"),
        ("invalid session", Refused, Other, SESSION_GONE),
        ("missing session", Refused, Other, SESSION_GONE),
        ("Invalid Session TTL", Refused, InvalidConfig, "the server takes other times to live"),
        ("Not ready to serve consistent reads", Unknown, NotReachable, NO_LEADER),
        ("leadership lost", Unknown, NotReachable, "the leader changed"),
        ("node is not the leader", Unknown, NotReachable, "the leader changed"),
        ("raft is already shutdown", Unknown, NotReachable, "the server is stopping"),
        ("rpc error", Unknown, NotReachable, "the agent lost its server"),
    ]
};

#[cfg(test)]
mod tests;
