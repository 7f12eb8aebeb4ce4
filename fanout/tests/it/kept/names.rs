//! Names: where they go on, on whichever transport and node, and what opens their windows.

use fanout::FanoutConfig;
use serde_json::{Value, json};

use super::{CHANNEL, ack, body, sse_numbers, subscribe};
use crate::world::{PATIENCE, World, is_event, numbers, token};

#[tokio::test]
async fn a_name_goes_on_where_it_was_acknowledged_on_every_transport_of_every_node() {
    let mut world = World::new().await;
    world.fill(CHANNEL, 10).await;
    let mut ws = world.ws("u1").await;
    let asked = json!({"channel": CHANNEL, "since": "earliest", "durable": "tab"});
    let first = subscribe(&mut ws, asked.clone()).await;
    assert_eq!(
        first["data"]["wasRecovering"], true,
        "since names a position"
    );
    let events = ws.events(10).await;
    assert_eq!(
        ack(&mut ws, CHANNEL, &events[3]["cursor"]).await["data"],
        json!({})
    );
    world.another(FanoutConfig::default()).await;

    let mut other = world.ws("u1").await;
    let latest = json!({"channel": CHANNEL, "durable": "tab"});
    let response = subscribe(&mut other, latest).await;
    assert_eq!(response["data"]["cursor"], events[3]["cursor"]);
    assert_eq!(
        (
            &response["data"]["recovered"],
            &response["data"]["wasRecovering"]
        ),
        (&json!(true), &json!(true))
    );
    assert_eq!(numbers(&other.events(6).await), [4, 5, 6, 7, 8, 9]);
    other.until(|m| m["event"] == "caught_up").await;
    // It wins over any other position, a last event id too.
    assert_eq!(
        subscribe(&mut other, asked).await["data"]["cursor"],
        events[3]["cursor"]
    );
    let path = format!("channel={CHANNEL}&since=earliest&durable=tab");
    let last = events[8]["cursor"].as_str();
    let mut sse = world.stream(&format!("/sse?{path}"), last).await;
    assert_eq!(sse_numbers(&mut sse, 1).await[0].0, 4);
    let mut lines = world
        .stream(&format!("/api/realtime/stream?{path}"), None)
        .await;
    loop {
        let line: Value = serde_json::from_str(&lines.piece("\n").await).unwrap();
        if is_event(&line) {
            assert_eq!(line["data"]["n"], 4);
            break;
        }
    }
    let (_, polled) = world
        .get(&format!("/api/realtime/poll?{path}&window=2"))
        .await;
    assert_eq!(numbers(polled["events"].as_array().unwrap()), [4, 5]);
    let mut path_ws = world.ws_at("/ws/session/a?durable=tab", &token("u1")).await;
    let subscribed = path_ws.until(|m| m["event"] == "subscribed").await;
    assert_eq!(subscribed["data"]["cursor"], events[3]["cursor"]);
}

#[tokio::test]
async fn a_window_over_sse_opens_when_another_node_takes_the_acknowledgement() {
    let mut world = World::new().await;
    world.fill(CHANNEL, 9).await;
    let mut sse = world
        .stream(
            &format!("/sse?channel={CHANNEL}&since=earliest&durable=tab&window=3"),
            None,
        )
        .await;
    let mut lines = world
        .stream(
            &format!("/api/realtime/stream?channel={CHANNEL}&since=earliest&durable=feed&window=4"),
            None,
        )
        .await;
    world.another(FanoutConfig::default()).await;
    let mut seen = Vec::new();
    for round in 1..=3 {
        seen.extend(sse_numbers(&mut sse, 3).await);
        assert_eq!(seen.len(), round * 3);
        let last = &seen.last().unwrap().1;
        let (status, _) = world
            .post("/api/realtime/ack", "u1", &body(CHANNEL, last, "tab"))
            .await;
        assert_eq!(status, 204);
    }
    let got: Vec<i64> = seen.iter().map(|(n, _)| *n).collect();
    assert_eq!(got, (0..9).collect::<Vec<_>>());
    // The other stream was acknowledged nothing: it stands at its window.
    let mut count = 0;
    while count < 4 {
        let line: Value = serde_json::from_str(&lines.piece("\n").await).unwrap();
        count += i64::from(is_event(&line));
    }
    assert!(!lines.text.contains("\"prev\""), "no fifth event");
    // What was read by the other name does not count for this one.
    let cursor = &seen[0].1;
    world
        .post("/api/realtime/ack", "u1", &body(CHANNEL, cursor, "feed"))
        .await;
    loop {
        let line: Value = serde_json::from_str(&lines.piece("\n").await).unwrap();
        if is_event(&line) {
            assert_eq!(line["data"]["n"], 4, "one acknowledged, one more");
            break;
        }
    }
}

