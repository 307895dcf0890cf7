use std::process::ExitCode;

use libkv::ErrorKind;

/// What the program's end says to a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// It differs, or failed for a reason that has no code of its own.
    Failed,
    Usage,
    NotFound,
    /// The key exists, or was modified.
    Condition,
    NotLocked,
    LockLost,
    NotReachable,
    Denied,
    OutcomeUnknown,
    /// What a command that was run ended with.
    Command(u8),
}

impl Exit {
    /// The code for each reason that a store can give.
    pub(crate) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::KeyNotFound => Self::NotFound,
            ErrorKind::KeyExists | ErrorKind::KeyModified => Self::Condition,
            ErrorKind::CannotLock => Self::NotLocked,
            ErrorKind::LockLost => Self::LockLost,
            ErrorKind::NotReachable | ErrorKind::Timeout => Self::NotReachable,
            ErrorKind::PermissionDenied => Self::Denied,
            ErrorKind::OutcomeUnknown => Self::OutcomeUnknown,
            ErrorKind::InvalidKey
            | ErrorKind::InvalidVersion
            | ErrorKind::InvalidConfig
            | ErrorKind::NotSupported
            | ErrorKind::PreviousNotSpecified => Self::Usage,
            // TooLarge, NotImplemented, Closed, Other, and whatever a later release adds.
            _ => Self::Failed,
        }
    }

    /// The end by a signal, as a shell tells it.
    pub(crate) fn by_signal(signal: i32) -> Self {
        Self::Command(u8::try_from(128 + signal).unwrap_or(u8::MAX))
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Condition => 4,
            Self::NotLocked => 5,
            Self::LockLost => 6,
            Self::NotReachable => 7,
            Self::Denied => 8,
            Self::OutcomeUnknown => 9,
            Self::Command(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_code() {
        for (kind, code) in [
            (ErrorKind::NotSupported, 2),
            (ErrorKind::NotImplemented, 1),
            (ErrorKind::NotReachable, 7),
            (ErrorKind::CannotLock, 5),
            (ErrorKind::KeyModified, 4),
            (ErrorKind::KeyNotFound, 3),
            (ErrorKind::PreviousNotSpecified, 2),
            (ErrorKind::KeyExists, 4),
            (ErrorKind::LockLost, 6),
            (ErrorKind::InvalidKey, 2),
            (ErrorKind::InvalidVersion, 2),
            (ErrorKind::InvalidConfig, 2),
            (ErrorKind::PermissionDenied, 8),
            (ErrorKind::TooLarge, 1),
            (ErrorKind::Timeout, 7),
            (ErrorKind::OutcomeUnknown, 9),
            (ErrorKind::Closed, 1),
            (ErrorKind::Other, 1),
        ] {
            assert_eq!(Exit::of(kind).code(), code, "{kind:?}");
        }
    }

    #[test]
    fn a_signal_is_told_as_a_shell_does() {
        assert_eq!(Exit::by_signal(2).code(), 130);
        assert_eq!(Exit::by_signal(9).code(), 137);
    }
}
