//! One suite of promises for all ledger arms. A promise is a plain function that takes a ledger; each arm calls every one of them, once by its name.
//! An arm that joins adds a line to `Arm` and one to the list at the end of this file.

mod fleet;
mod half_way;
mod plans;
mod promises;
mod races;
mod script;
mod support;

use std::future::Future;

use support::{Arm, Ledger};

/// Gives a promise a fresh ledger, and looks afterwards whether every reference in it leads somewhere.
async fn keep<F: Future<Output = ()>>(arm: Arm, promise: impl FnOnce(Ledger) -> F) {
    let (ledger, keepsake) = Ledger::fresh(arm).await;
    let glass = ledger.glass.clone();
    promise(ledger).await;
    let seen = glass.look().await;
    seen.check();
    drop(keepsake);
}

macro_rules! promises {
    ($($area:ident { $($promise:ident)+ })+) => {
        mod memory { promises!(@ Memory $($area { $($promise)+ })+); }
        mod sqlite { promises!(@ Sqlite $($area { $($promise)+ })+); }
        mod postgres { promises!(@ Postgres $($area { $($promise)+ })+); }
    };
    (@ $arm:ident $($area:ident { $($promise:ident)+ })+) => {
        $(mod $area {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::keep(crate::support::Arm::$arm, crate::promises::$area::$promise).await;
            })+
        })+
    };
}

