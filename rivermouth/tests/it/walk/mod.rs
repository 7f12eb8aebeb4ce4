//! A walk through protocol.md, on Kafka and on the embedded log with the same steps.

mod history;
mod http;
mod publish;
mod subscribe;

use testbed::{Bed, Node};

use crate::BINARY;

async fn walk(bed: &Bed, node: &Node) {
    subscribe::every_kind_of_since(bed, node).await;
    subscribe::windows_types_and_unsubscribe(bed, node).await;
    subscribe::sugar_paths(bed, node).await;
    subscribe::ways_in(bed, node).await;
    subscribe::tokens_that_expire(bed, node).await;
    subscribe::addressed_events(bed, node).await;
    subscribe::many_messages_in_one_frame(bed, node).await;
    publish::answers(bed, node).await;
    publish::outbox(bed, node).await;
    publish::bytes_stay(bed, node).await;
    publish::ephemeral(bed, node).await;
    publish::events_of_clients(bed, node).await;
    http::one_event_on_every_transport(bed, node).await;
    http::event_streams(bed, node).await;
    http::lines(bed, node).await;
    http::polls(bed, node).await;
    history::history(bed, node).await;
    history::surroundings(bed, node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_on_kafka() {
    let bed = Bed::on_kafka(BINARY).await;
    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    walk(&bed, &fanout).await;
    bed.checker().await.tables_equal_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_on_the_embedded_log() {
    let bed = Bed::embedded(BINARY).await;
    let dev = bed.start("dev").await;
    walk(&bed, &dev).await;
}
