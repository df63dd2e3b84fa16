//! What people look at, after a little story on a real ledger: the same on every database.

mod lists;
mod numbers;
mod retention;
mod story;
mod world;

use store::Store;

macro_rules! views {
    ($($area:ident { $($view:ident)+ })+) => {
        mod sqlite { views!(@ Sqlite $($area { $($view)+ })+); }
        mod postgres { views!(@ Postgres $($area { $($view)+ })+); }
    };
    (@ $arm:ident $($area:ident { $($view:ident)+ })+) => {
        $(mod $area {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $view() {
                crate::$area::$view(crate::world::World::fresh(crate::world::Arm::$arm).await).await;
            })+
        })+
    };
}

views! {
    story {
        a_trace_tells_everything_that_happened_to_a_person_in_order
        any_name_of_a_thing_finds_it
        an_event_is_traced_with_the_calls_of_its_own_time_only
        a_call_that_nobody_heard_of_again_is_in_the_trace
        an_open_delivery_shows_what_its_record_is_at
    }
    lists {
        dead_letters_are_listed_by_what_is_asked_of_them_page_by_page
        events_are_listed_newest_first_with_their_deliveries
        what_has_been_open_for_long_is_listed_oldest_first
    }
    numbers {
        gauges_know_queues_sources_and_destinations
        the_oldest_dead_letter_that_nobody_dealt_with_is_known_by_destination
        a_replayed_delivery_is_as_old_in_the_queue_as_its_replay
        rejected_requests_are_kept_within_their_bounds_for_each_source
        a_refused_request_is_taken_in_once_and_is_off_the_list_with_it
        what_bodies_look_like_is_learned_by_several_and_each_change_is_told_to_one
        a_bulk_replay_can_be_followed_and_found_again_after_a_stop
        the_audit_trail_reads_newest_first_and_its_hashes_hold
    }
    retention {
        retention_drops_what_is_old_and_never_what_is_on_its_way
    }
}

#[tokio::test]
async fn a_memory_ledger_keeps_no_views_and_says_so() {
    let store = Store::memory();
    let refusal = store.gauges(world::at(0)).await.unwrap_err();
    assert_eq!(refusal.to_string(), "the memory ledger keeps no views");
    assert!(!store.source_existed("demo").await.unwrap());
}
