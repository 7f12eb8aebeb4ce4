//! Bad input over WebSocket: every refusal is a coded error, costs the sender only, and shows nothing of the inside.

use client::ServerMessage;
use serde_json::json;
use testbed::{Bed, Node};
use tokio::time::Instant;

use crate::BINARY;
use crate::bad::{assert_says_nothing_of_the_inside, bad_publishes};
use crate::talk::Talk;

/// As many requests as a connection may have waiting.
const WAITING: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_refused_with_a_code_and_the_connection_goes_on() {
    let bed = Bed::on_kafka(BINARY).await;
    let node = bed.start("fanout").await;
    let mut bystander = Talk::open(&node, &bed.gm("bystander")).await;
    bystander.subscribe(json!({"channel": "session.1"})).await;
    messages(&bed, &node).await;
    requests(&bed, &node).await;
    cursors(&bed, &node).await;
    limits(&bed, &node).await;
    rights(&bed, &node).await;
    // All of that cost nobody else anything.
    bystander.quiet().await;
}

async fn messages(bed: &Bed, node: &Node) {
    // The hundredth unreadable message in a minute ends a connection, so these get one of their own.
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    for text in [
        "{",
        "[]",
        "1",
        "null",
        "\"x\"",
        "{}",
        r#"{"type":"nope"}"#,
        r#"{"type":7}"#,
        r#"{"type":"response","id":"1"}"#,
        r#"{"type":"error"}"#,
        r#"{"type":"request","type":"request","id":"1","method":"ping"}"#,
        "\u{feff}{}",
        "{}{}",
    ] {
        let refusal = talk.raw(text).await.unwrap_err();
        assert_eq!(
            (refusal.name.as_str(), refusal.code, refusal.retryable),
            ("INVALID_MESSAGE", 4400, false),
            "{text}"
        );
        assert_says_nothing_of_the_inside(&refusal);
    }
    let deep = format!(
        "{}1{}",
        r#"{"type":"request","id":"1","method":"ping","params":{"a":"#.to_owned() + &"[".repeat(9),
        "]".repeat(9) + "}}"
    );
    assert_eq!(talk.raw(&deep).await.unwrap_err().name, "INVALID_MESSAGE");
    talk.quiet().await;

    // The publishes, over a few connections for the same reason.
    // A line feed ends a message here, so a text with one inside is two.
    let mut bodies = bad_publishes();
    bodies.retain(|(_, body)| !body.contains('\n'));
    for chunk in bodies.chunks(20) {
        let mut talk = Talk::open(node, &bed.gm("u1")).await;
        for (expected, params) in chunk {
            let text =
                format!(r#"{{"type":"request","id":"x","method":"publish","params":{params}}}"#);
            let refusal = talk.raw(&text).await.unwrap_err();
            assert_eq!(refusal.name, *expected, "{params:.200}: {refusal:?}");
            assert_says_nothing_of_the_inside(&refusal);
        }
        talk.quiet().await;
    }

    // One message over the limit in an allowed frame, with good ones around it.
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    let large = format!(
        r#"{{"type":"request","id":"b","method":"publish","params":{{"channel":"session.1","event":"draw","data":"{}"}}}}"#,
        "x".repeat(65_536)
    );
    let ping = |id: &str| format!(r#"{{"type":"request","id":"{id}","method":"ping"}}"#);
    talk.socket()
        .send(format!("{}\n{large}\n{}", ping("a"), ping("c")))
        .await
        .unwrap();
    let mut said = Vec::new();
    for _ in 0..3 {
        said.push(match talk.next().await {
            ServerMessage::Response { id, .. } => id,
            ServerMessage::Error { refusal, .. } => refusal.name,
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(said, ["a", "MESSAGE_TOO_LARGE", "c"]);
}

async fn requests(bed: &Bed, node: &Node) {
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    let long = "x".repeat(65);
    for text in [
        r#"{"type":"request","method":"ping"}"#.to_owned(),
        r#"{"type":"request","id":7,"method":"ping"}"#.to_owned(),
        format!(r#"{{"type":"request","id":"{long}","method":"ping"}}"#),
        r#"{"type":"request","id":"1"}"#.to_owned(),
        r#"{"type":"request","id":"1","method":7}"#.to_owned(),
        r#"{"type":"request","id":"1","method":"format_disk"}"#.to_owned(),
        r#"{"type":"request","id":"1","method":"subscribe"}"#.to_owned(),
        r#"{"type":"request","id":"1","method":"subscribe","params":[]}"#.to_owned(),
        r#"{"type":"request","id":"1","method":"subscribe","params":{"channel":"x y"}}"#.to_owned(),
    ] {
        let refusal = talk.raw(&text).await.unwrap_err();
        assert_eq!(refusal.name, "INVALID_MESSAGE", "{text}: {refusal:?}");
    }
    for wrong in [
        json!({"since": {}}),
        json!({"since": 7}),
        json!({"since": {"last": 0}}),
        json!({"since": {"last": 1001}}),
        json!({"since": {"last": "5"}}),
        json!({"since": {"time": "now"}}),
        json!({"types": []}),
        json!({"types": "draw"}),
        json!({"types": ["two words"]}),
        json!({"types": vec!["a"; 65]}),
        json!({"window": 0}),
        json!({"window": 10_001}),
        json!({"window": -1}),
    ] {
        let mut params = wrong.clone();
        params["channel"] = json!("session.1");
        let refusal = talk.call("subscribe", params).await.unwrap_err();
        assert!(
            ["INVALID_MESSAGE", "LIMIT_EXCEEDED"].contains(&refusal.name.as_str()),
            "{wrong}: {refusal:?}"
        );
    }
    for wrong in [
        json!({"limit": 0}),
        json!({"limit": 1001}),
        json!({"limit": "many"}),
        json!({"order": "random"}),
        json!({"from": "yesterday"}),
    ] {
        let mut params = wrong.clone();
        params["channel"] = json!("session.1");
        let refusal = talk.call("history", params).await.unwrap_err();
        assert!(
            ["INVALID_MESSAGE", "LIMIT_EXCEEDED"].contains(&refusal.name.as_str()),
            "{wrong}: {refusal:?}"
        );
    }
    talk.quiet().await;
}

async fn cursors(bed: &Bed, node: &Node) {
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    // As the event has it: one that had to be published again is perhaps answered without.
    let mut reader = Talk::open(node, &bed.gm("u1")).await;
    reader.subscribe(json!({"channel": "session.c1"})).await;
    talk.publish("session.c1", "draw", json!(1)).await;
    let cursor = reader.event().await.cursor.unwrap();
    let middle = cursor.len() / 2;
    let other = if &cursor[middle..=middle] == "0" {
        "1"
    } else {
        "0"
    };
    let forged = format!("{}{other}{}", &cursor[..middle], &cursor[middle + 1..]);
    let twice = cursor.repeat(2);
    for bad in [
        "x",
        "1",
        "%",
        "earliest2",
        "äöü",
        "..",
        &cursor[..cursor.len() - 1],
        &forged,
        &twice,
        &"x".repeat(5000),
    ] {
        for (method, member) in [
            ("subscribe", "since"),
            ("history", "after"),
            ("history", "before"),
            ("ack", "cursor"),
        ] {
            let refusal = talk
                .call(method, json!({"channel": "session.c1", member: bad}))
                .await
                .unwrap_err();
            assert_eq!(
                refusal.name, "CURSOR_INVALID",
                "{method} {member} {bad:.60}: {refusal:?}"
            );
        }
    }
    // A true one of another channel is none here.
    for (method, member) in [
        ("subscribe", "since"),
        ("history", "after"),
        ("ack", "cursor"),
    ] {
        let refusal = talk
            .call(method, json!({"channel": "session.c2", member: cursor}))
            .await
            .unwrap_err();
        assert_eq!(refusal.name, "CURSOR_INVALID", "{method}");
    }
    talk.quiet().await;
}

async fn limits(bed: &Bed, node: &Node) {
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    for number in 0..128 {
        talk.subscribe(json!({"channel": format!("session.l{number}")}))
            .await;
    }
    let refusal = talk
        .call("subscribe", json!({"channel": "session.l128"}))
        .await
        .unwrap_err();
    assert_eq!(
        (refusal.name.as_str(), refusal.code),
        ("LIMIT_EXCEEDED", 4430)
    );
    assert!(refusal.details.unwrap()["limit"].is_string());
    talk.subscribe(json!({"channel": "session.l0"})).await;

    // More at once than the bucket holds: the rest is told when to come back. One after the other would be slower than
    // the bucket fills where a publish takes long.
    let mut greedy = Vec::new();
    for _ in 0..5 {
        greedy.push(Talk::open(node, &bed.gm("greedy")).await);
    }
    let publish = |id: usize| {
        format!(
            r#"{{"type":"request","id":"{id}","method":"publish","params":{{"channel":"session.2","event":"draw"}}}}"#
        )
    };
    let frame = (0..WAITING).map(publish).collect::<Vec<_>>().join("\n");
    let began = Instant::now();
    for talk in &mut greedy {
        talk.socket().send(frame.clone()).await.unwrap();
    }
    let (mut taken, mut limited) = (0u128, Vec::new());
    for talk in &mut greedy {
        for _ in 0..WAITING {
            match talk.next_of_channel().await {
                ServerMessage::Error { refusal, .. } if refusal.name == "RATE_LIMIT_EXCEEDED" => {
                    limited.push(refusal);
                }
                // It was charged, whatever the log made of it.
                ServerMessage::Error { refusal, .. } => {
                    assert!(refusal.retryable, "{refusal:?}");
                    taken += 1;
                }
                ServerMessage::Response { .. } => taken += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    // Ten a second are earned meanwhile; one more for what is rounded off.
    let earned = began.elapsed().as_millis() / 100 + 1;
    assert!(taken >= 100, "a bucket holds 100: {taken}");
    assert!(
        taken <= 100 + earned,
        "a bucket of 100 is not endless: {taken}, {earned} of them earned"
    );
    assert!(!limited.is_empty(), "some are told when to come back");
    for refusal in limited {
        assert!(
            refusal.retryable
                && refusal
                    .retry_after_ms
                    .is_some_and(|ms| (1..=1000).contains(&ms)),
            "{refusal:?}"
        );
    }
}

async fn rights(bed: &Bed, node: &Node) {
    let mut talk = Talk::open(
        node,
        &bed.token("u3").role("session.own", "spectator").mint(),
    )
    .await;
    for channel in ["session.foreign", "user.u1", "docs.1", "jobs.unknown"] {
        for (method, params) in [
            ("subscribe", json!({"channel": channel})),
            ("history", json!({"channel": channel})),
        ] {
            assert_eq!(
                talk.call(method, params).await.unwrap_err().name,
                "PERMISSION_DENIED",
                "{method} {channel}"
            );
        }
    }
    assert_eq!(
        talk.call("subscribe", json!({"channel": "nowhere.1"}))
            .await
            .unwrap_err()
            .name,
        "CHANNEL_NOT_FOUND"
    );
    for channel in ["session.own", "user.u3", "broadcast", "system"] {
        talk.subscribe(json!({"channel": channel})).await;
        let refusal = talk
            .call(
                "publish",
                json!({"channel": channel, "event": "chat.message"}),
            )
            .await
            .unwrap_err();
        assert_eq!(refusal.name, "PERMISSION_DENIED", "publish to {channel}");
    }
    // A forged user is not believed.
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    talk.subscribe(json!({"channel": "session.forged"})).await;
    let forged = json!({"channel": "session.forged", "event": "draw", "id": "forged", "userId": "admin", "timestamp": 1, "cursor": "x", "prev": "y"});
    talk.surely("publish", forged).await;
    let event = talk.event().await;
    assert_eq!(event.user_id.as_deref(), Some("u1"));
    assert!(event.timestamp_ms > 1);
}
