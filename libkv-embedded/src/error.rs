use std::io;
use std::path::Path as FilePath;
use std::time::Duration;

use libkv_core::{BackendName, Error, ErrorKind, Key};

use crate::holder;
use crate::machine::{Fault, Loss};

/// The name of a store in memory, in errors and versions.
pub(crate) const MEM: BackendName = BackendName::new("mem");
/// The name of a store in a file.
pub(crate) const FILE: BackendName = BackendName::new("file");

/// Turns a refusal into the error of an operation; `key_of` names the key of the check that failed.
pub(crate) fn refused<'a>(
    fault: Fault,
    backend: BackendName,
    operation: &'static str,
    key_of: impl FnOnce(usize) -> Option<&'a Key>,
) -> Error {
    let (check, kind) = match fault {
        Fault::Refused { check, kind } => (check, kind),
        Fault::Closed => return closed(backend, operation),
        Fault::Engine(error) => return error.in_operation(backend, operation),
    };
    let error = Error::new(kind, backend, operation);
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
pub(crate) fn lost(loss: Loss, backend: BackendName, key: &Key) -> Error {
    let detail = match loss {
        Loss::Expired => "its time to live ended before it was renewed",
        Loss::Deleted => "it was deleted with the tree it is in",
        Loss::Closed => "its handle was closed",
    };
    Error::new(ErrorKind::LockLost, backend, "lock").with_key(key).with_detail(detail)
}

pub(crate) fn closed(backend: BackendName, operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, backend, operation)
}

/// A file that another process has.
pub(crate) fn held(path: &FilePath, waited: Duration) -> Error {
    let holder = holder::name(path).unwrap_or_else(|| "another process".to_owned());
    Error::local(ErrorKind::Timeout, "open").with_detail(format!(
        "{} is held by {holder}, which did not let go of it within {waited:?}; only one process \
         at a time can have it open",
        path.display()
    ))
}

/// A file that is something else. It was not touched.
pub(crate) fn not_ours(path: &FilePath, why: &str) -> Error {
    unusable(path, &format!("{why}; nothing was changed"))
}

/// A name under which there can be no store.
pub(crate) fn unusable(path: &FilePath, why: &str) -> Error {
    Error::local(ErrorKind::InvalidConfig, "open")
        .with_detail(format!("{}: {why}; name another file", path.display()))
}

/// A failure to open a file, with what can be done about it.
pub(crate) fn file(error: redb::Error, path: &FilePath) -> Error {
    let (kind, advice) = judge(&error);
    Error::local(kind, "open")
        .with_detail(format!("{}: {advice}", path.display()))
        .with_source(error)
}

/// A failure of the engine while it works; the operation is named by who asked.
pub(crate) fn storage(error: redb::Error) -> Error {
    let (kind, advice) = judge(&error);
    let passing = is_passing(&error);
    let error = Error::local(kind, "store").with_detail(advice).with_source(error);
    if passing { error.with_transient(true) } else { error }
}

/// A file that was closed with its last session.
pub(crate) fn file_closed() -> Error {
    Error::local(ErrorKind::Closed, "store")
}

/// A moment that is over.
pub(crate) fn moved_on() -> Error {
    Error::local(ErrorKind::Other, "store")
        .with_detail("the file failed while it was read and was written since; read it once more")
        .with_transient(true)
}

/// A write of which nobody knows for sure whether it lasts.
pub(crate) fn unknown(why: &str) -> Error {
    Error::local(ErrorKind::OutcomeUnknown, "write").with_detail(why)
}

/// Whether a failure is over as soon as the file has been opened again.
pub(crate) fn is_passing(error: &redb::Error) -> bool {
    matches!(error, redb::Error::PreviousIo | redb::Error::DatabaseClosed)
}

fn judge(error: &redb::Error) -> (ErrorKind, &'static str) {
    const DAMAGED: &str = "the file is damaged; restore it from a copy";
    match error {
        redb::Error::Io(error) => match error.kind() {
            io::ErrorKind::PermissionDenied => {
                (ErrorKind::PermissionDenied, "no permission to read and write it")
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                (ErrorKind::PermissionDenied, "its file system is read-only")
            }
            io::ErrorKind::NotFound => (ErrorKind::InvalidConfig, "its folder does not exist"),
            io::ErrorKind::NotADirectory => (ErrorKind::InvalidConfig, "its folder is a file"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (ErrorKind::Other, "the disk is full; nothing was changed, make room and try again")
            }
            io::ErrorKind::FileTooLarge => {
                (ErrorKind::Other, "the file may not get larger; nothing was changed")
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                (ErrorKind::Other, DAMAGED)
            }
            _ => (ErrorKind::Other, "reading or writing the file failed"),
        },
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => {
            (ErrorKind::Other, "the file failed before and is being opened again")
        }
        redb::Error::Corrupted(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. } => (ErrorKind::Other, DAMAGED),
        _ => (ErrorKind::Other, "the file's engine refused"),
    }
}
