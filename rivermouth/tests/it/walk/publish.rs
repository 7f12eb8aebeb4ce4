//! Publishing.

use client::{Publish, ServerMessage};
use serde_json::json;
use testbed::{Bed, Node};

use crate::talk::Talk;

pub(super) async fn answers(bed: &Bed, node: &Node) {
    let channel = "session.answers";
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    talk.subscribe(json!({"channel": channel})).await;
    // The server makes an id where none is given.
    let without = json!({"channel": channel, "event": "draw", "data": {"x": 1}});
    let made = talk.call("publish", without).await.unwrap();
    let event = talk.event().await;
    assert_eq!(
        (made["id"].as_str(), made["cursor"].as_str()),
        (Some(event.id.as_str()), event.cursor.as_deref())
    );
    assert_eq!(made["duplicate"], false);
    assert!((testbed::unix_ms() - event.timestamp_ms).abs() < 600_000);

    // The same id is stored and delivered once, over whichever door it comes again; the first body stands.
    let publish = |data| json!({"channel": channel, "event": "draw", "id": "same", "data": data});
    let first = talk.call("publish", publish(1)).await.unwrap();
    let again = talk.call("publish", publish(2)).await.unwrap();
    assert_eq!(
        (&again["id"], &first["duplicate"]),
        (&json!("same"), &json!(false))
    );
    assert!(
        again["cursor"].is_null() || again["cursor"] == first["cursor"],
        "{again} after {first}"
    );
    let http = node.http(&bed.gm("u1"));
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", "same"),
    ];
    let body = json!({"channel": channel, "event": "draw", "data": 3}).to_string();
    let over_http = http
        .call(
            ::http::Method::POST,
            "/api/realtime/publish",
            &headers,
            body,
        )
        .await
        .unwrap();
    assert_eq!(
        (over_http.status.as_u16(), &over_http.json().unwrap()["id"]),
        (200, &json!("same"))
    );
    let event = talk.event().await;
    assert_eq!((event.id.as_str(), event.data.as_str()), ("same", "1"));
    talk.publish(channel, "end", json!(null)).await;
    assert_eq!(
        talk.event().await.name,
        "end",
        "a duplicate is not delivered"
    );

    // A batch answers line by line, in order; lines fail alone.
    let batch: Vec<Publish> = ["session.answers", "nonsense", "session.answers"]
        .iter()
        .map(|channel| Publish::new(*channel, "draw", "1").unwrap())
        .collect();
    let answers = http.publish_batch(&batch).await.unwrap();
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert_eq!(answers[1].as_ref().unwrap_err().name, "INVALID_MESSAGE");
    let events = talk.events(2).await;
    for (event, answer) in events.iter().zip([&answers[0], &answers[2]]) {
        assert_eq!(event.cursor, answer.as_ref().unwrap().cursor);
    }
    assert!(
        http.publish_batch(&[]).await.unwrap().is_empty(),
        "blank lines are skipped"
    );
}

pub(super) async fn outbox(bed: &Bed, node: &Node) {
    let channel = "session.outbox";
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    talk.subscribe(json!({"channel": channel})).await;
    let record = |epoch: u64, seq: u64| json!({"channel": channel, "event": "draw", "data": [epoch, seq], "producer": "p", "epoch": epoch, "seq": seq});
    assert_eq!(
        talk.call("publish", record(3, 0)).await.unwrap()["duplicate"],
        false
    );
    assert_eq!(
        talk.call("publish", record(3, 1)).await.unwrap()["duplicate"],
        false
    );
    assert_eq!(
        talk.call("publish", record(3, 0)).await.unwrap()["duplicate"],
        true
    );
    let gap = talk.call("publish", record(3, 5)).await.unwrap_err();
    assert_eq!(
        (gap.name.as_str(), gap.detail_u64("seq"), gap.retry_after_ms),
        ("UNAVAILABLE", Some(2), Some(0))
    );
    let stale = talk.call("publish", record(2, 0)).await.unwrap_err();
    assert_eq!(
        (stale.name.as_str(), stale.detail_u64("epoch"), stale.code),
        ("STALE_PRODUCER", Some(3), 4409)
    );
    assert_eq!(
        talk.call("publish", record(4, 0)).await.unwrap()["duplicate"],
        false
    );
    let data: Vec<String> = talk
        .events(3)
        .await
        .into_iter()
        .map(|event| event.data)
        .collect();
    assert_eq!(data, ["[3,0]", "[3,1]", "[4,0]"]);
    // The identity is (channel, user, producer): another user's outbox of that name is another.
    let mut other = Talk::open(node, &bed.gm("u2")).await;
    assert_eq!(
        other.call("publish", record(0, 0)).await.unwrap()["duplicate"],
        false
    );
    assert_eq!(talk.event().await.user_id.as_deref(), Some("u2"));
    talk.quiet().await;
}

