use super::*;

fn status(code: Code, text: &str) -> Fault {
    judge(ClientError::GRpcStatus(Status::new(code, text)))
}

#[test]
fn the_servers_words_are_understood() {
    use ErrorKind::{NotReachable, Other, PermissionDenied, Timeout, TooLarge};
    use Verdict::{Elsewhere, Refused, Token, Unknown};
    for (code, text, verdict, kind) in [
        (Code::Unavailable, "etcdserver: no leader", Elsewhere, NotReachable),
        (Code::Unavailable, "etcdserver: leader changed", Unknown, NotReachable),
        (Code::Unavailable, "etcdserver: request timed out", Unknown, Timeout),
        (
            Code::Unavailable,
            "etcdserver: request timed out, possibly due to connection lost",
            Unknown,
            Timeout,
        ),
        (Code::Unavailable, "etcdserver: server stopped", Unknown, NotReachable),
        (Code::Unavailable, "something new", Unknown, NotReachable),
        (Code::Unauthenticated, "etcdserver: invalid auth token", Token, PermissionDenied),
        (
            Code::InvalidArgument,
            "etcdserver: revision of auth store is old",
            Token,
            PermissionDenied,
        ),
        (Code::PermissionDenied, "etcdserver: permission denied", Refused, PermissionDenied),
        (Code::InvalidArgument, "etcdserver: user name is empty", Refused, PermissionDenied),
        (
            Code::InvalidArgument,
            "etcdserver: authentication failed, invalid user ID or password",
            Refused,
            PermissionDenied,
        ),
        (Code::InvalidArgument, "etcdserver: request is too large", Refused, TooLarge),
        (Code::InvalidArgument, "etcdserver: duplicate key given in txn", Refused, Other),
        (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", Unknown, Other),
        (Code::DeadlineExceeded, "context deadline exceeded", Unknown, Timeout),
        (Code::Cancelled, "", Unknown, Other),
        (Code::Unknown, "raft: stopped", Unknown, NotReachable),
        (Code::Internal, "", Unknown, Other),
    ] {
        let fault = status(code, text);
        assert_eq!((fault.verdict, fault.kind), (verdict, kind), "{code:?} {text}");
    }
    assert!(status(Code::NotFound, "etcdserver: requested lease not found").is_lease_gone());
    assert!(status(Code::FailedPrecondition, "etcdserver: lease already exists").is_lease_taken());
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    assert!(status(Code::OutOfRange, compacted).is_compacted());
    let keeper = ClientError::LeaseKeepAliveError("lease not found".to_owned());
    assert!(judge(keeper).is_lease_gone());
}

#[test]
fn a_reason_is_found_inside_the_text_of_a_status() {
    let reason = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
    assert_eq!(judge_reason(reason).verdict, Verdict::Token);
    let reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    assert_eq!(judge_reason(reason).kind, ErrorKind::PermissionDenied);
    assert_eq!(judge_reason("a new reason").verdict, Verdict::Unknown);
}

#[test]
fn only_a_write_that_may_have_happened_is_unknown() {
    let lost = || status(Code::Unavailable, "etcdserver: leader changed");
    assert_eq!(lost().into_error("put", "h:1", true).kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(lost().into_error("get", "h:1", false).kind(), ErrorKind::NotReachable);
    let refused = || status(Code::PermissionDenied, "etcdserver: permission denied");
    let error = refused().into_error("put", "h:1", true);
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(error.to_string(), "etcd put: permission denied: h:1: the user lacks the right");
    assert!(!error.is_transient() && error.source().is_some());
}

#[tokio::test]
async fn a_connection_that_was_refused_left_nothing() {
    let endpoint = tonic::transport::Endpoint::from_static("http://127.0.0.1:1");
    let fault = judge(ClientError::TransportError(endpoint.connect().await.unwrap_err()));
    assert_eq!((fault.verdict, fault.kind), (Verdict::Elsewhere, ErrorKind::NotReachable));
    let channel = etcd_client::Channel::Tonic(endpoint.connect_lazy());
    let client = etcd_client::Client::from_channel(channel, None).await.unwrap();
    let fault = judge(client.kv_client().put("a", "b", None).await.unwrap_err());
    assert_eq!((fault.verdict, fault.kind), (Verdict::Elsewhere, ErrorKind::NotReachable));
}
