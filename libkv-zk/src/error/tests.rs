use std::error::Error as _;

use libkv_core::ErrorKind as Kind;
use zk::Error as E;

use super::*;

fn call() -> Call {
    Call { operation: "put", deadline: Instant::now() }
}

/// Every error of the client that can be made here; the one that it makes of the system's errors
/// ends a connection, as the last row does.
#[test]
fn every_error_of_the_client_has_a_meaning() {
    use Kind::{
        InvalidConfig, KeyExists, KeyModified, KeyNotFound, NotImplemented, NotReachable, Other,
        OutcomeUnknown as Unknown, PermissionDenied,
    };
    for (error, read, write) in [
        (E::NoNode, KeyNotFound, KeyNotFound),
        (E::NodeExists, KeyExists, KeyExists),
        (E::BadVersion, KeyModified, KeyModified),
        (E::NoAuth, PermissionDenied, PermissionDenied),
        (E::InvalidAcl, InvalidConfig, InvalidConfig),
        (E::NoChildrenForEphemerals, NotImplemented, NotImplemented),
        (E::Unimplemented, NotImplemented, NotImplemented),
        (E::NotReadOnly, NotReachable, NotReachable),
        (E::Throttled, NotReachable, NotReachable),
        (E::SessionMoved, NotReachable, NotReachable),
        (E::QuotaExceeded, Other, Other),
        (E::BadArguments(&"a path"), Other, Other),
        (E::NotEmpty, Other, Other),
        (E::NoWatcher, Other, Other),
        (E::ReconfigDisabled, Other, Other),
        (E::RuntimeInconsistent, Other, Other),
        (E::MarshallingError, Other, Unknown),
        (E::UnexpectedErrorCode(-999), Other, Unknown),
        (E::AuthFailed, PermissionDenied, Unknown),
        (E::SessionExpired, NotReachable, Unknown),
        (E::ConnectionLoss, NotReachable, Unknown),
        (E::ClientClosed, NotReachable, Unknown),
        (E::NoHosts, NotReachable, Unknown),
        (E::Timeout, NotReachable, Unknown),
        (E::UnexpectedError("so".to_owned()), NotReachable, Unknown),
        (E::UnmarshalError { entity: "a reply", reason: &"short" }, NotReachable, Unknown),
    ] {
        for (is_write, kind) in [(false, read), (true, write)] {
            let told = Failure::of(error.clone()).into_error(&call(), is_write);
            assert_eq!(told.kind(), kind, "{error:?}, a write: {is_write}");
            assert_eq!(told.is_transient(), kind == NotReachable, "{told}");
            let source = told.source().expect("there is a cause").to_string();
            assert_eq!(source, error.to_string());
            assert!(!told.to_string().contains(&source), "{told} repeats {source}");
        }
    }
}

#[test]
fn what_was_not_sent_and_what_is_late_are_told_apart() {
    let unsent = Failure::Unsent(Error::new(Kind::NotReachable, ZK, "open"));
    let told = unsent.into_error(&call(), true);
    assert!(told.kind() == Kind::NotReachable && told.changed_nothing(), "{told}");
    assert_eq!(Failure::Late.into_error(&call(), false).kind(), Kind::Timeout);
    assert_eq!(Failure::Late.into_error(&call(), true).kind(), Kind::OutcomeUnknown);
}

#[test]
fn only_a_node_that_is_not_there_is_absent() {
    assert!(Failure::of(E::NoNode).is_absent());
    for failure in [Failure::of(E::NoAuth), Failure::of(E::ConnectionLoss), Failure::Late] {
        assert!(!failure.is_absent(), "{failure:?}");
    }
}
