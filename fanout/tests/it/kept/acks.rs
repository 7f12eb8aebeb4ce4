//! Acknowledgements: when they are answered, what they cost, which count and which are refused.

use bytes::Bytes;
use protocol::{Cursors, Position};
use schemas::{Channel, Kept};
use serde_json::json;
use tokio::time::timeout;

use super::{CHANNEL, ack, body, key, subscribe};
use crate::world::{PARTITIONS, PATIENCE, World};

#[tokio::test]
async fn an_acknowledgement_with_an_id_is_answered_when_the_log_has_it() {
    let world = World::new().await;
    world.fill(CHANNEL, 3).await;
    let mut ws = world.ws("u1").await;
    subscribe(
        &mut ws,
        json!({"channel": CHANNEL, "since": "earliest", "durable": "tab"}),
    )
    .await;
    let events = ws.events(3).await;
    let key = key(CHANNEL, "u1", "tab");
    for event in &events {
        ack(&mut ws, CHANNEL, &event["cursor"]).await;
        let kept = world.kept(&key).await;
        assert_eq!(kept.last().map(String::as_str), event["cursor"].as_str());
    }
    // Over HTTP as well.
    let other = body(CHANNEL, &events[1]["cursor"], "phone");
    assert_eq!(world.post("/api/realtime/ack", "u1", &other).await.0, 204);
    let kept = world.kept(&super::key(CHANNEL, "u1", "phone")).await;
    assert_eq!(kept, [events[1]["cursor"].as_str().unwrap()]);
}

#[tokio::test]
async fn a_stream_of_acknowledgements_costs_few_records_and_the_last_one_is_kept() {
    let world = World::new().await;
    let count = 3_000;
    world.fill(CHANNEL, count).await;
    let mut ws = world.ws("u1").await;
    subscribe(
        &mut ws,
        json!({"channel": CHANNEL, "since": "earliest", "durable": "tab", "window": 10_000}),
    )
    .await;
    let began = std::time::Instant::now();
    for event in ws.events(count as usize).await {
        let params = json!({"channel": CHANNEL, "cursor": event["cursor"]});
        ws.send(&json!({"type":"request","method":"ack","params":params}))
            .await;
    }
    ws.send(&json!({"type":"request","id":"p","method":"ping"}))
        .await;
    ws.until(|m| m["id"] == "p").await;
    let (_, last) = world
        .get(&format!(
            "/api/realtime/history?channel={CHANNEL}&order=desc&limit=1"
        ))
        .await;
    let last = last["events"][0]["cursor"].as_str().unwrap().to_owned();
    let key = key(CHANNEL, "u1", "tab");
    let kept = async {
        loop {
            let kept = world.kept(&key).await;
            if kept.last() == Some(&last) {
                return kept;
            }
            tokio::task::yield_now().await;
        }
    };
    let kept = timeout(PATIENCE, kept).await.unwrap();
    let most = began.elapsed().as_millis() / 200 + 2;
    assert!(
        (kept.len() as u128) <= most,
        "{} records, not over {most}",
        kept.len()
    );
    let ordered = kept.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(ordered, "only ever forward");
}

