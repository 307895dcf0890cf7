/// A test outside the suite that shows a sentence which only certain backends can show.
#[derive(Debug, Clone, Copy)]
pub struct Elsewhere {
    /// The backend that it runs against, or the crate that it belongs to.
    pub backend: &'static str,
    /// Its name in the list of the workspace's tests.
    pub test: &'static str,
    /// The sentences that it shows.
    pub numbers: &'static [&'static str],
}

/// The tests that show a backend's own sentences.
pub const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        backend: "embedded",
        test: "embedded::a_watch_behind_the_history_gets_the_whole_state",
        numbers: &["6.16", "6.18"],
    },
    Elsewhere {
        backend: "embedded",
        test: "embedded::the_whole_history_can_be_watched_from",
        numbers: &["6.6"],
    },
    Elsewhere {
        backend: "embedded",
        test: "embedded::each_guard_has_a_lease_of_its_own",
        numbers: &["7.5"],
    },
    Elsewhere {
        backend: "embedded",
        test: "embedded::no_capability_is_absent",
        numbers: &["11.2"],
    },
    Elsewhere {
        backend: "file",
        test: "file::crash::every_acknowledged_write_outlives_a_kill_and_none_is_half_there",
        numbers: &["4.32", "7.12", "7.29", "11.3", "11.5", "11.7"],
    },
    Elsewhere {
        backend: "file",
        test: "file::commits::writers_side_by_side_share_a_commit",
        numbers: &["11.4"],
    },
    Elsewhere {
        backend: "file",
        test: "file::restart::a_time_to_live_goes_on_over_a_restart",
        numbers: &["4.57", "4.58", "11.5"],
    },
    Elsewhere {
        backend: "file",
        test: "file::restart::what_ended_while_closed_is_gone_at_the_opening",
        numbers: &["11.5"],
    },
    Elsewhere {
        backend: "file",
        test: "file::restart::what_a_process_owned_ends_with_it",
        numbers: &["7.29", "11.5"],
    },
    Elsewhere {
        backend: "file",
        test: "file::restart::versions_and_tokens_grow_over_restarts",
        numbers: &["7.11", "7.12"],
    },
    Elsewhere {
        backend: "file",
        test: "file::restart::a_watch_goes_on_from_an_index_over_a_restart",
        numbers: &["6.6", "10.7"],
    },
    Elsewhere {
        backend: "file",
        test: "file::restart::the_history_is_bounded_and_outlives_a_restart",
        numbers: &["6.6", "6.16", "6.18"],
    },
    Elsewhere {
        backend: "file",
        test: "file::opening::a_second_process_waits_and_is_told_who_has_the_file",
        numbers: &["11.6"],
    },
    Elsewhere {
        backend: "file",
        test: "file::opening::a_second_process_gets_the_file_when_the_first_lets_go",
        numbers: &["11.6"],
    },
    Elsewhere {
        backend: "file",
        test: "file::full::a_full_disk_refuses_writes_and_shows_the_old_state",
        numbers: &["5.1", "11.7"],
    },
    Elsewhere {
        backend: "file",
        test: "file::full::races::of_many_writers_each_is_told_the_truth_when_the_disk_gets_full",
        numbers: &["5.1", "11.7"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::names::without_a_root_a_key_is_exactly_its_text",
        numbers: &["2.17"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::names::a_root_is_put_in_front_with_one_slash",
        numbers: &["2.18", "2.20"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::names::a_prefix_is_raw_text_in_front",
        numbers: &["2.19", "2.20"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::names::foreign_names_are_skipped_counted_and_removed_with_their_tree",
        numbers: &["2.22", "2.24", "2.25", "2.26"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::names::a_directory_with_foreign_names_only_is_there_and_empty",
        numbers: &["2.24", "4.28"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::peers::etcdctl_reads_the_keys_and_bytes_that_were_written_here",
        numbers: &["2.21"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::peers::the_keys_and_bytes_that_etcdctl_wrote_are_read_here",
        numbers: &["2.22"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::peers::the_last_index_is_the_servers_mod_revision",
        numbers: &["3.4"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::peers::a_lifetime_is_a_lease_for_both",
        numbers: &["2.21", "2.22", "4.57", "8.1"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::locks::a_node_is_what_etcdctl_makes",
        numbers: &["7.11", "7.32", "7.36"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::locks::ours_waits_for_etcdctl_and_gets_it_afterwards",
        numbers: &["7.8", "7.35"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::locks::etcdctl_waits_for_ours_and_gets_it_afterwards",
        numbers: &["7.35"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::locks::theirs_and_ours_are_served_in_the_order_of_their_nodes",
        numbers: &["7.3", "7.32", "7.35"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::locks::of_many_contenders_of_both_kinds_one_holds",
        numbers: &["7.2", "7.35"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::locks::what_etcdctl_does_to_a_node_is_a_loss_at_once",
        numbers: &["7.18", "7.21", "7.25"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::locks::locks_of_a_key_and_of_one_below_it_do_not_meet",
        numbers: &["7.35", "7.36"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::locks::data_below_a_lock_is_shown_and_is_no_contender",
        numbers: &["7.36", "7.37", "7.38"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::tls::the_authority_alone_is_enough",
        numbers: &["9.3", "9.11"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::tls::a_certificate_and_a_name_are_given_each_on_its_own",
        numbers: &["9.3", "9.11"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::tls::half_a_pair_and_what_is_no_certificate_are_refused_before_connecting",
        numbers: &["9.11"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::tls::what_is_wrong_with_tls_is_said_at_once_and_not_tried_again",
        numbers: &["5.6", "5.8", "9.9"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::tls::who_speaks_tls_and_who_does_not_is_told_apart",
        numbers: &["5.3", "9.9"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::tls::tls_is_never_given_up_for_plain_text",
        numbers: &["9.3"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::users::a_wrong_password_is_denied_at_once_and_not_tried_again",
        numbers: &["5.6", "5.8", "9.9"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::users::without_a_user_a_server_with_users_denies_every_call",
        numbers: &["5.8"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::users::a_server_without_users_takes_any",
        numbers: &["9.3"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::users::a_changed_password_denies_what_follows_until_it_is_right_again",
        numbers: &["5.8"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::users::a_role_for_the_roots_prefix_is_enough_for_everything_inside",
        numbers: &["2.20"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::users::a_part_of_the_rights_is_enough_for_a_part_of_the_calls",
        numbers: &["5.8"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::users::outside_of_its_rights_a_user_sees_and_changes_nothing",
        numbers: &["4.32", "5.8"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::users::losing_the_right_to_read_is_never_a_deletion",
        numbers: &["6.25"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::tokens::everything_goes_on_over_several_lives_of_unused_tokens",
        numbers: &["6.13", "8.2"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::tokens::everything_goes_on_over_several_lives_of_signed_tokens",
        numbers: &["6.13", "8.2"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::secrets::no_text_has_a_password_or_a_private_key",
        numbers: &["8.10", "9.10"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::trips::each_operation_is_one_exchange",
        numbers: &["4.7", "4.13"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::trips::a_transaction_is_one_exchange",
        numbers: &["4.38"],
    },
    Elsewhere { backend: "etcd", test: "etcd::trips::exists_moves_no_value", numbers: &["4.3"] },
    Elsewhere {
        backend: "etcd",
        test: "etcd::opening::a_url_names_hosts_a_root_and_parameters",
        numbers: &["9.3"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::opening::opening_looks_for_a_member_within_its_time_unless_it_is_lazy",
        numbers: &["9.9"],
    },
    Elsewhere {
        backend: "etcd",
        test: "tls_needs_no_provider_of_the_program_and_takes_the_one_it_has",
        numbers: &["9.12"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::outcomes::what_a_write_claims_is_true_wherever_it_is_cut",
        numbers: &["5.2", "5.3"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::outcomes::what_a_write_claims_is_true_where_its_connection_is_cut_while_it_is_made",
        numbers: &["5.2", "5.3"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::outcomes::a_refused_connection_means_that_nothing_was_sent",
        numbers: &["5.4"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::outcomes::a_timeout_before_there_is_a_connection_means_that_nothing_was_sent",
        numbers: &["5.4"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::outcomes::locks::a_lock_that_is_cut_while_it_is_taken_is_held_or_leaves_nothing",
        numbers: &["5.3", "7.10"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::outcomes::locks::a_lock_that_is_cut_while_it_is_given_back_is_given_back",
        numbers: &["5.3", "7.22"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::healing::a_watch_goes_on_when_its_server_is_killed_and_comes_back",
        numbers: &["6.12", "6.20"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::healing::a_watch_goes_on_when_its_connection_is_cut_or_stands_still",
        numbers: &["6.12", "6.19", "6.20"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::healing::a_watch_is_made_good_when_the_history_is_compacted_while_it_is_cut_off",
        numbers: &["6.13", "6.17", "6.19"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::healing::a_state_that_cannot_be_read_yet_is_not_taken_for_an_empty_one",
        numbers: &["6.7", "6.12"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::healing::backoff::watches_come_back_with_pauses_that_differ",
        numbers: &["6.15"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::healing::members::a_watch_goes_on_when_leaders_change_and_members_go",
        numbers: &["6.12", "6.20", "9.8"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::healing::tokens::a_watch_goes_on_when_its_token_expires",
        numbers: &["6.13"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::failover::no_read_fails_while_one_member_is_down",
        numbers: &["9.8"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::failover::a_paused_member_is_left_for_another",
        numbers: &["9.8"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::failover::a_member_cut_off_from_the_others_is_left_for_one_that_is_not",
        numbers: &["4.51", "9.8"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::failover::a_connection_that_is_silent_is_noticed",
        numbers: &["6.12", "9.8"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::bounds::every_exchange_ends_in_time_when_nobody_answers",
        numbers: &["4.63"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::bounds::every_page_of_a_listing_ends_in_time_when_nobody_answers",
        numbers: &["4.63"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::bounds::taking_and_giving_back_a_lock_ends_in_time_when_nobody_answers",
        numbers: &["4.63", "7.9"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::bounds::taking_a_lock_ends_in_time_wherever_the_server_stops_to_answer",
        numbers: &["7.9"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::bounds::close_ends_in_time_when_nobody_answers",
        numbers: &["4.64"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::holding::a_lock_behind_a_silent_connection_is_lost_before_it_is_given_away",
        numbers: &["7.19"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::holding::a_lock_whose_renewals_are_not_confirmed_is_lost_before_it_is_given_away",
        numbers: &["7.19"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::holding::the_lost_future_is_ready_when_somebody_else_has_the_lock",
        numbers: &["7.19"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::holding::a_renewal_that_fails_is_tried_again_until_the_deadline",
        numbers: &["7.20", "8.9"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::holding::a_lock_outlives_a_restart_of_the_server_and_tokens_grow_over_it",
        numbers: &["7.12"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::holding::a_process_that_was_paused_knows_at_once_that_its_lock_is_lost",
        numbers: &["7.15", "7.18", "7.19"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::holding::taking_a_lock_behind_a_silent_connection_is_a_timeout",
        numbers: &["7.9"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::sessions::a_session_that_is_unsure_says_so_and_recovers",
        numbers: &["8.4"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::sessions::a_lost_session_is_told_and_nothing_of_it_comes_back",
        numbers: &["8.4", "8.5", "8.7"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::sessions::a_session_that_was_given_up_is_ended_before_there_is_another",
        numbers: &["8.5", "8.7"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::sessions::reconnections_and_failed_renewals_are_logged",
        numbers: &["8.9", "8.10"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::rewind::a_restored_backup_loses_the_locks_and_is_told_to_watches",
        numbers: &["6.17", "7.13"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::rewind::an_older_history_is_noticed_although_its_revisions_look_the_same",
        numbers: &["6.17", "7.13"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::rewind::another_cluster_is_noticed_although_its_history_is_longer",
        numbers: &["6.17", "7.13"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::streams::a_dropped_stream_is_cancelled_at_the_server_at_once",
        numbers: &["6.28"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::streams::thousands_of_watches_are_one_stream_and_little_memory",
        numbers: &["6.23", "6.28"],
    },
    Elsewhere {
        backend: "etcd",
        test: "etcd::streams::a_consumer_that_falls_behind_takes_little_memory",
        numbers: &["6.22", "6.23"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::names::without_a_root_a_key_is_exactly_its_text",
        numbers: &["2.17"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::names::a_root_is_put_in_front_with_one_slash",
        numbers: &["2.18", "2.20"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::names::foreign_names_are_skipped_counted_and_removed_with_their_tree",
        numbers: &["2.22", "2.24", "2.25", "2.26"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::names::a_directory_with_foreign_names_only_is_there_and_empty",
        numbers: &["2.24", "4.28"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::names::every_character_of_a_key_is_the_same_for_the_server",
        numbers: &["2.17", "2.21"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::names::every_character_of_a_foreign_name_is_the_same_key_or_none",
        numbers: &["2.22", "2.24"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::peers::consul_reads_the_keys_and_bytes_that_were_written_here",
        numbers: &["2.21"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::peers::the_keys_and_bytes_that_consul_wrote_are_read_here",
        numbers: &["2.22"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::peers::the_last_index_is_the_servers_modify_index",
        numbers: &["3.4"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::peers::flags_are_kept_where_the_previous_pair_is_given_and_else_reset",
        numbers: &["2.23"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::peers::a_lifetime_is_a_session_for_both",
        numbers: &["2.21", "2.22", "8.1"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::peers::a_listing_of_names_has_no_versions_and_these_are_refused",
        numbers: &["3.12", "3.13"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::data::nobody_sees_what_is_written_before_a_value",
        numbers: &["3.8"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::data::a_transaction_of_the_most_puts_takes_keys_from_their_sessions",
        numbers: &["4.53", "4.54", "10.12"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::data::what_is_too_large_is_refused_before_it_is_sent",
        numbers: &["10.13"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::data::what_is_too_large_for_a_server_is_told_and_changes_nothing",
        numbers: &["5.1"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::delays::a_waiter_waits_out_the_delay_of_a_session_that_others_ended",
        numbers: &["7.35"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::delays::a_put_that_binds_a_key_waits_out_a_delay_within_its_time",
        numbers: &["4.61"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::delays::a_put_that_has_no_time_for_a_delay_is_a_timeout_and_changes_nothing",
        numbers: &["4.61"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::locks::a_node_is_what_consul_makes",
        numbers: &["7.11", "7.33", "7.36"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::locks::ours_waits_for_consul_and_gets_it_afterwards",
        numbers: &["7.8", "7.35"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::locks::consul_waits_for_ours_and_gets_it_afterwards",
        numbers: &["7.35"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::locks::of_many_contenders_of_both_kinds_one_holds",
        numbers: &["7.2", "7.35"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::locks::what_consul_does_to_a_node_is_a_loss_at_once",
        numbers: &["7.11", "7.18", "7.21"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::locks::locks_of_a_key_and_of_one_below_it_do_not_meet",
        numbers: &["7.35", "7.36"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::locks::data_below_a_lock_is_shown_and_is_no_contender",
        numbers: &["7.36", "7.37", "7.38"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::tls::the_authority_alone_is_enough",
        numbers: &["9.3", "9.11"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::tls::a_certificate_and_a_name_are_given_each_on_its_own",
        numbers: &["9.3", "9.11"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::tls::half_a_pair_and_what_is_no_certificate_are_refused_before_connecting",
        numbers: &["9.11"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::tls::what_is_wrong_with_tls_is_said_at_once_and_not_tried_again",
        numbers: &["5.6", "5.8", "9.9"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::tls::who_speaks_tls_and_who_does_not_is_told_apart",
        numbers: &["5.3", "9.9"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::tls::tls_is_never_given_up_for_plain_text",
        numbers: &["9.3"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::rights::an_unknown_token_and_none_are_denied_at_once_and_not_tried_again",
        numbers: &["5.6", "5.8"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::rights::a_token_for_the_roots_prefix_is_enough_for_everything_inside",
        numbers: &["2.20"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::rights::a_token_that_may_only_read_reads_everything_and_changes_nothing",
        numbers: &["5.8"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::rights::a_token_without_sessions_can_do_what_needs_none",
        numbers: &["5.8"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::rights::outside_of_its_rights_a_token_sees_and_changes_nothing",
        numbers: &["4.32", "5.8"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::rights::a_revoked_token_is_denied_from_then_on",
        numbers: &["5.8", "6.25"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::rights::a_lock_whose_token_is_revoked_is_lost_in_its_time",
        numbers: &["7.19"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::losing::losing_the_right_to_read_is_never_a_deletion",
        numbers: &["6.25"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::losing::what_is_deleted_is_told_where_everything_may_be_read",
        numbers: &["6.9"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::losing::a_token_file_may_change_while_it_is_used",
        numbers: &["8.2"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::secrets::no_text_has_a_token_or_a_private_key",
        numbers: &["8.10", "9.10"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::trips::each_operation_is_one_exchange",
        numbers: &["4.7", "4.13"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::trips::a_transaction_is_one_exchange",
        numbers: &["4.38"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::trips::a_lifetime_costs_a_session_and_leaving_it_a_look",
        numbers: &["8.1", "8.2"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::trips::exists_moves_no_value",
        numbers: &["4.3"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::opening::a_url_names_hosts_a_root_and_parameters",
        numbers: &["9.3"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::opening::opening_looks_for_an_agent_within_its_time_unless_it_is_lazy",
        numbers: &["9.9"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::opening::what_is_not_consul_is_told_at_once",
        numbers: &["5.7", "9.9"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::opening::a_datacenter_that_is_not_there_is_told_at_once",
        numbers: &["5.7", "9.9"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::opening::without_a_leader_a_store_is_not_opened_and_a_lazy_one_waits_for_it",
        numbers: &["9.9"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::outcomes::what_a_write_claims_is_true_wherever_it_is_cut",
        numbers: &["5.2", "5.3"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::outcomes::what_a_write_claims_is_true_where_its_connection_is_cut_while_it_is_made",
        numbers: &["5.2", "5.3"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::outcomes::a_refused_connection_means_that_nothing_was_sent",
        numbers: &["5.4"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::outcomes::a_timeout_before_there_is_a_connection_means_that_nothing_was_sent",
        numbers: &["5.4"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::outcomes::locks::a_lock_that_is_cut_while_it_is_taken_is_held_or_leaves_nothing",
        numbers: &["5.3", "7.10"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::outcomes::locks::a_lock_that_is_cut_while_it_is_given_back_is_given_back",
        numbers: &["5.3", "7.22"],
    },
    Elsewhere {
        backend: "facade",
        test: "mem_opens_a_fresh_store_each_time",
        numbers: &["9.1", "9.4", "9.5"],
    },
    Elsewhere {
        backend: "facade",
        test: "file_opens_the_same_store_again",
        numbers: &["9.1", "9.4"],
    },
    Elsewhere {
        backend: "facade",
        test: "a_typed_config_opens_a_store_and_a_second_session_on_it",
        numbers: &["9.2", "9.5"],
    },
    Elsewhere {
        backend: "facade",
        test: "an_unknown_parameter_is_refused_with_the_known_ones",
        numbers: &["9.6"],
    },
    Elsewhere {
        backend: "facade",
        test: "a_backend_that_is_not_compiled_in_names_its_feature",
        numbers: &["9.7"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::healing::a_watch_goes_on_when_its_server_is_killed_and_comes_back",
        numbers: &["6.8", "6.9", "6.12"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::healing::a_watch_goes_on_when_its_connection_is_cut_or_stands_still",
        numbers: &["6.9", "6.12", "6.19"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::healing::a_watch_goes_on_when_leaders_change_and_members_go",
        numbers: &["6.12", "9.8"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::healing::watches_come_back_with_pauses_that_differ",
        numbers: &["6.15"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::failover::no_read_fails_while_one_member_is_down",
        numbers: &["9.8"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::failover::a_paused_member_is_left_for_another",
        numbers: &["9.8"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::failover::a_member_cut_off_from_the_others_is_left_for_one_that_is_not",
        numbers: &["4.51", "9.8"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::failover::a_connection_that_is_silent_is_noticed",
        numbers: &["6.12", "9.8"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::failover::changes_of_the_leader_lose_nothing_that_is_renewed",
        numbers: &["7.20", "8.2"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::bounds::every_exchange_ends_in_time_when_nobody_answers",
        numbers: &["4.63"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::bounds::a_listing_that_stands_still_part_way_ends_in_time",
        numbers: &["4.63"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::bounds::taking_and_giving_back_a_lock_ends_in_time_when_nobody_answers",
        numbers: &["4.63", "7.9"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::bounds::close_ends_in_time_when_nobody_answers",
        numbers: &["4.64"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::holding::a_lock_behind_a_silent_connection_is_lost_before_it_is_given_away",
        numbers: &["7.19"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::holding::a_lock_whose_renewals_are_not_confirmed_is_lost_before_it_is_given_away",
        numbers: &["7.19"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::holding::the_lost_future_is_ready_when_somebody_else_has_the_lock",
        numbers: &["7.19"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::holding::a_renewal_that_fails_is_tried_again_until_the_deadline",
        numbers: &["7.20", "8.9"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::holding::a_lock_outlives_a_restart_of_the_server_and_tokens_grow_over_it",
        numbers: &["7.12"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::holding::a_process_that_was_paused_knows_at_once_that_its_lock_is_lost",
        numbers: &["7.15", "7.18", "7.19"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::holding::taking_a_lock_behind_a_silent_connection_is_a_timeout",
        numbers: &["7.9"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::sessions::a_session_that_is_unsure_says_so_and_recovers",
        numbers: &["8.4"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::sessions::a_lost_session_is_told_and_nothing_of_it_comes_back",
        numbers: &["8.4", "8.5", "8.7"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::sessions::a_session_that_was_given_up_is_ended_before_there_is_another",
        numbers: &["8.5", "8.7"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::sessions::a_session_that_others_end_is_told",
        numbers: &["7.21", "8.5", "8.7"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::sessions::sessions_are_renewed_for_as_long_as_they_are_needed",
        numbers: &["8.2"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::sessions::closing_and_dropping_a_handle_end_its_sessions",
        numbers: &["4.44", "4.45", "4.49"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::sessions::reconnections_and_failed_renewals_are_logged",
        numbers: &["8.9", "8.10"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::rewind::a_restored_backup_loses_the_locks_and_is_told_to_watches",
        numbers: &["6.17", "7.13"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::load::the_query_of_a_young_watch_ends_soon_after_it_is_dropped",
        numbers: &["6.27", "6.29"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::load::the_query_of_an_old_watch_ends_within_a_minute",
        numbers: &["6.27", "6.29"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::load::watches_that_come_and_go_do_not_pile_up_queries",
        numbers: &["6.29"],
    },
    Elsewhere {
        backend: "consul",
        test: "consul::load::listings::slow_consumers_of_first_states_keep_no_other_watch_waiting",
        numbers: &["6.24"],
    },
];
