//! Joining a stream that is under way: history, log and live have no seam, however fast events come and
//! however slowly they are read.

use std::sync::Arc;
use std::time::Duration;

use client::{Event, Http, Publish, ServerMessage};
use serde_json::{Value, json};
use testbed::checker::{Received, assert_same, facts};
use testbed::{Bed, Node, Random, within};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::BINARY;
use crate::insisting::{publish_all_surely, surely};
use crate::talk::Talk;
use crate::traffic::publish_surely;

const CHANNEL: &str = "session.seam";
const LAST: &str = "the.end";

/// Publishes `batches` batches of a hundred events with `bytes` of data each, then the last one.
async fn burst(http: &Http, batches: usize, bytes: usize, pause: Duration) {
    middle(http, batches, bytes, pause).await;
    end(http).await;
}

async fn middle(http: &Http, batches: usize, bytes: usize, pause: Duration) {
    let data = format!("\"{}\"", "x".repeat(bytes));
    for batch in 0..batches {
        let events: Vec<Publish> = (0..100)
            .map(|at| {
                Publish::new(CHANNEL, "draw", &data)
                    .unwrap()
                    .id(format!("e{batch}-{at}"))
            })
            .collect();
        publish_all_surely(http, &events).await;
        sleep(pause).await;
    }
}

async fn end(http: &Http) {
    let last = Publish::new(CHANNEL, LAST, "null").unwrap().id("last");
    publish_surely(std::slice::from_ref(http), &last).await;
}