#[tokio::test]
async fn older_acknowledgements_are_ignored_and_what_is_ahead_is_refused() {
    let world = World::new().await;
    world.fill(CHANNEL, 6).await;
    let mut ws = world.ws("u1").await;
    subscribe(
        &mut ws,
        json!({"channel": CHANNEL, "since": "earliest", "durable": "tab", "window": 4}),
    )
    .await;
    let events = ws.events(4).await;
    let (_, page) = world
        .get(&format!("/api/realtime/history?channel={CHANNEL}"))
        .await;
    let ahead = ack(&mut ws, CHANNEL, &page["events"][5]["cursor"]).await;
    assert_eq!(ahead["error"]["name"], "CURSOR_INVALID");
    ack(&mut ws, CHANNEL, &events[2]["cursor"]).await;
    let key = key(CHANNEL, "u1", "tab");
    let before = world.kept(&key).await;
    // Older, by any way: said to be well, and changes nothing.
    assert_eq!(
        ack(&mut ws, CHANNEL, &events[0]["cursor"]).await["data"],
        json!({})
    );
    let older = body(CHANNEL, &events[1]["cursor"], "tab");
    assert_eq!(world.post("/api/realtime/ack", "u1", &older).await.0, 204);
    assert_eq!(world.kept(&key).await, before);
    // Over HTTP any cursor of the channel counts, but none that the log has not come to.
    let further = body(CHANNEL, &page["events"][5]["cursor"], "tab");
    assert_eq!(world.post("/api/realtime/ack", "u1", &further).await.0, 204);
    let place = Position {
        generation: 0,
        partition: schemas::partition_of(b"a", PARTITIONS),
        next: 1_000_000,
    };
    let cursors = Cursors::new(world.pins.cursor_key);
    let future = cursors.encode(&Channel::parse(CHANNEL).unwrap(), place);
    let (status, refused) = world
        .post(
            "/api/realtime/ack",
            "u1",
            &body(CHANNEL, &json!(future), "tab"),
        )
        .await;
    assert_eq!(
        (status, &refused["error"]["name"]),
        (400, &json!("CURSOR_INVALID"))
    );
    assert_eq!(world.kept(&key).await.len(), before.len() + 1);
}

#[tokio::test]
async fn a_name_is_its_users_own_and_bad_acknowledgements_are_refused_in_codes() {
    let world = World::new().await;
    world.fill(CHANNEL, 4).await;
    world.fill("session.b", 2).await;
    let (_, page) = world
        .get(&format!("/api/realtime/history?channel={CHANNEL}"))
        .await;
    let (_, foreign) = world.get("/api/realtime/history?channel=session.b").await;
    let cursor = &page["events"][2]["cursor"];
    let forged = json!({"channel": CHANNEL, "cursor": cursor, "durable": "tab", "user": "u1", "userId": "u1"});
    assert_eq!(world.post("/api/realtime/ack", "u2", &forged).await.0, 204);
    assert!(world.kept(&key(CHANNEL, "u1", "tab")).await.is_empty());
    let mut ws = world.ws("u1").await;
    let response = subscribe(&mut ws, json!({"channel": CHANNEL, "durable": "tab"})).await;
    assert_eq!(response["data"]["wasRecovering"], false);
    for (user, body, status, name) in [
        (
            "u1",
            body(CHANNEL, &foreign["events"][0]["cursor"], "tab"),
            400,
            "CURSOR_INVALID",
        ),
        (
            "u1",
            body(CHANNEL, &json!("garbage"), "tab"),
            400,
            "CURSOR_INVALID",
        ),
        (
            "u1",
            body("user.u2", cursor, "tab"),
            403,
            "PERMISSION_DENIED",
        ),
        (
            "u1",
            body("nowhere.x", cursor, "tab"),
            404,
            "CHANNEL_NOT_FOUND",
        ),
        (
            "u1",
            body("jobs.none", cursor, "tab"),
            400,
            "CURSOR_INVALID",
        ),
        (
            "u1",
            body(CHANNEL, cursor, "no name"),
            400,
            "INVALID_MESSAGE",
        ),
        (
            "u1",
            json!({"channel": CHANNEL, "cursor": cursor}),
            400,
            "INVALID_MESSAGE",
        ),
        ("u1", json!([]), 400, "INVALID_MESSAGE"),
        (
            "u1",
            body(CHANNEL, &json!("x".repeat(70_000)), "tab"),
            413,
            "MESSAGE_TOO_LARGE",
        ),
    ] {
        let (got, refused) = world.post("/api/realtime/ack", user, &body).await;
        assert_eq!(
            (got, &refused["error"]["name"]),
            (status, &json!(name)),
            "{body:.100}"
        );
    }
    for (path, status, name) in [
        ("/api/realtime/ack", 405, "METHOD_NOT_ALLOWED"),
        ("/sse?channel=session.a&window=3", 400, "INVALID_MESSAGE"),
        (
            "/sse?channel=session.a&durable=a%20b",
            400,
            "INVALID_MESSAGE",
        ),
        (
            "/sse?channel=session.a&durable=tab&window=0",
            400,
            "INVALID_MESSAGE",
        ),
        (
            "/api/realtime/poll?channel=session.a&window=3",
            400,
            "INVALID_MESSAGE",
        ),
    ] {
        let (got, refused) = world.get(path).await;
        assert_eq!(
            (got, &refused["error"]["name"]),
            (status, &json!(name)),
            "{path}"
        );
    }
    assert!(world.kept(&key(CHANNEL, "u1", "tab")).await.is_empty());
}

