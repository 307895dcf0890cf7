use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::{Fixture, Target, log};

/// No case takes this long, unless something hangs where no patience was asked for.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// A case of the suite.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name, as `module::case`.
    pub name: &'static str,
    /// The sentences of the contract that it shows.
    pub numbers: &'static [&'static str],
}

/// The backends that this workspace has. A sentence tagged with others only waits for them.
pub const PRESENT: &[&str] = &["embedded", "file", "etcd", "consul"];

/// Where the cases run in the integration tests, a module for each engine.
pub const SUITES: &[&str] = &["embedded::memory", "embedded::file", "etcd::plain", "consul::plain"];

/// Runs one case against one backend, in a runtime of its own.
///
/// # Panics
///
/// When the backend breaks the contract.
pub fn run<F: Future<Output = ()>>(
    target: impl Target,
    name: &str,
    case: impl FnOnce(Arc<Fixture>) -> F,
) {
    log::collect_lines();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let fixture = Fixture::open(Arc::new(target)).await.expect("the backend opens");
        let fixture = Arc::new(fixture);
        if tokio::time::timeout(CASE_LIMIT, case(fixture.clone())).await.is_err() {
            panic!("{name} took longer than {CASE_LIMIT:?}");
        }
        if let Some(fixture) = Arc::into_inner(fixture) {
            fixture.tear_down().await.expect("what the case left can be removed");
        }
    });
}

/// Runs one case by its name, and returns what it said where the backend broke the contract. This
/// is how the suite itself is tested.
///
/// # Panics
///
/// When there is no such case.
pub fn verdict(target: impl Target, name: &str) -> Result<(), String> {
    let runner = RUNNERS.iter().find(|(case, _)| *case == name);
    let (_, runner) = runner.unwrap_or_else(|| panic!("there is no case {name}"));
    let attempt = std::panic::AssertUnwindSafe(|| run(target, name, runner));
    std::panic::catch_unwind(attempt).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "a panic without words".to_owned())
    })
}

type Runner = fn(Arc<Fixture>) -> Pin<Box<dyn Future<Output = ()>>>;

const RUNNERS: &[(&str, Runner)] = crate::conformance!(runners);

