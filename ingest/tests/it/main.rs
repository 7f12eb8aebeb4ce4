//! Ingest through its real HTTP port: every case on the embedded log and, on the Kafka named by
//! `RIVERMOUTH_TEST_KAFKA` (`make test` sets it), on Kafka. What only a broken broker shows has a cluster
//! of its own.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod answers;
mod away;
mod batch;
mod broken;
mod checkpoint;
mod doors;
mod double;
mod hazards;
mod hostile;
mod load;
mod outbox;
mod reading;
mod web;
mod world;

/// Every case of the modules on both logs.
macro_rules! on_both {
    ($($module:ident :: $case:ident)*) => {
        mod on_kafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(crate::world::World::kafka().await).await;
            })*
        }
        mod on_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(crate::world::World::embedded().await).await;
            })*
        }
    };
}

on_both! {
    answers::an_answer_carries_the_place_of_its_record
    answers::an_id_published_twice_is_one_event_and_the_second_answer_says_so
    answers::cursors_of_later_events_sort_later
    answers::ephemeral_events_go_to_the_signals_and_the_last_word_wins
    answers::signalling_is_never_overtaken_and_too_much_of_it_is_refused
    answers::shortcuts_of_pages_become_publishes
    answers::a_full_queue_is_said_at_once
    answers::what_is_in_flight_is_answered_at_shutdown_and_nothing_more_is_taken
    answers::a_topic_that_is_not_the_pinned_one_stops_publishing
    batch::lines_fail_alone_and_answers_come_in_order
    batch::a_batch_is_bounded_in_bytes_and_lines
    batch::a_user_runs_into_the_bucket_and_a_backend_does_not
    doors::f38_every_bad_input_has_its_code_and_none_gets_in
    doors::every_bad_credential_is_401
    doors::origins_are_judged_before_anything_else
    doors::unknown_paths_and_methods_are_coded
    doors::a_body_that_never_comes_is_given_up
    outbox::order_is_kept_under_concurrency
    outbox::retries_through_another_gateway_end_as_one_event
    outbox::an_outbox_moves_between_gateways_and_back
    outbox::f05_a_takeover_makes_the_first_owner_stale
    outbox::a_skipped_number_is_named
    outbox::records_of_others_in_between_change_nothing
    outbox::a_storm_of_new_outboxes_gets_through
    hostile::hostile_outboxes_neither_stall_nor_void_anybody_else
    hostile::two_devices_with_one_identity_fight_and_lose_nothing_of_others
}
