use libkv_core::{BackendName, Error, ErrorKind, Key};

use crate::machine::{Fault, Loss};

/// The name in errors and versions.
pub(crate) const MEM: BackendName = BackendName::new("mem");

/// Turns a refusal into the error of an operation; `key_of` names the key of the check that failed.
pub(crate) fn refused<'a>(
    fault: Fault,
    operation: &'static str,
    key_of: impl FnOnce(usize) -> Option<&'a Key>,
) -> Error {
    let (check, kind) = match fault {
        Fault::Refused { check, kind } => (check, kind),
        Fault::Engine(error) => return error.in_operation(MEM, operation),
    };
    let error = Error::new(kind, MEM, operation);
    let error = match key_of(check) {
        Some(key) => error.with_key(key),
        None => error,
    };
    match kind {
        ErrorKind::LockLost => error.with_detail("the fence's guard does not hold the lock"),
        _ => error,
    }
}

/// Says why a lock was lost.
pub(crate) fn lost(loss: Loss, key: &Key) -> Error {
    let detail = match loss {
        Loss::Expired => "its time to live ended before it was renewed",
        Loss::Deleted => "it was deleted with the tree it is in",
        Loss::Closed => "its handle was closed",
    };
    Error::new(ErrorKind::LockLost, MEM, "lock").with_key(key).with_detail(detail)
}

pub(crate) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, MEM, operation).with_detail("this handle was closed")
}