promises! {
    accept {
        a_request_sent_again_is_a_duplicate_of_the_first
        copies_in_one_batch_are_duplicates_of_the_first_one_in_it
        other_content_under_a_taken_key_is_kept_and_is_its_own_duplicate_when_sent_again
        other_content_in_the_same_batch_is_kept_too
        content_that_another_mapping_made_is_a_duplicate
        what_is_ignored_is_kept_and_goes_nowhere
        what_cannot_be_routed_is_a_dead_letter_without_a_destination
        a_route_that_finds_nobody_hides_no_other_route
        an_event_that_no_route_finds_anybody_for_is_a_dead_letter
        two_sources_meet_in_one_record_by_email
        identifiers_of_two_records_in_one_event_are_an_identity_conflict
        little_trust_may_not_add_a_second_email
        enough_trust_may_add_a_second_email
        identifiers_are_matched_without_regard_to_case
        one_person_in_two_objects_is_two_records
        wakeups_name_each_touched_record_and_few_enough_at_once
        a_duplicate_wakes_a_record_that_sleeps_and_shortens_no_backoff
        a_batch_of_nothing_is_kept
    }
    deliver {
        a_record_is_read_then_written_and_its_delivery_has_succeeded
        what_the_crm_holds_already_is_not_written
        an_older_value_is_superseded_without_a_call
        a_value_of_the_crm_that_outranks_the_event_stays
        fields_merge_by_trust_then_time_then_key_in_every_order_of_arrival
        many_deliveries_of_one_record_are_one_write
        what_arrives_while_a_record_is_leased_goes_with_the_next_claim
        a_call_holds_few_enough_records_and_none_twice
        a_delivery_may_only_change_an_identifier_with_enough_trust
        an_update_waits_for_its_record_and_then_says_that_it_did_not_appear
        an_update_goes_once_its_record_has_appeared
        what_only_creates_leaves_a_record_alone_that_is_there
        an_object_that_is_no_longer_configured_is_a_dead_letter
        what_was_not_sent_goes_again_at_once
        a_sweep_wakes_a_record_that_sleeps_over_open_deliveries
    }
    family {
        a_child_is_written_after_its_parent_and_points_at_it
        a_failed_parent_fails_its_children_and_its_replay_opens_them
        the_child_of_a_parent_that_was_given_up_goes_without_it
        a_child_whose_wakeup_was_missed_looks_by_itself
        what_needs_no_parent_is_not_held_up_by_what_waits
        a_link_is_a_record_of_its_own_that_waits_for_both_its_ends
    }
    remove {
        what_is_older_than_a_deletion_does_not_bring_a_record_back
        a_deletion_that_something_newer_outlived_is_none
        what_was_never_there_is_deleted_without_a_call
        a_deletion_whose_outcome_is_unknown_is_sent_again_and_settles
        an_unknown_creation_is_looked_up_before_there_is_a_second_one
        an_unknown_creation_under_an_idempotency_key_is_sent_again_as_it_was
        an_unknown_creation_that_nobody_can_look_up_goes_to_a_person
        content_that_was_refused_after_all_is_not_repeated_for_what_came_meanwhile
        an_unknown_creation_whose_attempts_are_used_up_goes_to_a_person
        what_cannot_be_looked_up_is_written_over_once_nothing_can_land_late
    }
    doubt {
        a_result_with_an_old_fence_changes_nothing_but_sets_doubt
        a_late_refusal_says_nothing
        a_lease_that_ends_is_taken_over_with_what_was_sent_in_doubt
        the_same_content_in_doubt_settles_at_once
        other_content_after_doubt_stays_open_until_a_read_makes_it_certain
        a_late_write_of_old_content_is_repaired
        an_edit_of_a_person_is_not_undone_by_verification
        a_write_that_was_claimed_after_the_window_ends_the_doubt
        an_unknown_outcome_is_tried_again_by_the_schedule
        an_answer_without_an_item_is_unknown_for_that_record
        a_timeout_halves_the_next_call
        attempts_run_out_only_after_a_look_when_in_doubt
        a_delivery_that_kills_its_worker_is_taken_out_and_its_neighbours_go_on
        a_few_crashes_take_nobody_out
    }
    reconcile {
        a_run_tells_what_differs_and_by_whose_doing_and_changes_nothing
        what_is_ours_is_written_again_and_what_others_wrote_is_believed_and_then_all_is_equal
        where_everything_is_put_right_edits_are_undone_and_what_is_missing_is_created
        several_under_one_key_become_one_dead_letter_until_a_person_has_looked
        a_record_that_is_worked_on_is_busy_also_when_that_began_during_the_look
        a_look_whose_worker_died_is_made_again_and_counted_once
        a_look_is_paid_for_and_stands_back_behind_what_is_due
        a_sample_goes_on_where_the_last_one_ended_and_begins_anew_at_the_end
        what_the_crm_does_not_show_is_halved_waited_for_or_told
        what_cannot_be_looked_up_or_is_no_longer_configured_ends_a_run_at_once
        a_schedule_begins_one_run_of_an_object_however_many_ask
    }
    refuse {
        a_refused_field_fails_the_delivery_whose_word_it_is
        a_refusal_that_names_nobody_is_tried_one_by_one
        a_refused_call_is_halved_until_the_guilty_record_is_alone_and_costs_no_attempt
        a_failed_attempt_waits_by_the_schedule
        attempts_run_out
        an_outage_of_the_destination_uses_up_no_attempts
        five_conflicts_are_for_a_person
        several_matches_are_for_a_person_at_once
        a_read_that_is_refused_ends_whatever_is_open
    }
    pace {
        throttling_pauses_the_destination_and_costs_no_attempt
        refused_credentials_pause_the_destination_and_cost_no_attempt
        refused_credentials_make_dead_letters_where_that_is_wanted
        an_open_breaker_lets_one_probe_through
        the_quota_is_shared_by_every_worker
        concurrency_is_counted_in_calls_under_way
        a_paused_destination_claims_nothing_and_still_settles
        one_destination_does_not_hold_up_another
    }
    quota {
        better_lanes_go_first_and_in_a_lane_whoever_has_waited_longest
        a_lane_has_its_turn_however_much_waits_in_better_ones
        a_fresh_event_lifts_its_record_out_of_a_lower_lane
        a_record_in_a_workers_hands_or_waiting_is_lifted_too
        a_replay_goes_behind_fresh_events_and_before_what_was_caught_up
        a_duplicate_push_lifts_what_was_caught_up
        a_days_budget_rests_the_destination_which_wakes_by_itself
        the_days_budget_is_shared_by_every_worker
        the_reserve_of_a_day_is_kept_for_fresh_events_and_actions
        what_the_crm_tells_of_its_own_count_holds_for_every_worker
        a_call_counts_as_the_requests_that_it_took
    }
    catch_up {
        a_run_is_asked_for_and_goes_page_by_page_to_its_end
        one_run_of_a_source_is_under_way_and_the_next_waits
        a_page_whose_worker_died_is_listed_again_and_counted_once
        a_dry_run_only_counts
        a_vendors_limit_is_waited_out_and_a_refusal_ends_the_run
        what_cannot_even_be_asked_for_ends_the_run_and_says_nothing_of_the_vendor
        pages_are_paid_for_from_the_sources_own_budget
        a_schedule_begins_one_run_however_many_ask_and_goes_on_from_the_last
        only_so_many_runs_of_a_source_wait
    }
    enrich {
        an_id_is_fetched_and_then_goes_on_as_if_it_had_come_whole
        a_fetch_that_is_heard_twice_or_too_late_makes_nothing_twice
        events_of_one_object_share_a_fetch_and_one_that_comes_meanwhile_has_its_own
        a_fetch_that_fails_waits_and_leaves_no_doubt
        an_object_that_is_gone_is_a_dead_letter_and_its_replay_fetches_anew
        an_object_that_lacks_what_is_required_is_a_dead_letter_with_what_could_be_read
        an_object_without_a_mapping_is_a_dead_letter
        a_replay_with_todays_mapping_fetches_anew_and_serves_what_was_dead
    }
    people {
        a_replay_opens_the_same_delivery_under_the_same_key
        what_is_in_flight_or_ended_well_is_not_opened
        two_replays_at_once_open_it_once
        a_replay_with_another_mapping_may_lead_to_another_record
        a_replay_that_still_cannot_be_mapped_stays_a_dead_letter_for_the_reason_of_today
        a_replay_of_what_was_never_routed_makes_its_deliveries
        a_replay_that_finds_nobody_is_a_dead_letter_of_its_source
        a_replay_to_nowhere_closes_it
        an_edited_payload_is_kept_beside_the_original
        a_replay_of_a_stale_event_undoes_nothing
        resolving_closes_a_dead_letter_and_nothing_else
        a_dead_letter_can_be_given_to_somebody
        a_destination_is_paused_and_resumed_by_somebody
        every_deed_is_in_a_chain_that_shows_a_changed_row
    }
}
