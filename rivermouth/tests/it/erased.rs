//! What Kafka's retention has erased: served from PostgreSQL without a seam while it is there, told as a gap
//! when it is nowhere.

use client::{Event, History, ServerMessage};
use serde_json::json;
use testbed::{Bed, within};

use crate::BINARY;
use crate::insisting::surely;
use crate::talk::{Talk, fill, is_of};

const CHANNEL: &str = "session.old";

/// Erases everything before the event of this id from Kafka, in the channel's partition.
pub(crate) async fn erase_before(bed: &Bed, channel: &str, id: &str) {
    let accepted = bed.checker().await.accepted().await;
    let first = accepted[channel]
        .iter()
        .find(|accepted| accepted.fact.id == id)
        .unwrap();
    bed.broker()
        .erase(&first.topic, first.partition, first.offset)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f35_what_kafka_has_erased_comes_from_postgres_as_the_same_bytes() {
    let bed = Bed::on_kafka(BINARY).await;
    let (first, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let events = fill(&bed, &first, CHANNEL, 12).await;
    bed.checker().await.stored().await;
    erase_before(&bed, CHANNEL, &events[9].id).await;
    // A node that has seen none of it.
    let node = bed.start("fanout").await;
    let token = bed.gm("u1");
    let mut talk = Talk::open(&node, &token).await;
    for (since, rest) in [
        (json!("earliest"), &events[..]),
        (json!(events[0].cursor), &events[1..]),
        (json!(events[8].cursor), &events[9..]),
        (json!({"last": 6}), &events[6..]),
        (json!({"time": events[0].timestamp_ms}), &events[..]),
    ] {
        let response = talk
            .subscribe(json!({"channel": CHANNEL, "since": since}))
            .await;
        assert_eq!(response["recovered"], true, "{since}");
        assert_eq!(talk.events(rest.len()).await, rest, "{since}");
        talk.caught_up(CHANNEL).await;
    }
    let published = talk.publish(CHANNEL, "draw", json!("live")).await;
    let live = talk.event().await;
    assert_eq!(live.prev, events[11].cursor);
    assert!(is_of(&published, &live), "{published} {live:?}");
    let http = node.http(&token);
    let all = History {
        channel: CHANNEL.into(),
        limit: Some(12),
        ..History::default()
    };
    let page = surely("a page", || http.history(&all)).await;
    assert_eq!(page.events, events);
    let (channels, since) = ([CHANNEL.to_owned()], events[3].cursor.as_deref());
    let polled = surely("a poll", || http.poll(&channels, since, &[], 0)).await;
    assert_eq!(
        (&polled.events[..8], polled.events.len(), polled.gap),
        (&events[4..], 9, None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn f35_what_is_erased_everywhere_is_told_as_a_gap_on_every_transport() {
    let bed = Bed::on_kafka(BINARY).await;
    let first = bed.start("fanout").await;
    let events = fill(&bed, &first, CHANNEL, 8).await;
    erase_before(&bed, CHANNEL, &events[5].id).await;
    let node = bed.start("fanout").await;
    let token = bed.gm("u1");
    let since = events[1].cursor.clone().unwrap();

    let mut talk = Talk::open(&node, &token).await;
    let response = talk
        .subscribe(json!({"channel": CHANNEL, "since": since}))
        .await;
    assert_eq!(
        (&response["recovered"], &response["wasRecovering"]),
        (&json!(false), &json!(true))
    );
    match talk.next_of_channel().await {
        ServerMessage::Gap { channel, gap } => {
            assert_eq!(
                (channel.as_str(), gap.reason.as_str()),
                (CHANNEL, "retention")
            );
            assert_eq!(gap.from.as_deref(), Some(since.as_str()));
            assert!(gap.to.is_some_and(|to| to > since));
        }
        other => panic!("{other:?}"),
    }
    let ids = |events: &[Event]| {
        events
            .iter()
            .map(|event| event.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&talk.events(3).await), ids(&events[5..]));
    talk.caught_up(CHANNEL).await;
    // What is still there resumes without a gap.
    let response = talk
        .subscribe(json!({"channel": CHANNEL, "since": events[5].cursor}))
        .await;
    assert_eq!(response["recovered"], true);
    assert_eq!(ids(&talk.events(2).await), ids(&events[6..]));
    talk.caught_up(CHANNEL).await;

    let http = node.http(&token);
    let channels = [CHANNEL.to_owned()];
    let polled = surely("a poll", || http.poll(&channels, Some(&since), &[], 0)).await;
    assert!(polled.gap.is_some());
    assert_eq!(ids(&polled.events), ids(&events[5..]));
    let after = History {
        channel: CHANNEL.into(),
        after: Some(since.clone()),
        ..History::default()
    };
    let page = surely("a page", || http.history(&after)).await;
    assert_eq!(
        (ids(&page.events), page.gap.is_some()),
        (ids(&events[5..]), true)
    );
    let mut lines = http.stream(&channels, Some(&since), &[]).await.unwrap();
    let mut sse = http.sse(&channels, None, Some(&since), &[]).await.unwrap();
    for name in ["lines", "sse"] {
        let mut told = false;
        let mut got = Vec::new();
        while got.len() < 3 {
            let next = async {
                if name == "sse" {
                    sse.next().await
                } else {
                    lines.next().await
                }
            };
            match within("a message", next).await.unwrap() {
                ServerMessage::Gap { .. } => told = got.is_empty(),
                ServerMessage::Event(event) => got.push(*event),
                _ => {}
            }
        }
        assert!(told, "{name}: the gap comes before any event");
        assert_eq!(ids(&got), ids(&events[5..]), "{name}");
    }
}
