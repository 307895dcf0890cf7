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
            | E::InvalidAcl
            | E::MarshallingError
            | E::NoAuth
            | E::NoNode
            | E::BadVersion
            | E::NoChildrenForEphemerals
            | E::NodeExists
            | E::NotEmpty
            | E::NotReadOnly
            | E::NoWatcher
            | E::QuotaExceeded
            | E::Throttled
            | E::Unimplemented
            | E::ReconfigDisabled
            | E::RuntimeInconsistent
            | E::UnexpectedErrorCode(_) => Self::Refused(error),
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
            Self::Lost(zk::Error::AuthFailed) => {
                new(unknown(ErrorKind::PermissionDenied)).with_source(zk::Error::AuthFailed)
            }
            Self::Lost(error) => new(unknown(ErrorKind::NotReachable)).with_source(error),
            Self::Refused(error) => refused(error, call),
        }
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
