//! redb trusts the pages of a file that was closed properly, and panics on some that are damaged. A
//! file is something that a user brings, so such a panic is an error of the file.

use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::Error;

/// Something of redb's that is never touched but where a panic is caught, its end included.
///
/// Each call is one step of redb's, and what it makes is guarded in its turn: nothing that could
/// panic once more at its end is in a caller's hands while redb panics, as that would end the
/// process.
pub(crate) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(super) fn new(make: impl FnOnce() -> Result<T, Error>) -> Result<Self, Error> {
        guarded(make).map(|made| Self(Some(made)))
    }

    /// Reads with it. What is only given out for the time of the call needs no guard.
    pub(super) fn call<'a, R>(
        &'a self,
        call: impl FnOnce(&'a T) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let inner = self.0.as_ref().ok_or(Error::DatabaseClosed)?;
        guarded(|| call(inner))
    }

    pub(super) fn call_mut<'a, R>(
        &'a mut self,
        call: impl FnOnce(&'a mut T) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let inner = self.0.as_mut().ok_or(Error::DatabaseClosed)?;
        guarded(|| call(inner))
    }

    /// Makes something else with it that is to be guarded too.
    pub(super) fn make<'a, R>(
        &'a self,
        make: impl FnOnce(&'a T) -> Result<R, Error>,
    ) -> Result<Guarded<R>, Error> {
        self.call(make).map(|made| Guarded(Some(made)))
    }

    pub(super) fn make_mut<'a, R>(
        &'a mut self,
        make: impl FnOnce(&'a mut T) -> Result<R, Error>,
    ) -> Result<Guarded<R>, Error> {
        self.call_mut(make).map(|made| Guarded(Some(made)))
    }

    /// Ends it with its last call.
    pub(super) fn end<R>(mut self, call: impl FnOnce(T) -> Result<R, Error>) -> Result<R, Error> {
        let inner = self.0.take().ok_or(Error::DatabaseClosed)?;
        guarded(|| call(inner))
    }

    /// Ends it, where what its end does must be known to be done.
    pub(super) fn close(self) -> Result<(), Error> {
        self.end(|inner| {
            drop(inner);
            Ok(())
        })
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let inner = self.0.take();
        // Nobody waits for the end of it: what was not closed was given up.
        let _ = guarded(|| {
            drop(inner);
            Ok(())
        });
    }
}

fn guarded<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // Nothing is seen in a broken state afterwards. What readers share is not changed by their
    // reads, and redb's own locks say so where they were left half way. The writer gives up its
    // transaction after any error and opens the file again, and redb commits no transaction that
    // panicked. Our own state is not in these calls.
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(Error::Corrupted("redb panicked on what is in it".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("at the end");
        }
    }

    fn is_damage<T>(outcome: Result<T, Error>) -> bool {
        matches!(outcome, Err(Error::Corrupted(_)))
    }

    #[test]
    fn a_panic_is_damage() {
        assert!(is_damage(Guarded::<u8>::new(|| panic!("at the beginning"))));
        let mut one = Guarded::new(|| Ok(1)).unwrap();
        assert!(is_damage(one.call(|_| -> Result<(), _> { panic!("within") })));
        assert!(is_damage(one.call_mut(|_| -> Result<(), _> { panic!("within") })));
        assert_eq!(one.call(|one| Ok(*one)).unwrap(), 1);
    }

    #[test]
    fn a_panic_at_the_end_goes_no_further() {
        drop(Guarded::new(|| Ok(Bomb)).unwrap());
        assert!(is_damage(Guarded::new(|| Ok(Bomb)).unwrap().close()));
    }

    /// Two in a row would end the process.
    #[test]
    fn a_panic_at_the_end_may_meet_another_one() {
        let ours = catch_unwind(|| {
            let _bomb = Guarded::new(|| Ok(Bomb)).unwrap();
            panic!("of our own");
        });
        assert_eq!(*ours.unwrap_err().downcast::<&str>().unwrap(), "of our own");
    }
}
