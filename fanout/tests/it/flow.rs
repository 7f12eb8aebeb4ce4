//! Windows, slow readers, many readers, goodbyes.

use std::time::Duration;

use fanout::FanoutConfig;
use serde_json::json;
use tokio::time::timeout;

use crate::world::{PATIENCE, World, assert_chained, is_event, numbers};

#[tokio::test]
async fn a_window_stops_delivery_until_acks_arrive() {
    let world = World::new().await;
    for n in 0..20 {
        world.publish("session.a", n).await;
    }
    let mut ws = world.ws("u1").await;
    ws.send(&json!({"type":"request","id":"s","method":"subscribe",
        "params":{"channel":"session.a","since":"earliest","window":4}}))
        .await;
    let mut seen = Vec::new();
    while seen.len() < 20 {
        let batch = ws.events(4.min(20 - seen.len())).await;
        // A full window: the next thing that comes is the answer to this, not an event.
        ws.send(&json!({"type":"request","id":"p","method":"ping"}))
            .await;
        let next = ws.next().await;
        assert!(next["id"] == "p" || next["event"] == "caught_up", "{next}");
        let last = batch.last().unwrap()["cursor"].clone();
        seen.extend(batch);
        ws.send(&json!({"type":"request","method":"ack","params":{"channel":"session.a","cursor":last}})).await;
    }
    assert_eq!(numbers(&seen), (0..20).collect::<Vec<_>>());
    assert_chained(&seen);
}

#[tokio::test]
async fn an_ack_ahead_of_delivery_or_without_a_subscription_is_refused() {
    let world = World::new().await;
    world.publish("session.a", 0).await;
    let mut all = world.ws("u1").await;
    all.subscribe("session.a", json!("earliest")).await;
    let first = all.until(is_event).await;
    let mut ws = world.ws("u1").await;
    let ack = json!({"type":"request","id":"a","method":"ack",
        "params":{"channel":"session.a","cursor":first["cursor"]}});
    ws.send(&ack).await;
    assert_eq!(
        ws.until(|m| m["id"] == "a").await["error"]["name"],
        "CURSOR_INVALID"
    );
    all.send(&ack).await;
    assert_eq!(all.until(|m| m["id"] == "a").await["type"], "response");
}

#[tokio::test]
async fn a_reader_that_stops_reading_falls_back_to_the_log_and_misses_nothing() {
    let world = World::new().await;
    let mut slow = world.ws("u1").await;
    slow.subscribe("session.a", json!("latest")).await;
    let filler = "x".repeat(16 * 1024);
    // More than the socket buffers of both ends and the queue hold together.
    let count = 1_200;
    for n in 0..count {
        world
            .append(&world.event(
                "session.a",
                "map.updated",
                &json!({ "n": n, "filler": filler }),
            ))
            .await;
    }
    let mut events = Vec::new();
    let (mut lagging, mut caught_up) = (0, 0);
    while events.len() < count as usize {
        let message = slow.next().await;
        match message["event"].as_str() {
            Some("lagging") => lagging += 1,
            Some("caught_up") => caught_up += 1,
            Some("map.updated") => events.push(message),
            _ => {}
        }
    }
    assert_eq!(numbers(&events), (0..count).collect::<Vec<_>>());
    assert_chained(&events);
    assert!(lagging >= 1);
    while caught_up < lagging {
        if slow.next().await["event"] == "caught_up" {
            caught_up += 1;
        }
    }
}

#[tokio::test]
async fn f46_subscribers_at_random_moments_of_a_burst_all_see_one_seamless_order() {
    let world = World::new().await;
    let publishing = async {
        for n in 0..600 {
            world.publish("session.a", n).await;
        }
    };
    let reading = async {
        let readers = (0..40).map(|_| async {
            let mut ws = world.ws("u1").await;
            ws.subscribe("session.a", json!("earliest")).await;
            let events = ws.events(600).await;
            assert_eq!(numbers(&events), (0..600).collect::<Vec<_>>());
            assert_chained(&events);
        });
        futures_util::future::join_all(readers).await;
    };
    tokio::join!(publishing, reading);
}

#[tokio::test]
async fn the_ring_forgets_under_its_bound_and_old_cursors_still_resume() {
    let world = World::with(FanoutConfig {
        ring_bytes_max: 20_000,
        ..FanoutConfig::default()
    })
    .await;
    let mut ws = world.ws("u1").await;
    ws.subscribe("session.a", json!("latest")).await;
    for n in 0..500 {
        world.publish("session.a", n).await;
    }
    let live = ws.events(500).await;
    assert_eq!(numbers(&live), (0..500).collect::<Vec<_>>());
    let mut again = world.ws("u1").await;
    again
        .subscribe("session.a", live[10]["cursor"].clone())
        .await;
    assert_eq!(again.events(489).await, live[11..]);
}

#[tokio::test]
async fn draining_says_3001_and_nothing_delivered_before_is_lost() {
    let world = World::with(FanoutConfig {
        drain_spread: Duration::from_millis(100),
        ..FanoutConfig::default()
    })
    .await;
    let mut ws = world.ws("u1").await;
    ws.subscribe("session.a", json!("latest")).await;
    for n in 0..10 {
        world.publish("session.a", n).await;
    }
    assert_eq!(ws.events(10).await.len(), 10);
    let fanout = std::sync::Arc::clone(&world.fanout);
    let drained = tokio::spawn(async move { fanout.drain(PATIENCE).await });
    let code = loop {
        match ws.line().await {
            Ok(_) => {}
            Err(code) => break code,
        }
    };
    assert_eq!(code, Some(3001));
    drop(ws);
    assert!(timeout(PATIENCE, drained).await.unwrap().unwrap());
}

#[tokio::test]
async fn draining_answers_long_polls_at_once_with_where_they_stand() {
    let world = World::new().await;
    let (_, now) = world.get("/api/realtime/poll?channel=session.a").await;
    let cursor = now["cursor"].as_str().unwrap().to_owned();
    let path = format!("/api/realtime/poll?channel=session.a&wait=60&since={cursor}");
    let fanout = std::sync::Arc::clone(&world.fanout);
    let (polled, drained) = tokio::join!(timeout(PATIENCE, world.get(&path)), async {
        // The poll waits at the head when the node has attached its channel: then a pull is parked.
        let (_, busy) = world
            .get("/api/realtime/poll?channel=session.a&wait=0&since=earliest")
            .await;
        assert_eq!(busy["events"], json!([]));
        fanout.drain(PATIENCE).await
    });
    assert!(drained);
    let (status, body) = polled.expect("the poll is answered before its wait is over");
    assert!(status == 503 || body["cursor"] == cursor, "{status} {body}");
}
