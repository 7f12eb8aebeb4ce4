//! One suite for both logs, and what only one of them can be asked.
//!
//! Ordinary cases on Kafka use the cluster named by `RIVERMOUTH_TEST_KAFKA` (`host:port`), each with
//! topics of its own; cases that kill brokers start their own cluster with `scripts/kafka.sh`.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod bed;
mod cases;
mod child;
mod cluster;
mod embedded;
mod hazards;
mod kafka;
mod kafka_codes;
mod kafka_faults;
mod repin;

/// Every case of `cases` on both logs.
macro_rules! on_both {
    ($($case:ident)*) => {
        mod on_kafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let bed = crate::bed::Bed::kafka().await;
                crate::cases::$case(&bed).await;
                bed.clean().await;
            })*
        }
        mod on_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let bed = crate::bed::Bed::embedded().await;
                crate::cases::$case(&bed).await;
                bed.clean().await;
            })*
        }
    };
}

on_both! {
    records_come_back_whole_and_in_the_order_of_the_calls
    watermarks_follow_the_appends
    watermarks_include_everything_acknowledged_before_they_were_asked
    offsets_are_found_by_time
    any_offset_can_be_read_from
    offsets_outside_the_log_are_answered_explicitly
    the_end_is_announced_after_every_burst
    assigning_a_partition_does_not_pause_another
    moving_a_reader_hands_out_nothing_of_the_old_place
    a_cancelled_next_loses_nothing
    next_returns_batches_up_to_its_limit
    a_full_queue_is_said_at_once_and_keeps_order
    a_record_too_large_is_refused_and_harms_nobody
    an_unknown_topic_is_called_unknown
    topics_are_checked_and_differences_named
    a_topic_keeps_its_identity
    a_topic_says_when_its_oldest_records_may_go
    nodes_that_start_together_agree_on_the_pins
    a_topic_that_was_not_pinned_is_refused
    a_closed_log_takes_nothing_more
    two_readers_do_not_disturb_each_other
}
