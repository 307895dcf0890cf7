use libkv_core::{BackendName, Error, ErrorKind};
use tokio::time::Instant;
use zookeeper_client as zk;

/// The name of the backend in errors and versions.
pub(crate) const ZK: BackendName = BackendName::new("zk");

/// What is done, and until when. The operation is for errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) operation: &'static str,
    pub(crate) deadline: Instant,
}

/// Why an exchange with the servers failed.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// A server answered so, and did nothing.
    Refused(zk::Error),
    /// A server answered with words that are not known here, and may have done it.
    Unfamiliar(zk::Error),
    /// The connection or the session ended before an answer.
    Lost(zk::Error),
    /// No answer came in time.
    Late,
    /// Nothing was sent.
    Unsent(Error),
}

impl Failure {
    /// What the client says of a request that may have been sent.
    pub(crate) fn of(error: zk::Error) -> Self {
        use zk::Error as E;
        match error {
            E::BadArguments(_)
            | E::BadVersion
            | E::InvalidAcl
            | E::NoAuth
            | E::NoChildrenForEphemerals
            | E::NoNode
            | E::NoWatcher
            | E::NodeExists
            | E::NotEmpty
            | E::NotReadOnly
            | E::QuotaExceeded
            | E::ReconfigDisabled
            // What follows an operation of a multi that was refused.
            | E::RuntimeInconsistent
            | E::SessionMoved
            | E::Throttled
            | E::Unimplemented => Self::Refused(error),
            // A server says the first where it does not know what went wrong.
            E::MarshallingError | E::UnexpectedErrorCode(_) => Self::Unfamiliar(error),
            // What else there is ends the session or the connection, with whatever was under way.
            error => Self::Lost(error),
        }
    }

    /// Whether the server's answer is that there is no such node.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Refused(zk::Error::NoNode))
    }

    /// The error that the caller gets; `write` says whether it was a write.
    pub(crate) fn into_error(self, call: &Call, write: bool) -> Error {
        let unknown = |kind| if write { ErrorKind::OutcomeUnknown } else { kind };
        let new = |kind| Error::new(kind, ZK, call.operation);
        match self {
            Self::Unsent(error) => error,
            Self::Late => new(unknown(ErrorKind::Timeout)).with_detail("no answer in time"),
            Self::Unfamiliar(error) => new(unknown(ErrorKind::Other))
                .with_detail("the server answers with an error that is not known here")
                .with_source(error),
            Self::Lost(error) => {
                let (kind, detail) = lost(&error);
                new(unknown(kind)).with_detail(detail).with_source(error)
            }
            Self::Refused(error) => refused(error, call),
        }
    }
}

/// What it means that there was no answer.
fn lost(error: &zk::Error) -> (ErrorKind, &'static str) {
    match error {
        zk::Error::AuthFailed => {
            (ErrorKind::PermissionDenied, "the servers do not take the credentials")
        }
        zk::Error::SessionExpired => {
            (ErrorKind::NotReachable, "the session ended before there was an answer")
        }
        _ => (ErrorKind::NotReachable, "the connection broke before there was an answer"),
    }
}

fn refused(error: zk::Error, call: &Call) -> Error {
    use zk::Error as E;
    let (kind, advice) = match &error {
        E::NoNode => (ErrorKind::KeyNotFound, ""),
        E::NodeExists => (ErrorKind::KeyExists, ""),
        E::BadVersion => (ErrorKind::KeyModified, ""),
        E::NoAuth => (ErrorKind::PermissionDenied, "the node's ACL does not allow it"),
        E::InvalidAcl => (ErrorKind::InvalidConfig, "the server does not take the ACL"),
        E::NoChildrenForEphemerals => {
            (ErrorKind::NotImplemented, "a key below an ephemeral key, which ZooKeeper cannot have")
        }
        E::SessionMoved => (ErrorKind::NotReachable, "the session went on at another server"),
        E::NotReadOnly => (ErrorKind::NotReachable, "the server has no quorum and only reads"),
        E::Throttled => (ErrorKind::NotReachable, "the server has too many requests"),
        E::QuotaExceeded => (ErrorKind::Other, "a quota of the server's is used up"),
        E::Unimplemented => (ErrorKind::NotImplemented, "the server is older than 3.6"),
        _ => (ErrorKind::Other, "the server refused it"),
    };
    let new = Error::new(kind, ZK, call.operation);
    let new = if advice.is_empty() { new } else { new.with_detail(advice) };
    new.with_source(error)
}

#[cfg(test)]
mod tests;
