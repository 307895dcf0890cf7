//! The suite is tested itself: stores that are wrong in one way each, and the case that says so.

#![allow(clippy::print_stdout, reason = "one line for each store that is caught")]

mod lock;
mod store;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use integration_tests::{Target, verdict};
use libkv_core::{Key, Result, Store};

use self::store::{Fault, Wrong};
use crate::embedded::Memory;

/// A memory store with a fault.
#[derive(Debug)]
struct Faulty {
    memory: Memory,
    fault: Option<Fault>,
}

#[async_trait]
impl Target for Faulty {
    async fn open(&self, root: &Key) -> Result<Arc<dyn Store>> {
        let inner = self.memory.open(root).await?;
        Ok(Arc::new(Wrong { inner, fault: self.fault }))
    }

    fn patience(&self) -> Duration {
        match self.fault {
            // What a wrong store never does need not be waited for long.
            Some(_) => Duration::from_secs(2),
            None => self.memory.patience(),
        }
    }
}

/// The case passes on the wrapper without a fault, and catches the fault.
fn caught(fault: Fault, case: &str) {
    let without = Faulty { memory: Memory::default(), fault: None };
    verdict(without, case).expect("without the fault the case passes");
    let with = Faulty { memory: Memory::default(), fault: Some(fault) };
    let said = verdict(with, case).expect_err("the wrong store must be caught");
    let said = said.lines().next().unwrap_or_default();
    println!("{fault:?}: caught by {case}: {said}");
}

#[test]
fn a_store_that_checks_and_then_writes() {
    caught(Fault::ChecksThenWrites, "races::one_of_many_replacers_wins");
}

#[test]
fn a_store_that_closes_nothing() {
    caught(Fault::ClosesNothing, "closing::close_ends_the_watches_of_its_handle");
}

#[test]
fn a_store_that_drops_delete_events() {
    caught(
        Fault::DropsDeleteEvents,
        "watches::a_watch_begins_with_the_state_then_tells_the_changes",
    );
}

#[test]
fn a_lock_that_leaves_its_waiters_behind() {
    caught(Fault::DropsTheWaitersTidying, "locks::a_dropped_waiter_leaves_its_place");
}

#[test]
fn a_lock_that_frees_a_successors_lock() {
    caught(Fault::FreesASuccessorsLock, "losses::a_lost_guard_can_do_nothing_to_its_successor");
}

#[test]
fn a_store_that_gives_one_too_many() {
    caught(Fault::GivesOneTooMany, "lists::pages_walk_the_whole_listing");
}

#[test]
fn a_store_that_hides_the_resync() {
    caught(Fault::HidesTheResync, "resyncs::a_consumer_that_falls_behind_is_told_and_made_good");
}

#[test]
fn a_store_that_ignores_the_fence() {
    caught(Fault::IgnoresTheFence, "guards::a_fence_is_refused_after_the_release");
}

#[test]
fn a_store_that_ignores_the_lifetime() {
    caught(Fault::IgnoresTheLifetime, "lifetimes::a_key_ends_between_its_time_and_the_bound");
}

#[test]
fn a_store_that_invents_parents() {
    caught(Fault::InventsParents, "lists::a_depth_filters_and_invents_no_parents");
}

#[test]
fn a_store_that_keeps_the_old_lifetime() {
    caught(Fault::KeepsTheOldLifetime, "lifetimes::a_plain_put_outlives_the_old_time_limit");
}

#[test]
fn a_store_that_matches_prefixes_by_byte() {
    caught(Fault::MatchesPrefixesByByte, "trees::what_is_done_to_a_tree_stays_in_it");
}

#[test]
fn a_store_that_misses_the_gap() {
    caught(Fault::MissesTheGap, "watch_races::the_snapshot_and_the_changes_leave_no_gap");
}

#[test]
fn a_lock_that_never_tells_the_loss() {
    caught(Fault::NeverTellsTheLoss, "losses::a_deleted_lock_is_lost_at_once");
}

#[test]
fn a_lock_that_is_released_without_waiting() {
    caught(Fault::ReleasesWithoutWaiting, "guards::unlock_waits_for_the_servers_word");
}

#[test]
fn a_lock_that_repeats_its_token() {
    caught(Fault::RepeatsTheToken, "guards::tokens_grow_from_holder_to_holder");
}

#[test]
fn a_store_that_reports_refusals_as_unknown() {
    caught(Fault::ReportsRefusalsAsUnknown, "outcomes::a_refused_write_changed_nothing");
}

#[test]
fn a_store_that_returns_a_later_version() {
    caught(Fault::ReturnsALaterVersion, "versions::a_write_returns_its_own_version");
}

#[test]
fn a_store_that_shows_the_lock_node() {
    caught(Fault::ShowsTheLockNode, "lock_values::lock_nodes_never_show");
}

#[test]
fn a_store_that_skips_the_snapshot() {
    caught(Fault::SkipsTheSnapshot, "watches::a_tree_watch_begins_with_the_listing");
}

#[test]
fn a_store_that_takes_empty_for_absent() {
    caught(Fault::TakesEmptyForAbsent, "reads::an_empty_value_is_a_value");
}

#[test]
fn a_store_that_tears_transactions() {
    caught(Fault::TearsTransactions, "txns::a_failed_compare_is_told_and_changes_nothing");
}
