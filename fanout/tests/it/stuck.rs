//! Clients that read nothing at all: closed with 3008, and the place from which they go on (F45).

use std::time::Duration;

use fanout::FanoutConfig;
use protocol::Limits;
use serde_json::{Value, json};

use crate::world::{World, Ws, is_event};

const STUCK: &str = "rivermouth_fanout_stuck_connections_total";

fn impatient() -> FanoutConfig {
    FanoutConfig {
        limits: Limits {
            stuck_timeout: Duration::from_secs(2),
            ..Limits::default()
        },
        ..FanoutConfig::default()
    }
}

/// Appends large events to each channel in turn, numbered in each from `already` on, until the node has given up so
/// many connections; the number that is next.
async fn flood(world: &World, channels: &[&str], already: i64, stuck: f64) -> i64 {
    let filler = "x".repeat(32 * 1024);
    let mut n = already;
    while world.figure(STUCK) < stuck {
        for channel in channels {
            let data = json!({ "n": n, "f": filler });
            world
                .append(&world.event(channel, "map.updated", &data))
                .await;
        }
        n += 1;
    }
    n
}

/// What a client read before it was closed with 3008.
#[derive(Default)]
struct Read {
    /// What its subscription began with.
    begun: Option<String>,
    events: Vec<Value>,
}

/// Reads to the end. Whoever was closed is read at once: the node waits for some seconds only until its goodbye is
/// taken.
async fn rest(ws: &mut Ws) -> Read {
    let mut read = Read::default();
    loop {
        match ws.line().await {
            Ok(line) => {
                let message: Value = serde_json::from_str(&line).unwrap();
                if message["event"] == "subscribed" {
                    read.begun = message["data"]["cursor"].as_str().map(str::to_owned);
                } else if is_event(&message) {
                    read.events.push(message);
                }
            }
            Err(code) => {
                assert_eq!(code, Some(3008));
                return read;
            }
        }
    }
}

/// The number of the first event after the cursor.
async fn next_after(world: &World, channel: &str, cursor: &str) -> i64 {
    let mut ws = world.ws("u1").await;
    let answer = ws.subscribe(channel, json!(cursor)).await;
    assert_eq!(answer["data"]["recovered"], true, "{answer}");
    ws.events(1).await[0]["data"]["n"].as_i64().unwrap()
}

#[tokio::test]
async fn f45_wherever_a_stuck_reader_began_the_reason_is_the_place_behind_the_last_event_it_got() {
    let world = World::with(impatient()).await;
    for n in 0..40 {
        let data = json!({ "n": n, "f": "x".repeat(32 * 1024) });
        world
            .append(&world.event("session.a", "map.updated", &data))
            .await;
    }
    let ways = ["latest", "earliest", "last:10", "last:30", "time:0"];
    let (mut n, mut got) = (40, 0);
    for (since, stuck) in ways.iter().zip(1..) {
        let path = format!("/ws/session/a?since={since}");
        let mut ws = world.narrow_ws(&path, "u1").await;
        n = flood(&world, &["session.a"], n, f64::from(stuck)).await;
        let read = rest(&mut ws).await;
        got += read.events.len();
        // The cursor of the last thing that reached it, be it the answer or an event.
        let last = read.events.last();
        let here = last.map_or(read.begun.as_deref(), |event| event["cursor"].as_str());
        assert_eq!(Some(ws.reason.as_str()), here, "{since}");
        let next = next_after(&world, "session.a", &ws.reason).await;
        if let Some(last) = last {
            assert_eq!(next, last["data"]["n"].as_i64().unwrap() + 1, "{since}");
        }
    }
    assert!(got > 0, "some got something");
}

#[tokio::test]
async fn f45_the_reason_for_a_stuck_reader_of_several_channels_is_good_for_each() {
    let world = World::with(impatient()).await;
    let channels = ["session.a", "session.b", "session.c", "session.d"];
    let mut n = 0;
    for (count, stuck) in [2, 3, 4].into_iter().zip(1..) {
        let mut ws = world.narrow_ws("/ws", "u1").await;
        for channel in &channels[..count] {
            ws.subscribe(channel, json!("latest")).await;
        }
        // What it had and gave up again is nobody's place.
        ws.subscribe("session.gone", json!("latest")).await;
        ws.send(&json!({"type":"request","id":"u","method":"unsubscribe","params":{"channel":"session.gone"}}))
            .await;
        ws.until(|m| m["id"] == "u").await;
        let begun = n;
        n = flood(&world, &channels, begun, f64::from(stuck)).await;
        let read = rest(&mut ws).await;
        if count == 4 {
            assert_eq!(ws.reason, "", "more than a close holds");
            continue;
        }
        for channel in &channels[..count] {
            let got = read
                .events
                .iter()
                .filter(|event| event["channel"] == *channel);
            let next = next_after(&world, channel, &ws.reason).await;
            assert_eq!(next, begun + got.count() as i64, "{channel} of {count}");
        }
    }
}
