use std::io;
use std::path::Path as FilePath;
use std::time::Duration;

use libkv_core::{BackendName, Error, ErrorKind, Key};

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
        Loss::NotStored => "it could not be stored",
    };
    Error::new(ErrorKind::LockLost, backend, "lock").with_key(key).with_detail(detail)
}

pub(crate) fn closed(backend: BackendName, operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, backend, operation)
}

/// A file that another process has.
pub(crate) fn held(path: &FilePath, waited: Duration) -> Error {
    let holder = holder(path).unwrap_or_else(|| "another process".to_owned());
    Error::new(ErrorKind::Timeout, FILE, "open").with_detail(format!(
        "{} is held by {holder}, which did not let go of it within {waited:?}; only one process \
         at a time can have it open",
        path.display()
    ))
}

/// A file that is something else. It was not touched.
pub(crate) fn not_ours(path: &FilePath, why: &str) -> Error {
    Error::new(ErrorKind::InvalidConfig, FILE, "open")
        .with_detail(format!("{}: {why}; nothing was changed, name another file", path.display()))
}

/// A failure of a file, with what can be done about it.
pub(crate) fn file(error: redb::Error, operation: &'static str, path: &FilePath) -> Error {
    let (kind, advice) = judge(&error);
    Error::new(kind, FILE, operation)
        .with_detail(format!("{}: {advice}", path.display()))
        .with_source(error)
}

/// A failure of the engine while it works; the operation is named by who asked.
pub(crate) fn storage(error: redb::Error) -> Error {
    let (kind, advice) = judge(&error);
    Error::local(kind, "store").with_detail(advice).with_source(error)
}

fn judge(error: &redb::Error) -> (ErrorKind, &'static str) {
    match error {
        redb::Error::Io(error) => match error.kind() {
            io::ErrorKind::PermissionDenied => {
                (ErrorKind::PermissionDenied, "no permission to read and write it")
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                (ErrorKind::PermissionDenied, "its file system is read-only")
            }
            io::ErrorKind::NotFound => (ErrorKind::InvalidConfig, "its folder does not exist"),
            io::ErrorKind::IsADirectory => (ErrorKind::InvalidConfig, "it is a folder"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (ErrorKind::Other, "the disk is full; nothing was changed, make room and try again")
            }
            _ => (ErrorKind::Other, "reading or writing it failed"),
        },
        redb::Error::DatabaseClosed => (ErrorKind::Closed, "the store was closed"),
        redb::Error::Corrupted(_) => {
            (ErrorKind::Other, "the file is damaged; restore it from a copy")
        }
        redb::Error::PreviousIo => (ErrorKind::Other, "it failed before and is being opened again"),
        _ => (ErrorKind::Other, "the file's engine refused"),
    }
}

/// Who has a file open: the process whose list of open files names it, where the system shows it.
fn holder(path: &FilePath) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let opened_by = |process: &std::fs::DirEntry| {
        let files = std::fs::read_dir(process.path().join("fd")).ok()?;
        let mut names = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        names.any(|name| name == path).then_some(())
    };
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(id) = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        if opened_by(&process).is_some() {
            if id == std::process::id().to_string() {
                return Some("this very process".to_owned());
            }
            let program = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {id} ({})", program.trim()));
        }
    }
    None
}