/// Lists the cases once. `conformance!(tests for TARGET)` makes a named test of each, and
/// `conformance!(table)` their names with the numbers of the sentences they show.
#[macro_export]
macro_rules! conformance {
    (tests for $target:expr) => {
        $crate::conformance!(@cases tests $target);
    };
    (table) => {
        $crate::conformance!(@cases table ())
    };
    (runners) => {
        $crate::conformance!(@cases runners ())
    };
    (@runners (); $($module:ident { $($case:ident [$($number:literal)+])* })*) => {
        &[$($((
            concat!(stringify!($module), "::", stringify!($case)),
            |fixture| Box::pin(async move { $crate::cases::$module::$case(&fixture).await }),
        ),)*)*]
    };
    (@tests $target:expr; $($module:ident { $($case:ident [$($number:literal)+])* })*) => {
        $(
            mod $module {
                #[allow(unused_imports, reason = "the target may be named by a full path")]
                use super::*;
                $(
                    #[test]
                    fn $case() {
                        let name = concat!(stringify!($module), "::", stringify!($case));
                        $crate::run($target, name, |fixture| async move {
                            $crate::cases::$module::$case(&fixture).await
                        });
                    }
                )*
            }
        )*
    };
    (@table (); $($module:ident { $($case:ident [$($number:literal)+])* })*) => {
        &[$($($crate::Case {
            name: concat!(stringify!($module), "::", stringify!($case)),
            numbers: &[$($number),+],
        },)*)*]
    };
    (@cases $what:ident $with:tt) => {
        $crate::conformance! { @$what $with;
            keys {
                a_key_is_text_in_segments ["2.1" "2.9"]
                slashes_fold_to_one_key ["2.2"]
                a_refusal_tells_the_reason_and_the_byte ["2.3" "2.4" "2.5" "2.6" "2.7" "2.8"]
                every_call_refuses_what_is_no_key ["2.3" "2.4" "2.5" "2.6" "2.7" "2.8"]
                keys_at_the_edges_are_stored_exactly ["2.1" "2.4" "2.7"]
                strings_are_accepted_wherever_a_key_is ["2.12"]
                paths_are_as_the_ancestor_promised ["2.10"]
                the_root_takes_tree_calls_and_always_exists ["2.13"]
                the_root_holds_no_value_and_cannot_be_locked ["2.14" "5.5"]
                a_parent_and_its_child_may_both_hold_values ["2.15"]
                a_parent_that_nobody_put_does_not_exist ["2.16"]
            }
            names {
                a_neighbour_root_sees_nothing_of_ours ["2.20" "4.50"]
                a_name_that_is_no_key_below_the_root_is_foreign ["2.24" "2.25" "2.26" "4.62"]
                a_root_further_down_is_a_part_of_the_tree ["2.20" "2.14"]
            }
            versions {
                a_version_is_opaque ["3.1"]
                zero_is_no_special_version ["3.1"]
                a_version_survives_its_text ["3.2"]
                a_version_of_another_backend_is_refused ["3.3"]
                the_last_index_grows_with_every_write ["3.5"]
                every_write_changes_the_version ["3.6"]
                a_version_never_comes_back ["3.9"]
                a_write_returns_its_own_version ["3.11"]
            }
            reads {
                a_get_gives_the_pair ["4.1"]
                an_empty_value_is_a_value ["4.1" "4.2" "4.6"]
                exists_is_true_false_or_an_error ["4.2"]
                a_get_can_leave_the_value_out ["4.62"]
                a_read_sees_every_acknowledged_write ["4.51"]
                a_local_read_catches_up ["4.51" "4.62"]
            }
            updates {
                an_update_makes_changes_and_deletes ["4.40"]
                an_update_begins_again_after_a_conflict ["4.40"]
                an_update_ends_when_its_tries_are_used_up ["4.41"]
                an_update_stops_at_an_unknown_outcome ["4.42"]
            }
            writes {
                put_creates_parents ["4.4"]
                a_new_key_appears_with_its_value ["4.5"]
                a_present_key_is_not_created_again ["4.6"]
                a_stale_version_is_refused_and_changes_nothing ["4.7"]
                the_present_version_lets_a_write_happen_once ["4.7" "4.8"]
                a_version_of_an_absent_key_is_not_found ["4.8"]
                atomic_put_creates_or_replaces ["4.9" "4.10" "4.66"]
                atomic_put_writes_a_permanent_key ["4.10" "4.53"]
                atomic_delete_takes_only_what_it_was_shown ["4.11" "4.12"]
                deleting_an_absent_key_is_not_found ["4.13"]
                a_delete_leaves_the_children ["4.14"]
                any_bytes_are_a_value_up_to_the_limit ["4.1" "10.11" "10.13"]
                a_fenced_write_happens_only_while_the_lock_is_held ["4.62" "7.18"]
                a_deadline_that_is_over_lets_nothing_happen ["4.65"]
            }
            races {
                one_of_many_creators_wins ["4.6" "4.9"]
                one_of_many_replacers_wins ["4.7" "3.6"]
                one_of_many_deleters_wins ["4.8" "4.13"]
                a_put_and_a_delete_of_one_state_exclude_each_other ["4.7" "4.8"]
                one_of_many_transactions_wins ["4.32" "4.36"]
                concurrent_updates_all_count ["4.40"]
                transfers_keep_the_sum ["4.30" "4.32"]
            }
            lists {
                a_listing_gives_what_is_below ["4.22" "4.50"]
                a_listing_is_in_the_order_of_the_bytes ["4.23"]
                a_depth_filters_and_invents_no_parents ["4.24"]
                a_listing_of_keys_has_no_values ["4.25"]
                pages_walk_the_whole_listing ["4.26"]
                a_page_begins_after_any_place ["4.26"]
                an_absent_directory_is_not_found ["4.27"]
                a_listing_of_nothing_is_empty_where_something_is ["4.28"]
                a_listing_streams_with_its_index ["4.29"]
                a_listing_is_of_one_point_in_time ["4.30" "4.32"]
            }
            trees {
                delete_tree_removes_the_directory_and_all_below ["4.16"]
                what_is_done_to_a_tree_stays_in_it ["4.50"]
                deleting_a_tree_of_nothing_is_fine ["4.20"]
                delete_tree_takes_the_locks_away ["4.17"]
                delete_tree_is_atomic_where_it_says_so ["4.18"]
                delete_tree_takes_a_fence_where_it_is_atomic ["4.21"]
            }
            txns {
                a_transaction_writes_all_its_keys ["4.31" "4.32" "4.37"]
                a_failed_compare_is_told_and_changes_nothing ["4.32" "4.36"]
                compares_see_the_state_before ["4.33"]
                a_key_is_written_at_most_once ["4.34"]
                deleting_an_absent_key_in_a_transaction_is_nothing ["4.35" "4.37"]
                compares_alone_are_a_transaction ["4.31"]
                a_fenced_transaction_needs_every_lock ["4.31" "4.36"]
                a_transaction_carries_its_operations ["10.12" "10.13"]
                a_transaction_carries_its_bytes ["10.12" "10.13"]
            }
            lifetimes {
                every_put_states_the_lifetime_anew ["4.53" "4.54" "4.56"]
                a_plain_put_outlives_the_old_time_limit ["4.53" "4.54" "4.56"]
                a_key_ends_between_its_time_and_the_bound ["4.57" "4.58"]
                a_put_again_starts_the_time_anew ["4.56" "4.57" "4.58"]
                a_time_outside_the_limits_is_refused ["4.59"]
                an_ephemeral_key_lives_as_long_as_its_session ["4.54" "4.60"]
            }
            closing {
                closing_again_is_fine ["4.43"]
                a_closed_handle_refuses_every_call ["4.47"]
                close_removes_the_ephemeral_keys_of_its_handle ["4.45"]
                close_releases_the_locks_of_its_handle ["4.44"]
                close_ends_the_watches_of_its_handle ["4.46"]
                clones_are_closed_together ["4.48"]
                dropping_the_last_clone_closes_the_handle ["4.49"]
                a_guard_keeps_its_handle_open ["4.49"]
                a_stream_keeps_its_handle_open ["4.49"]
            }
            outcomes {
                a_refused_write_changed_nothing ["5.1" "5.5"]
                an_ok_write_has_happened ["5.1"]
                every_write_of_a_race_is_accounted_for ["5.1"]
                an_error_names_backend_operation_key_and_kind ["5.5"]
                an_error_says_whether_trying_again_can_help ["5.7"]
            }
            watches {
                a_watch_begins_with_the_state_then_tells_the_changes ["6.1" "6.2" "6.3" "6.8" "6.11"]
                a_tree_watch_begins_with_the_listing ["6.1" "6.3"]
                a_tree_watch_stays_below_its_directory ["6.1" "4.50"]
                a_key_watch_tells_nothing_of_its_neighbours ["6.1" "4.50"]
                an_absent_target_can_be_watched ["6.4"]
                a_deleted_tree_is_told_key_by_key ["6.2" "6.9"]
                a_key_that_ends_by_itself_is_told ["6.9"]
                without_initial_the_changes_are_told ["6.5"]
                the_root_is_no_key_to_watch ["2.14" "6.26"]
                a_closed_handle_ends_its_watches ["4.46" "6.26"]
                a_dropped_stream_lets_go_of_its_handle ["4.49" "6.2" "6.27"]
                dropped_streams_leave_the_others_alone ["6.27"]
            }
            watch_races {
                the_snapshot_and_the_changes_leave_no_gap ["6.3" "6.7" "6.8" "6.9" "6.20"]
                without_initial_nothing_is_missed ["6.5" "6.7" "6.8" "6.20"]
                many_subscribers_end_with_the_same_state ["6.7" "6.9"]
                every_version_is_told_where_the_store_can ["6.8" "6.9" "6.20" "10.6"]
                a_transaction_is_told_key_by_key ["6.9" "6.20"]
                a_dropped_next_loses_nothing ["6.7" "6.20"]
                watch_lists_gives_each_listing ["6.30"]
                on_change_calls_back_with_each_listing ["6.30"]
            }
            resyncs {
                from_an_index_come_the_changes_after_it ["6.6" "10.7"]
                from_the_index_of_synced_nothing_is_missed ["6.6" "10.7"]
                from_beyond_the_index_comes_the_whole_state ["6.16" "6.18" "10.7"]
                from_the_beginning_ends_with_the_state ["6.6" "6.18" "10.7"]
                a_consumer_that_falls_behind_is_told_and_made_good ["6.9" "6.16" "6.17" "6.22"]
                a_transaction_cut_by_the_buffer_is_made_good ["6.17" "6.22"]
                a_consumer_without_a_picture_hears_of_deletions ["6.5" "6.16" "6.22"]
                a_slow_consumer_stalls_nobody ["6.24"]
            }
            locks {
                a_lock_is_taken_given_back_and_taken_again ["7.1" "7.22"]
                a_lock_has_one_holder ["7.2" "7.4" "7.8"]
                contenders_never_overlap ["7.2" "7.4" "7.11"]
                locks_on_different_keys_do_not_meet ["7.2"]
                waiters_are_served_in_order_where_the_store_queues_them ["7.3" "10.8"]
                a_refused_attempt_leaves_no_place ["7.8" "7.10"]
                a_bounded_wait_gets_a_lock_that_becomes_free ["7.8"]
                a_dropped_waiter_leaves_its_place ["7.10"]
                a_closed_handle_ends_its_waiters ["4.44" "4.47" "7.10"]
                a_lock_makes_no_key ["2.16" "7.31" "7.37"]
            }
            lock_values {
                the_value_is_there_while_the_lock_is_held ["7.26" "7.27" "7.28"]
                the_value_goes_however_the_lock_ends ["7.24" "7.27" "7.28"]
                release_leaves_what_others_wrote ["7.27"]
                a_lock_without_a_value_leaves_its_key_alone ["7.31"]
                a_waiter_writes_no_value ["7.26"]
                lock_nodes_never_show ["7.37"]
                data_that_looks_like_a_lock_node_is_data ["7.38"]
                data_below_a_lock_is_no_contender ["7.38"]
            }
            guards {
                tokens_grow_from_holder_to_holder ["7.11"]
                tokens_grow_across_deletion ["7.11"]
                a_fenced_write_happens_while_the_lock_is_held ["7.18" "4.21" "10.5"]
                a_fence_is_refused_after_the_release ["5.1" "7.18"]
                a_fence_is_of_one_lock_and_one_holder ["4.36" "7.18"]
                a_fenced_write_still_compares ["7.18"]
                unlock_waits_for_the_servers_word ["7.22"]
                a_dropped_guard_releases ["7.17" "7.24"]
                a_release_is_not_a_loss ["7.17"]
                a_guard_can_be_moved_to_a_task ["7.14" "7.16" "7.17"]
            }
            losses {
                a_deleted_lock_is_lost_at_once ["4.17" "7.14" "7.16" "7.21" "7.23"]
                an_unlock_right_after_the_loss_says_so ["7.16" "7.23"]
                a_holder_that_deletes_its_own_lock_loses_it ["7.16" "7.21"]
                a_deleted_neighbour_loses_no_lock ["4.50" "7.21"]
                a_lost_guard_can_do_nothing_to_its_successor ["7.18" "7.23" "7.25"]
                a_waiter_outlasts_the_deletion_of_the_lock ["4.17" "7.2"]
                one_loss_leaves_the_rest_of_the_handle ["8.6"]
                a_closed_handle_holds_no_lock ["4.44" "7.14"]
                a_lock_is_kept_beyond_its_time_to_live ["7.2" "7.7" "7.14" "8.2"]
                a_silent_holder_has_lost_before_another_holds ["7.14" "7.15" "7.19" "7.25" "7.29" "7.30" "10.3"]
            }
            sessions {
                the_session_opens_with_the_first_ephemeral_key ["8.2" "8.3"]
                a_closed_handle_is_not_connected ["4.45" "8.3"]
                one_session_owns_the_ephemeral_keys_of_a_handle ["8.1"]
                a_lost_lock_is_logged_without_its_value ["8.8" "8.10"]
                a_resync_is_logged_without_values ["8.8" "8.10"]
            }
            opening {
                a_further_connection_is_a_session_of_its_own ["9.5"]
            }
            capabilities {
                ttl_says_which_times_to_live_a_key_may_have ["4.59" "10.2"]
                lock_ttl_says_which_times_to_live_a_lock_may_have ["7.7" "10.3"]
                atomic_list_says_whether_a_listing_is_of_one_moment ["4.30" "10.4"]
                atomic_delete_tree_says_whether_a_tree_goes_at_once ["4.18" "10.5"]
                empty_values_on_parents_says_where_nothing_may_stand ["2.28" "10.9"]
                children_of_ephemeral_says_what_may_be_below_one ["2.29" "10.10"]
            }
            limits {
                max_value_bytes_is_what_every_write_carries ["10.11" "10.13"]
                max_txn_ops_is_what_a_transaction_carries ["10.12" "10.13"]
                max_txn_bytes_is_what_a_transaction_carries ["10.12" "10.13"]
            }
        }
    };
}