#[tokio::test]
async fn two_readers_of_one_name_both_get_everything_and_the_further_one_is_kept() {
    let mut world = World::new().await;
    world.fill(CHANNEL, 8).await;
    let asked = json!({"channel": CHANNEL, "since": "earliest", "durable": "tab", "window": 4});
    let mut one = world.ws("u1").await;
    subscribe(&mut one, asked.clone()).await;
    world.another(FanoutConfig::default()).await;
    let mut other = world.ws("u1").await;
    subscribe(&mut other, asked.clone()).await;
    let (ones, others) = (one.events(4).await, other.events(4).await);
    assert_eq!(
        (numbers(&ones), numbers(&others)),
        (vec![0, 1, 2, 3], vec![0, 1, 2, 3])
    );
    // One acknowledges: both windows open, each reader still gets every event itself.
    let params = json!({"channel": CHANNEL, "cursor": ones[3]["cursor"]});
    one.send(&json!({"type":"request","method":"ack","params":params}))
        .await;
    assert_eq!(numbers(&one.events(4).await), [4, 5, 6, 7]);
    assert_eq!(numbers(&other.events(4).await), [4, 5, 6, 7]);
    assert_eq!(
        ack(&mut other, CHANNEL, &others[1]["cursor"]).await["data"],
        json!({})
    );
    let mut third = world.ws("u1").await;
    let response = subscribe(&mut third, asked).await;
    assert_eq!(response["data"]["cursor"], ones[3]["cursor"]);
}

#[tokio::test]
async fn a_view_keeps_its_own_cursor() {
    let world = World::new().await;
    world.fill(CHANNEL, 3).await;
    let (_, page) = world.get("/api/realtime/activity?sessionId=a").await;
    let cursor = &page["events"][1]["cursor"];
    let (status, _) = world
        .post(
            "/api/realtime/ack",
            "u1",
            &body("activity.a", cursor, "feed"),
        )
        .await;
    assert_eq!(status, 204);
    let mut sse = world.stream("/sse/activity/a?durable=feed", None).await;
    assert_eq!(sse_numbers(&mut sse, 1).await[0].0, 2);
    let mut ws = world.ws("u1").await;
    let response = subscribe(&mut ws, json!({"channel": CHANNEL, "durable": "feed"})).await;
    assert_eq!(response["data"]["wasRecovering"], false);
}

#[tokio::test]
async fn a_node_that_says_goodbye_keeps_what_was_acknowledged_last() {
    let mut world = World::new().await;
    world.fill(CHANNEL, 50).await;
    let mut ws = world.ws("u1").await;
    subscribe(
        &mut ws,
        json!({"channel": CHANNEL, "since": "earliest", "durable": "tab"}),
    )
    .await;
    let events = ws.events(50).await;
    for event in &events {
        let params = json!({"channel": CHANNEL, "cursor": event["cursor"]});
        ws.send(&json!({"type":"request","method":"ack","params":params}))
            .await;
    }
    ws.send(&json!({"type":"request","id":"p","method":"ping"}))
        .await;
    ws.until(|m| m["id"] == "p").await;
    assert!(world.fanout.drain(PATIENCE).await);
    world.shutdown.start();
    world.shutdown.finished(PATIENCE).await.unwrap();
    world.another(FanoutConfig::default()).await;
    let mut other = world.ws("u1").await;
    let response = subscribe(&mut other, json!({"channel": CHANNEL, "durable": "tab"})).await;
    assert_eq!(response["data"]["cursor"], events[49]["cursor"]);
}
