//! Writes, what they claim, and what the server says of it.

use std::time::Duration;

use integration_tests::key;
use libkv_core::{Error, Expect, Lifetime, Result, Store, StoreExt, Txn, Version, WriteOptions};

use super::Truth;

/// A kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Put,
    Create,
    Replace,
    Ttl,
    Ephemeral,
    Delete,
    DeleteVersion,
    DeleteTree,
    Txn,
}

impl Step {
    pub(super) const ALL: [Self; 9] = [
        Self::Put,
        Self::Create,
        Self::Replace,
        Self::Ttl,
        Self::Ephemeral,
        Self::Delete,
        Self::DeleteVersion,
        Self::DeleteTree,
        Self::Txn,
    ];

    /// From which byte to which it is cut next.
    pub(super) fn stride(self, length: u64) -> usize {
        let cuts = if self == Self::Put { 100 } else { 35 };
        usize::try_from(length / cuts).unwrap().max(1)
    }

    fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::DeleteVersion | Self::DeleteTree)
    }
}

/// A write of a key of its own that was once put before, unless it is to be created.
#[derive(Debug)]
pub(crate) struct Attempt {
    step: Step,
    name: String,
    before: u64,
    /// What came of it, with the version that was claimed.
    claim: Option<Result<Option<Version>>>,
}

/// What an attempt turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    NotDone,
    UnknownAndDone,
    UnknownAndNot,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) done: usize,
    pub(super) not_done: usize,
    pub(super) unknown_and_done: usize,
    pub(super) unknown_and_not: usize,
}

impl Counts {
    pub(super) fn add(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Done => &mut self.done,
            Verdict::NotDone => &mut self.not_done,
            Verdict::UnknownAndDone => &mut self.unknown_and_done,
            Verdict::UnknownAndNot => &mut self.unknown_and_not,
        } += 1;
    }
}

impl Attempt {
    /// Has the server in the state that the write begins with.
    pub(super) async fn prepare(step: Step, name: &str, truth: &impl Truth) -> Self {
        let name = format!("{step:?}/{name}");
        truth.delete(&name).await;
        truth.delete(&format!("{name}/second")).await;
        let before = match step {
            Step::Create => 0,
            _ => truth.put(&name, "before").await,
        };
        Self { step, name, before, claim: None }
    }

    pub(super) async fn run(mut self, store: &dyn Store) -> Self {
        self.claim = Some(self.write(store).await);
        self
    }

    async fn write(&self, store: &dyn Store) -> Result<Option<Version>> {
        let (key, value) = (key(&self.name), "after".into());
        let version = Version::new(store.backend(), self.before);
        let options: WriteOptions = match self.step {
            Step::Put => WriteOptions::default(),
            Step::Create => Expect::Absent.into(),
            Step::Replace => Expect::Version(version).into(),
            Step::Ttl => Lifetime::Ttl(Duration::from_secs(600)).into(),
            Step::Ephemeral => Lifetime::Ephemeral.into(),
            Step::Delete => return store.delete(&key).await.map(|()| None),
            Step::DeleteVersion => {
                let expected = Expect::Version(version).into();
                return store.delete_opts(&key, expected).await.map(|()| None);
            }
            Step::DeleteTree => return store.delete_tree(&key).await.map(|()| None),
            Step::Txn => {
                let txn = Txn::new().require_version(&key, version)?.put(&key, value)?;
                let txn = txn.put(format!("{}/second", self.name), "after")?;
                return store.txn(txn).await.map(|outcome| Some(outcome.versions[0]));
            }
        };
        store.put_opts(&key, value, options).await.map(Some)
    }

    pub(super) fn error(&self) -> Option<&Error> {
        self.claim.as_ref().unwrap().as_ref().err()
    }

    #[track_caller]
    pub(super) fn expect_ok(&self) {
        assert!(self.error().is_none(), "{self:?}");
    }

    /// Compares what was claimed with what the server says.
    pub(super) async fn judge(&self, truth: &impl Truth) -> Verdict {
        let (name, claim) = (&self.name, self.claim.as_ref().unwrap());
        let found = truth.found(name).await;
        let puts = u64::from(self.before > 0);
        let happened = match &found {
            None => self.step.deletes(),
            Some(found) => {
                assert!(found.puts <= puts + 1, "written twice: {self:?}");
                found.puts == puts + 1
            }
        };
        assert!(found.is_some() || self.before == 0 || happened, "it is gone: {self:?}");
        assert!(!(happened && found.is_some() && self.step.deletes()), "it was put: {self:?}");
        if self.step == Step::Txn {
            let second = truth.found(&format!("{name}/second")).await;
            let same = second.map(|second| (second.puts, second.index));
            let whole = found.as_ref().filter(|_| happened).map(|found| (1, found.index));
            assert_eq!(same, whole, "half of it happened: {self:?}");
        }
        match claim {
            Ok(version) => {
                assert!(happened, "it did not happen: {self:?}");
                let index = version.map(|version| version.last_index());
                let changed = found.map(|found| found.index);
                assert_eq!(index, changed, "another version: {self:?}");
                Verdict::Done
            }
            Err(error) if error.changed_nothing() => {
                assert!(!happened, "it happened: {self:?}");
                Verdict::NotDone
            }
            Err(_) if happened => Verdict::UnknownAndDone,
            Err(_) => Verdict::UnknownAndNot,
        }
    }
}
