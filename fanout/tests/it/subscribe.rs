//! Subscribing from every kind of position.

use serde_json::{Value, json};

use crate::world::{World, assert_chained, is_event, numbers};

#[tokio::test]
async fn since_earliest_delivers_everything_then_caught_up_then_live() {
    let world = World::new().await;
    for n in 0..50 {
        world.publish("session.a", n).await;
        world.publish("session.b", n).await;
    }
    let mut ws = world.ws("u1").await;
    assert_eq!(ws.next().await["event"], "connected");
    let answer = ws.subscribe("session.a", json!("earliest")).await;
    assert_eq!(answer["data"]["recovered"], true);
    assert_eq!(answer["data"]["wasRecovering"], true);
    let mut events = ws.events(50).await;
    let caught_up = ws.next().await;
    assert_eq!(caught_up["event"], "caught_up");
    assert!(caught_up["cursor"].as_str() >= events[49]["cursor"].as_str());
    for n in 50..60 {
        world.publish("session.a", n).await;
    }
    events.extend(ws.events(10).await);
    assert_eq!(numbers(&events), (0..60).collect::<Vec<_>>());
    assert_eq!(events[0]["prev"], Value::Null);
    assert_chained(&events);
}

#[tokio::test]
async fn a_cursor_resumes_after_its_event_on_a_node_that_has_never_seen_the_channel() {
    let mut world = World::new().await;
    for n in 0..20 {
        world.publish("session.a", n).await;
    }
    let mut ws = world.ws("u1").await;
    ws.subscribe("session.a", json!("earliest")).await;
    let first = ws.events(20).await;
    world.another(fanout::FanoutConfig::default()).await;
    for at in [0, 7, 19] {
        let mut ws = world.ws("u1").await;
        let answer = ws.subscribe("session.a", first[at]["cursor"].clone()).await;
        assert_eq!(answer["data"]["cursor"], first[at]["cursor"]);
        let rest = ws.events(19 - at).await;
        assert_eq!(rest, first[at + 1..]);
        assert_eq!(ws.next().await["event"], "caught_up");
    }
}

#[tokio::test]
async fn latest_begins_with_what_comes_after_the_answer() {
    let world = World::new().await;
    world.publish("session.a", 0).await;
    let mut ws = world.ws("u1").await;
    let answer = ws.subscribe("session.a", json!("latest")).await;
    assert_eq!(answer["data"]["wasRecovering"], false);
    assert_eq!(answer["data"]["recovered"], true);
    world.publish("session.a", 1).await;
    let next = ws.until(|m| m["event"] != "connected").await;
    assert_eq!(next["data"]["n"], 1);
    assert!(next["prev"].is_string());
}

#[tokio::test]
async fn the_last_n_and_a_time_name_their_events() {
    let world = World::new().await;
    for n in 0..10 {
        world.publish("session.a", n).await;
    }
    let mut ws = world.ws("u1").await;
    ws.subscribe("session.a", json!({ "last": 3 })).await;
    let events = ws.events(3).await;
    assert_eq!(numbers(&events), [7, 8, 9]);
    assert_eq!(ws.next().await["event"], "caught_up");
    let time = events[1]["timestamp"].clone();
    ws.subscribe("session.a", json!({ "time": time })).await;
    let first = ws.until(is_event).await;
    assert!(first["timestamp"].as_i64() >= time.as_i64());
    assert!(first["cursor"].as_str() <= events[1]["cursor"].as_str());
}

#[tokio::test]
async fn void_records_reach_nobody_whichever_way_they_are_read() {
    let world = World::new().await;
    for (n, outbox) in [
        (0, (0, 0)),
        (1, (0, 1)),
        (1, (0, 1)),
        (9, (0, 3)),
        (2, (0, 2)),
        (3, (1, 0)),
        (9, (0, 3)),
    ] {
        let event = world.outbox("session.a", n, outbox);
        world.append(&event).await;
    }
    let mut ws = world.ws("u1").await;
    ws.subscribe("session.a", json!("earliest")).await;
    let mut events = ws.events(4).await;
    assert_eq!(numbers(&events), [0, 1, 2, 3]);
    // Live: a retry of the last one is void, the next counts.
    for (n, outbox) in [(3, (1, 0)), (4, (1, 1))] {
        let event = world.outbox("session.a", n, outbox);
        world.append(&event).await;
    }
    events.extend(ws.events(1).await);
    assert_eq!(numbers(&events), [0, 1, 2, 3, 4]);
    assert_chained(&events);
    let (status, page) = world.get("/api/realtime/history?channel=session.a").await;
    assert_eq!(status, 200);
    assert_eq!(page["events"].as_array().unwrap(), &events);
    assert_eq!(page["complete"], true);
}

#[tokio::test]
async fn a_bad_cursor_or_a_foreign_one_is_refused_and_the_connection_goes_on() {
    let world = World::new().await;
    world.publish("session.a", 0).await;
    let mut ws = world.ws("u1").await;
    ws.subscribe("session.a", json!("earliest")).await;
    let event = ws.until(is_event).await;
    for cursor in [
        json!("garbage"),
        json!("1zzzzzzzzzzzzzzzzzzzzzzzz"),
        event["cursor"].clone(),
    ] {
        let answer = ws.subscribe("session.b", cursor).await;
        assert_eq!(answer["type"], "error");
        assert_eq!(answer["error"]["name"], "CURSOR_INVALID");
    }
    let answer = ws.subscribe("user.u2", json!("latest")).await;
    assert_eq!(answer["error"]["name"], "PERMISSION_DENIED");
    let answer = ws.subscribe("nowhere.x", json!("latest")).await;
    assert_eq!(answer["error"]["name"], "CHANNEL_NOT_FOUND");
    ws.send(&json!({"type":"request","id":"p","method":"ping"}))
        .await;
    assert!(ws.until(|m| m["id"] == "p").await["data"]["serverTime"].is_i64());
}

#[tokio::test]
async fn addressed_events_reach_their_addressees_and_are_nobodys_prev() {
    let world = World::new().await;
    world.publish("session.a", 0).await;
    let mut addressed = world.event("session.a", "rtc.note", &json!({ "n": 1 }));
    addressed.to = Some(vec!["u2".to_owned()]);
    world.append(&addressed).await;
    world.publish("session.a", 2).await;
    let (mut one, mut two) = (world.ws("u1").await, world.ws("u2").await);
    one.subscribe("session.a", json!("earliest")).await;
    two.subscribe("session.a", json!("earliest")).await;
    let ones = one.events(2).await;
    assert_eq!(numbers(&ones), [0, 2]);
    assert_chained(&ones);
    let twos = two.events(3).await;
    assert_eq!(numbers(&twos), [0, 1, 2]);
    assert_eq!(twos[1]["addressed"], true);
    assert_eq!(twos[1]["prev"], twos[0]["cursor"]);
    assert_eq!(twos[2]["prev"], twos[0]["cursor"]);
    assert_eq!(twos[2], ones[1]);
}
