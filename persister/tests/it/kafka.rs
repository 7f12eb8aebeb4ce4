//! The same on Kafka.

use crate::bed::Bed;
use crate::rows;

#[tokio::test(flavor = "multi_thread")]
async fn events_duplicates_poison_and_jobs_leave_the_rows_they_should_on_kafka() {
    rows::events_duplicates_poison_and_jobs(&Bed::kafka(4).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f50_killed_again_and_again_on_kafka_every_event_is_stored_once() {
    crate::sharing::killed_again_and_again(&Bed::kafka(4).await).await;
}