/// Everything up to the last event; control messages are judged on the way.
async fn to_the_end(talk: &mut Talk) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        match talk.next_of_channel().await {
            ServerMessage::Event(event) => {
                events.push(*event);
                if events.last().is_some_and(|event| event.name == LAST) {
                    return events;
                }
            }
            ServerMessage::CaughtUp { .. } | ServerMessage::Lagging { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Subscribes with each kind of `since` at random moments of a burst. Whatever comes first, from there on it is
/// exactly the log to its end.
#[tokio::test(flavor = "multi_thread")]
async fn f46_subscribing_at_any_moment_of_a_burst_gives_the_log_from_there_on() {
    let bed = Bed::on_kafka(BINARY).await;
    let (node, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let mut random = Random::seeded("joining a burst");
    let mut joining = JoinSet::new();
    let subscribed = Arc::new(Semaphore::new(0));
    for number in 0..60u64 {
        let subscribed = Arc::clone(&subscribed);
        let (token, endpoint) = (bed.gm("u1"), node.endpoint());
        let wait = Duration::from_millis(random.below(3_000));
        joining.spawn(async move {
            sleep(wait).await;
            let mut talk = Talk::open_there(&endpoint, "/ws", &token).await;
            let since = match number % 4 {
                0 => json!("earliest"),
                1 => json!("latest"),
                2 => json!({"last": 50}),
                _ => json!({"time": testbed::unix_ms() - 500}),
            };
            let response = talk
                .subscribe(json!({"channel": CHANNEL, "since": since}))
                .await;
            assert_eq!(response["recovered"], true, "{since}");
            subscribed.add_permits(1);
            (since, to_the_end(&mut talk).await)
        });
    }
    let backend = node.http(&bed.backend());
    middle(&backend, 60, 40, Duration::from_millis(30)).await;
    // Who came too late for the burst still has the end to wait for.
    drop(within("everybody to subscribe", subscribed.acquire_many(60)).await);
    end(&backend).await;
    let joined = within("everybody to see the end", joining.join_all()).await;
    let accepted = bed
        .checker()
        .await
        .tables_equal_log()
        .await
        .remove(CHANNEL)
        .unwrap();
    let mut ids = accepted.iter().map(|accepted| &accepted.fact.id);
    assert!(ids.next().is_some());
    for (since, events) in joined {
        let who = format!("a subscriber since {since}");
        let first = accepted.len() - events.len();
        if since == json!("earliest") {
            assert_eq!(first, 0, "{who}");
        }
        let received = Received(events);
        assert_same(&who, &received.facts(), &facts(&accepted[first..]));
        received.assert_chain(&who);
    }
}

/// A reader that stands still while megabytes are published is not cut off: it is told that it lags, and gets
/// everything from the log at its own pace (D9).
#[tokio::test(flavor = "multi_thread")]
async fn f44_a_reader_that_stands_still_gets_everything_later() {
    let mut bed = Bed::on_kafka(BINARY).await;
    // However long the publishing takes, standing still is no reason to be closed here.
    bed.set("RIVERMOUTH_STUCK_TIMEOUT", "10m");
    bed.set("RIVERMOUTH_HEARTBEAT_TIMEOUT", "10m");
    let (node, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let token = bed.gm("slow");
    let mut slow = Talk::open(&node, &token).await;
    slow.subscribe(json!({"channel": CHANNEL})).await;
    let (mut lines, mut sse) = streams(&node, &token).await;
    burst(&node.http(&bed.backend()), 100, 1_500, Duration::ZERO).await;

    let (events, by_lines, by_sse) = tokio::join!(
        lagging(&mut slow),
        streamed(async || lines.next().await.unwrap()),
        streamed(async || sse.next().await.unwrap()),
    );
    let accepted = bed
        .checker()
        .await
        .tables_equal_log()
        .await
        .remove(CHANNEL)
        .unwrap();
    Received(events.clone()).assert_equal("a slow reader", &accepted);
    // The streams of HTTP keep the same promise.
    for (name, got) in [("lines", by_lines), ("sse", by_sse)] {
        assert!(
            got == events,
            "{name}: the same events as over the WebSocket"
        );
    }
}

/// All events to the last, of a reader that fell behind and is told so.
async fn lagging(slow: &mut Talk) -> Vec<Event> {
    let mut lagged = false;
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.name != LAST) {
        match slow.next_of_channel().await {
            ServerMessage::Event(event) => events.push(*event),
            ServerMessage::Lagging { .. } => lagged = true,
            ServerMessage::CaughtUp { .. } => assert!(lagged, "`caught_up` comes after `lagging`"),
            other => panic!("{other:?}"),
        }
    }
    assert!(
        lagged,
        "fifteen megabytes do not fit into a connection's queue"
    );
    events
}

/// All events of a stream to the last.
async fn streamed(mut next: impl AsyncFnMut() -> ServerMessage) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.name != LAST) {
        if let ServerMessage::Event(event) = within("a slow stream", next()).await {
            events.push(*event);
        }
    }
    events
}

async fn streams(node: &Node, token: &str) -> (client::Lines, client::SseStream) {
    let channels = [CHANNEL.to_owned()];
    let http = node.http(token);
    let mut lines = http.stream(&channels, None, &[]).await.unwrap();
    let mut sse = http.sse(&channels, None, None, &[]).await.unwrap();
    // From here on they are owed everything.
    for connected in [lines.next().await.unwrap(), sse.next().await.unwrap()] {
        assert!(
            matches!(connected, ServerMessage::Connected { .. }),
            "{connected:?}"
        );
    }
    (lines, sse)
}

/// One's own acknowledged publishes are in every answer asked for afterwards, at every node.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_acknowledged_finds_it_at_once_at_every_node() {
    let bed = Bed::on_kafka(BINARY).await;
    let (first, second, _persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("persister")
    );
    let token = bed.backend();
    let mut talk = Talk::open(&second, &token).await;
    for number in 0..50 {
        let channel = format!("session.own{}", number % 5);
        let publish = Publish::new(&channel, "draw", number.to_string()).unwrap();
        let door = [first.http(&token)];
        let published = publish_surely(&door, &publish.id(format!("e{number}"))).await;
        let found = match number % 3 {
            0 => {
                let asked = json!({"channel": channel, "order": "desc", "limit": 1});
                talk.surely("history", asked).await["events"][0]["id"].clone()
            }
            1 => {
                let (http, channels) = (second.http(&token), [channel]);
                let polled = surely("a poll", || http.poll(&channels, Some("last:1"), &[], 0));
                let polled = polled.await;
                Value::from(polled.events.last().map(|event| event.id.clone()))
            }
            _ => {
                talk.subscribe(json!({"channel": channel, "since": {"last": 1}}))
                    .await;
                let event = talk.event().await;
                talk.caught_up(&channel).await;
                talk.call("unsubscribe", json!({"channel": channel}))
                    .await
                    .unwrap();
                Value::from(event.id)
            }
        };
        assert_eq!(found, json!(published.id), "event {number}");
    }
}