#[tokio::test]
async fn acknowledgements_over_http_have_a_limit_of_their_own_for_each_user() {
    let world = World::new().await;
    world.fill(CHANNEL, 1).await;
    let (_, page) = world
        .get(&format!("/api/realtime/history?channel={CHANNEL}"))
        .await;
    let body = body(CHANNEL, &page["events"][0]["cursor"], "tab");
    let mut taken = 0;
    let refused = loop {
        let (status, answer) = world.post("/api/realtime/ack", "u1", &body).await;
        if status != 204 {
            break (status, answer);
        }
        taken += 1;
        assert!(taken < 1_000);
    };
    assert!(taken >= 100, "{taken}");
    assert_eq!(
        (refused.0, &refused.1["error"]["name"]),
        (429, &json!("RATE_LIMIT_EXCEEDED"))
    );
    assert!(refused.1["error"]["retryAfterMs"].as_u64() > Some(0));
    assert_eq!(world.post("/api/realtime/ack", "u2", &body).await.0, 204);
    assert_eq!(world.kept(&key(CHANNEL, "u1", "tab")).await.len(), 1);
}

#[tokio::test]
async fn a_record_that_came_late_is_mended_so_that_compaction_leaves_the_right_one() {
    let world = World::new().await;
    world.fill(CHANNEL, 6).await;
    let mut ws = world.ws("u1").await;
    subscribe(
        &mut ws,
        json!({"channel": CHANNEL, "since": "earliest", "durable": "tab"}),
    )
    .await;
    let events = ws.events(6).await;
    ack(&mut ws, CHANNEL, &events[4]["cursor"]).await;
    // Another node had not heard of it yet.
    let key = key(CHANNEL, "u1", "tab");
    let partition = key.partition(PARTITIONS);
    let late = Kept {
        key: key.clone(),
        cursor: events[1]["cursor"].as_str().unwrap().to_owned(),
        at_ms: 1,
    };
    world
        .state_record(partition, key.encode(), late.encode())
        .await;
    let mended = async {
        while world.kept(&key).await.last().map(String::as_str) != events[4]["cursor"].as_str() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, mended).await.unwrap();
    let mut other = world.ws("u1").await;
    let response = subscribe(&mut other, json!({"channel": CHANNEL, "durable": "tab"})).await;
    assert_eq!(response["data"]["cursor"], events[4]["cursor"]);
}

#[tokio::test]
async fn what_is_none_of_ours_in_the_state_topic_stops_nobody() {
    let world = World::new().await;
    world.fill(CHANNEL, 2).await;
    let key = key(CHANNEL, "u1", "tab");
    let partition = key.partition(PARTITIONS);
    let foreign = Kept {
        key: key.clone(),
        cursor: "1-----------------------x".into(),
        at_ms: 1,
    };
    for (key, value) in [
        (key.encode(), foreign.encode()),
        (key.encode(), Bytes::from_static(b"{")),
        (Bytes::from_static(b"ack/"), Bytes::from_static(b"\xff")),
        (Bytes::from_static(b"lease/x"), Bytes::from_static(b"{}")),
    ] {
        world.state_record(partition, key, value).await;
    }
    let mut ws = world.ws("u1").await;
    let response = subscribe(&mut ws, json!({"channel": CHANNEL, "durable": "tab"})).await;
    assert_eq!(response["data"]["wasRecovering"], false);
    assert_eq!(
        world.figure("rivermouth_fanout_kept_passed_over_total"),
        3.0
    );
}
