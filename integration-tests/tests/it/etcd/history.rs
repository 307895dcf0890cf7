//! The server's own history, to compare with it what a watch told.

use etcd_client::{EventType, WatchOptions as ClientWatch};

use super::disturbed::{Truth, soon};
use crate::faults::follower::Follower;
use crate::faults::writer::DIR;

/// A change of a key: its name, its revision, and the value that was put.
type Change = (String, u64, Option<String>);

impl Follower {
    /// Compares the consumer's state with the server's.
    pub(super) async fn assert_converged(&self, truth: &Truth) {
        self.assert_state(&truth.stored(&format!("{DIR}/")).await);
    }

    /// Compares all that was told since the last time with the server's own history: everything once
    /// and in order, and never a word that something may have been missed.
    pub(super) async fn assert_all_told(&self, truth: &Truth) {
        self.look(|told| assert_eq!(told.resyncs, [], "nothing was missed"));
        let (after, news) = self.news();
        // Who began to watch late may have found all of it.
        let Some(last) = news.last() else { return };
        let history = history(truth, after.unwrap() + 1, last.index).await;
        let changes = news.into_iter().map(|change| (change.name, change.index, change.now));
        let changes: Vec<Change> = changes.collect();
        if let Some(at) =
            (0..changes.len().max(history.len())).find(|at| changes.get(*at) != history.get(*at))
        {
            let around = |all: &[Change]| all[at.min(all.len())..(at + 3).min(all.len())].to_vec();
            panic!(
                "of {} changes, from number {at}: told {:?}, happened {:?}",
                history.len(),
                around(&changes),
                around(&history)
            );
        }
    }
}

/// What happened below the directory from one revision to another, as the server has it.
async fn history(truth: &Truth, from: u64, to: u64) -> Vec<Change> {
    let options = ClientWatch::new().with_prefix().with_start_revision(from.cast_signed());
    let mut events = truth.client().watch(format!("{DIR}/"), Some(options)).await.unwrap();
    let mut changes: Vec<Change> = Vec::new();
    soon("the server tells its history", async {
        while changes.last().is_none_or(|(_, revision, _)| *revision < to) {
            let message = events.message().await.unwrap().expect("the history goes on");
            assert!(!message.canceled(), "{}", message.cancel_reason());
            changes.extend(message.events().iter().map(|event| {
                let kv = event.kv().unwrap();
                let put = event.event_type() == EventType::Put;
                let value = put.then(|| kv.value_str().unwrap().to_owned());
                (kv.key_str().unwrap().to_owned(), kv.mod_revision().unsigned_abs(), value)
            }));
        }
    })
    .await;
    changes.retain(|(_, revision, _)| *revision <= to);
    changes
}
