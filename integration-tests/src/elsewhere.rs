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
];
