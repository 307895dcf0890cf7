//! A file that is not written to before it is known to be ours, and whose locks can outlive redb's
//! use of it.

use std::fs;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// Where redb keeps its bytes. Whoever opens a file that was not closed properly has to mend it;
/// what redb writes for this waits in memory, until somebody says that the file is ours.
#[derive(Debug, Clone)]
pub(super) struct Careful {
    inner: Arc<Inner>,
    /// Which use of the file this is.
    using: u64,
}

#[derive(Debug)]
struct Inner {
    file: FileBackend,
    ours: AtomicBool,
    /// Whether the locks stay when redb closes the file.
    keeps_locks: AtomicBool,
    /// The use that is not over.
    used: AtomicU64,
    waiting: Mutex<Vec<Step>>,
}

/// A step that is not made yet.
#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Careful {
    /// A file that may be somebody else's.
    pub(super) fn foreign(file: fs::File) -> Result<Self, redb::Error> {
        Self::new(file, false)
    }

    /// A file that is ours to write.
    pub(super) fn ours(file: fs::File) -> Result<Self, redb::Error> {
        Self::new(file, true)
    }

    fn new(file: fs::File, ours: bool) -> Result<Self, redb::Error> {
        let file = FileBackend::new(file)?;
        let inner = Inner {
            file,
            ours: ours.into(),
            keeps_locks: false.into(),
            used: 0.into(),
            waiting: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner), using: 0 })
    }

    /// The file for another use. The one before is over, also where redb failed to end it: what it
    /// knows of the file is no longer so, and its writes would spoil it.
    pub(super) fn anew(&self) -> Self {
        let using = self.inner.used.fetch_add(1, Ordering::AcqRel) + 1;
        Self { inner: Arc::clone(&self.inner), using }
    }

    fn is_over(&self) -> bool {
        self.inner.used.load(Ordering::Acquire) != self.using
    }

    /// Whether the locks are not redb's to take and to give back.
    fn leaves_locks(&self) -> bool {
        self.inner.keeps_locks.load(Ordering::Acquire) || self.is_over()
    }

    fn inner(&self) -> io::Result<&Inner> {
        if self.is_over() {
            return Err(io::Error::other("this use of the file is over"));
        }
        Ok(&self.inner)
    }

    /// From now on the locks stay, whatever redb does, so that nobody else comes in while the file
    /// is opened again.
    pub(super) fn keep_locks(&self) {
        self.inner.keeps_locks.store(true, Ordering::Release);
    }

    /// Ends all use of the file, and gives the locks back.
    pub(super) fn release_locks(&self) {
        self.anew();
        // They end with the file at the latest.
        let _ = self.inner.file.close();
    }

    /// Makes the steps that wait, in their order, and from now on every step at once.
    pub(super) fn go_ahead(&self) -> io::Result<()> {
        let mut waiting = self.inner.waiting();
        for step in waiting.drain(..) {
            match step {
                Step::Write(offset, bytes) => self.inner.file.write(offset, &bytes)?,
                Step::SetLen(len) => self.inner.file.set_len(len)?,
                Step::Sync => self.inner.file.sync_data()?,
            }
        }
        self.inner.ours.store(true, Ordering::Release);
        Ok(())
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, Vec<Step>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ours(&self) -> bool {
        self.ours.load(Ordering::Acquire)
    }

    /// What would be read if the steps that wait were made.
    fn read_ahead(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let waiting = self.waiting();
        let kept = waiting.iter().fold(self.file.len()?, |kept, step| match step {
            Step::SetLen(len) => kept.min(*len),
            _ => kept,
        });
        let stored = usize::try_from(kept.saturating_sub(offset)).unwrap_or(usize::MAX);
        let stored = stored.min(out.len());
        if len(&waiting, kept) < offset + out.len() as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read(offset, &mut out[..stored])?;
        out[stored..].fill(0);
        for step in waiting.iter() {
            if let Step::Write(begin, bytes) = step {
                copy_overlap(*begin, bytes, offset, out);
            }
        }
        Ok(())
    }
}

fn len(waiting: &[Step], stored: u64) -> u64 {
    let set = waiting.iter().rev().find_map(|step| match step {
        Step::SetLen(len) => Some(*len),
        _ => None,
    });
    set.unwrap_or(stored)
}

/// Copies the part of `bytes`, which begin at `begin`, that is also in `out`, which begins at
/// `offset`.
fn copy_overlap(begin: u64, bytes: &[u8], offset: u64, out: &mut [u8]) {
    let skip = |from: u64, to: u64| usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    let bytes = bytes.get(skip(begin, offset)..).unwrap_or_default();
    let out = out.get_mut(skip(offset, begin)..).unwrap_or_default();
    let both = bytes.len().min(out.len());
    out[..both].copy_from_slice(&bytes[..both]);
}

impl StorageBackend for Careful {
    fn len(&self) -> io::Result<u64> {
        let inner = self.inner()?;
        let stored = inner.file.len()?;
        Ok(if inner.is_ours() { stored } else { len(&inner.waiting(), stored) })
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.inner()?;
        if inner.is_ours() { inner.file.read(offset, out) } else { inner.read_ahead(offset, out) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let inner = self.inner()?;
        if inner.is_ours() {
            return inner.file.set_len(len);
        }
        inner.waiting().push(Step::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let inner = self.inner()?;
        if inner.is_ours() {
            return inner.file.sync_data();
        }
        inner.waiting().push(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let inner = self.inner()?;
        if inner.is_ours() {
            return inner.file.write(offset, data);
        }
        inner.waiting().push(Step::Write(offset, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        if self.leaves_locks() { Ok(()) } else { self.inner.file.close() }
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if self.leaves_locks() {
            return Ok(true);
        }
        self.inner.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.leaves_locks() {
            return Ok(());
        }
        self.inner.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_neither_reads_nor_writes() {
        let place = tempfile::tempfile().unwrap();
        let first = Careful::ours(place).unwrap();
        first.set_len(4).unwrap();
        let second = first.anew();
        let mut out = [0; 4];
        assert!(first.read(0, &mut out).is_err() && first.write(0, b"old!").is_err());
        assert!(first.set_len(0).is_err() && first.sync_data().is_err() && first.len().is_err());
        first.close().unwrap();
        second.write(0, b"new!").unwrap();
        second.read(0, &mut out).unwrap();
        assert_eq!(out, *b"new!");
    }

    #[test]
    fn what_overlaps_is_copied() {
        for (begin, bytes, expected) in [
            (0, &b"abc"[..], *b"...."),
            (8, b"abc", *b"c..."),
            (9, b"abcdefgh", *b"bcde"),
            (11, b"ab", *b".ab."),
            (13, b"abc", *b"...a"),
            (14, b"abc", *b"...."),
        ] {
            let mut out = *b"....";
            copy_overlap(begin, bytes, 10, &mut out);
            assert_eq!(out, expected, "{begin} {bytes:?}");
        }
    }
}