pub(super) async fn bytes_stay(bed: &Bed, node: &Node) {
    let channel = "session.bytes";
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    talk.subscribe(json!({"channel": channel})).await;
    for (published, delivered) in [
        (
            r#"{ "b" : 1.50, "a" : [ 1e2 , -0.0 ] }"#,
            r#"{"b":1.50,"a":[1e2,-0.0]}"#,
        ),
        (
            r#"" two  spaces \u00e4 ä \n \ud83d\ude00 ""#,
            r#"" two  spaces \u00e4 ä \n \ud83d\ude00 ""#,
        ),
        (
            "12345678901234567890.0123456789",
            "12345678901234567890.0123456789",
        ),
        ("null", "null"),
        (
            r#"{"cursor":"x","type":"event"}"#,
            r#"{"cursor":"x","type":"event"}"#,
        ),
    ] {
        let text = format!(
            r#"{{"type":"request","id":"p","method":"publish","params":{{"channel":"{channel}","event":"draw","data":{published}}}}}"#
        );
        talk.raw(&text).await.unwrap();
        assert_eq!(talk.event().await.data, delivered);
    }
    // Without data it is null; older spellings of names are taken and never sent.
    talk.call(
        "publish",
        json!({"channel": channel, "event": "chat_message"}),
    )
    .await
    .unwrap();
    let event = talk.event().await;
    assert_eq!(
        (event.name.as_str(), event.data.as_str()),
        ("chat.message", "null")
    );
    // A backend speaks for others; a user does not.
    let backend = node.http(&bed.backend());
    let publish = Publish::new(channel, "draw", "1").unwrap().user("u9");
    backend.publish(&publish).await.unwrap();
    assert_eq!(talk.event().await.user_id.as_deref(), Some("u9"));
    node.http(&bed.gm("u1")).publish(&publish).await.unwrap();
    assert_eq!(talk.event().await.user_id.as_deref(), Some("u1"));
}

pub(super) async fn ephemeral(bed: &Bed, node: &Node) {
    let channel = "session.pointers";
    let (mut one, mut two) = (
        Talk::open(node, &bed.gm("u1")).await,
        Talk::open(node, &bed.gm("u2")).await,
    );
    two.subscribe(json!({"channel": channel})).await;
    let answer = one
        .publish(channel, "cursor.move", json!({"x": 1, "y": 2}))
        .await;
    assert!(
        answer["cursor"].is_null() && answer["id"].is_string(),
        "{answer}"
    );
    let event = two.event().await;
    assert_eq!(
        (event.name.as_str(), event.cursor, event.prev),
        ("cursor.move", None, None)
    );
    assert!(
        !event.raw.contains(r#""cursor":"#) && !event.raw.contains(r#""prev":"#),
        "{}",
        event.raw
    );
    // It is not part of the past.
    one.subscribe(json!({"channel": channel, "since": "earliest"}))
        .await;
    one.caught_up(channel).await;
    let http = node.http(&bed.gm("u1"));
    let moved = http.call(
        ::http::Method::POST,
        "/api/realtime/cursor",
        &[("content-type", "application/json")],
        r#"{"sessionId":"pointers","x":3,"y":4}"#,
    );
    assert_eq!(moved.await.unwrap().status.as_u16(), 202);
    assert_eq!(two.event().await.data, r#"{"x":3,"y":4}"#);
}

pub(super) async fn events_of_clients(bed: &Bed, node: &Node) {
    let channel = "session.unasked";
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    talk.subscribe(json!({"channel": channel})).await;
    let event = json!({"type": "event", "channel": channel, "event": "draw", "data": 1, "id": "e1", "userId": "forged"});
    talk.socket().send(event.to_string()).await.unwrap();
    let event = talk.event().await;
    assert_eq!(
        (event.id.as_str(), event.user_id.as_deref()),
        ("e1", Some("u1"))
    );
    // A failure is told by an error that names the channel and the publish.
    let wrong =
        json!({"type": "event", "channel": "broadcast", "event": "draw", "data": 1, "id": "e2"});
    talk.socket().send(wrong.to_string()).await.unwrap();
    match talk.next_of_channel().await {
        ServerMessage::Error {
            id: None,
            channel: Some(channel),
            refusal,
        } => {
            assert_eq!(
                (channel.as_str(), refusal.name.as_str()),
                ("broadcast", "PERMISSION_DENIED")
            );
            assert_eq!(refusal.details.unwrap()["publishId"], "e2");
        }
        other => panic!("{other:?}"),
    }
}
