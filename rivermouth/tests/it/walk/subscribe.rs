//! Getting in and subscribing.

use client::{Credential, Event, ServerMessage, Socket, SocketOptions};
use serde_json::{Value, json};
use testbed::{Bed, Node, within};

use crate::talk::Talk;

/// Publishes `count` events with data 0, 1, 2 … and gives their cursors.
pub(super) async fn fill(talk: &mut Talk, channel: &str, event: &str, count: usize) -> Vec<String> {
    let mut cursors = Vec::new();
    for number in 0..count {
        let mut published = talk.publish(channel, event, json!(number)).await;
        if published["duplicate"] == true {
            // Published again, it may be answered with the place of a second, void record.
            let asked = json!({"channel": channel, "order": "desc", "limit": 1});
            published = talk.surely("history", asked).await["events"][0].take();
        }
        cursors.push(published["cursor"].as_str().unwrap().to_owned());
    }
    cursors
}

fn cursors(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.cursor.as_deref().unwrap())
        .collect()
}

pub(super) async fn every_kind_of_since(bed: &Bed, node: &Node) {
    let channel = "session.since";
    let token = bed.gm("u1");
    let mut talk = Talk::open(node, &token).await;

    // An empty channel is no error, and being up to date is said.
    let response = talk
        .subscribe(json!({"channel": channel, "since": "earliest"}))
        .await;
    assert_eq!(
        (&response["channel"], &response["recovered"]),
        (&json!(channel), &json!(true))
    );
    talk.caught_up(channel).await;
    let published = fill(&mut talk, channel, "draw", 5).await;
    assert!(
        published.is_sorted(),
        "cursors of later events sort later: {published:?}"
    );
    let live = talk.events(5).await;
    assert_eq!(cursors(&live), published);
    assert_eq!(live[0].prev, None);
    let chained = live.windows(2).all(|pair| pair[1].prev == pair[0].cursor);
    assert!(chained, "{live:?}");
    assert!(
        live.iter()
            .all(|event| event.user_id.as_deref() == Some("u1") && event.name == "draw")
    );

    let since = |since: Value| json!({"channel": channel, "since": since});
    let mut talk = Talk::open(node, &token).await;
    let time = live[2].timestamp_ms;
    let from_time: Vec<&str> = live
        .iter()
        .skip_while(|event| event.timestamp_ms < time)
        .map(|event| event.cursor.as_deref().unwrap())
        .collect();
    let cases: [(Value, &[&str]); 6] = [
        (json!("earliest"), &cursors(&live)),
        (json!(published[1]), &cursors(&live[2..])),
        (json!(published[4]), &[]),
        (json!({"last": 2}), &cursors(&live[3..])),
        (json!({"last": 1000}), &cursors(&live)),
        (json!({"time": time}), &from_time),
    ];
    for (from, expected) in cases {
        // A second subscribe replaces the first.
        let response = talk.subscribe(since(from.clone())).await;
        assert_eq!(response["recovered"], true, "{from}");
        if from.as_str().is_some_and(|from| from != "earliest") {
            assert_eq!(response["wasRecovering"], true, "{from}");
        }
        let events = talk.events(expected.len()).await;
        assert_eq!(cursors(&events), expected, "{from}");
        let reached = talk.caught_up(channel).await;
        assert!(
            reached.as_str() >= published[4].as_str(),
            "{from}: caught up at {reached}"
        );
        for event in &events {
            let same = live.iter().find(|live| live.id == event.id).unwrap();
            assert_eq!(
                event.raw, same.raw,
                "an event is the same bytes live and from the past"
            );
        }
    }

    // `latest` is the head: nothing of the past, no `caught_up`, and its cursor resumes there.
    let response = talk.subscribe(json!({"channel": channel})).await;
    assert_eq!(
        (&response["recovered"], &response["wasRecovering"]),
        (&json!(true), &json!(false))
    );
    let head = response["cursor"].clone();
    talk.quiet().await;
    let next = fill(&mut talk, channel, "draw", 1).await;
    assert_eq!(cursors(&talk.events(1).await), next);
    talk.subscribe(since(head)).await;
    assert_eq!(cursors(&talk.events(1).await), next);
    talk.caught_up(channel).await;

    // A time in the future is the head.
    let future = json!({"time": testbed::unix_ms() + 3_600_000});
    talk.subscribe(since(future)).await;
    talk.caught_up(channel).await;
    talk.quiet().await;
}

pub(super) async fn windows_types_and_unsubscribe(bed: &Bed, node: &Node) {
    let channel = "session.window";
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    let published = fill(&mut talk, channel, "draw", 6).await;
    talk.subscribe(json!({"channel": channel, "since": "earliest", "window": 2}))
        .await;
    assert_eq!(cursors(&talk.events(2).await), published[..2]);
    talk.quiet().await;
    talk.socket().send(format!(r#"{{"type":"request","method":"ack","params":{{"channel":"{channel}","cursor":"{}"}}}}"#, published[1])).await.unwrap();
    assert_eq!(cursors(&talk.events(2).await), published[2..4]);
    talk.quiet().await;
    let ahead = talk
        .call("ack", json!({"channel": channel, "cursor": published[5]}))
        .await
        .unwrap_err();
    assert_eq!(ahead.name, "CURSOR_INVALID");
    talk.call("ack", json!({"channel": channel, "cursor": published[3]}))
        .await
        .unwrap();
    assert_eq!(cursors(&talk.events(2).await), published[4..]);
    talk.call("ack", json!({"channel": channel, "cursor": published[0]}))
        .await
        .unwrap();
    talk.call("ack", json!({"channel": channel, "cursor": published[5]}))
        .await
        .unwrap();
    talk.caught_up(channel).await;

    fill(&mut talk, channel, "note.added", 1).await;
    talk.events(1).await;
    talk.subscribe(
        json!({"channel": channel, "since": "earliest", "types": ["note.added", "other"]}),
    )
    .await;
    let filtered = talk.events(1).await;
    assert_eq!(
        (filtered[0].name.as_str(), filtered[0].prev.as_deref()),
        ("note.added", Some(published[5].as_str()))
    );
    talk.caught_up(channel).await;
    fill(&mut talk, channel, "draw", 2).await;
    talk.quiet().await;

    assert_eq!(
        talk.call("unsubscribe", json!({"channel": channel}))
            .await
            .unwrap(),
        json!({})
    );
    fill(&mut talk, channel, "note.added", 1).await;
    talk.quiet().await;
    assert_eq!(
        talk.call("unsubscribe", json!({"channel": channel}))
            .await
            .unwrap(),
        json!({})
    );
    let without = talk
        .call("ack", json!({"channel": channel, "cursor": published[0]}))
        .await
        .unwrap_err();
    assert_eq!(without.name, "CURSOR_INVALID");
    let refreshed = talk
        .call("refresh", json!({"token": bed.gm("u1")}))
        .await
        .unwrap();
    assert!(refreshed["expiresAt"].is_i64());
    let other = talk
        .call("refresh", json!({"token": bed.gm("u2")}))
        .await
        .unwrap_err();
    assert_eq!(other.name, "PERMISSION_DENIED");
}

pub(super) async fn sugar_paths(bed: &Bed, node: &Node) {
    let token = bed.gm("u1");
    let mut publisher = Talk::open(node, &bed.backend()).await;
    for (path, channel) in [
        ("/ws/session/sugar", "session.sugar"),
        ("/ws/user/u1", "user.u1"),
        ("/ws/broadcast", "broadcast"),
    ] {
        let before = fill(&mut publisher, channel, "news", 2).await;
        let mut talk = Talk::open_at(node, &format!("{path}?since={}", before[0]), &token).await;
        match talk.next().await {
            ServerMessage::Subscribed { channel: of, data } => {
                let data: Value = serde_json::from_str(&data).unwrap();
                assert_eq!(
                    (of.as_str(), &data["recovered"], &data["wasRecovering"]),
                    (channel, &json!(true), &json!(true))
                );
            }
            other => panic!("{path}: {other:?}"),
        }
        assert_eq!(cursors(&talk.events(1).await), before[1..]);
        talk.caught_up(channel).await;
        let after = fill(&mut publisher, channel, "news", 1).await;
        assert_eq!(cursors(&talk.events(1).await), after);
    }
    // A refused one is told with its channel, and closed.
    let credential = Credential::Subprotocol(token);
    let opened = Socket::open(
        &node.endpoint(),
        "/ws/user/somebody",
        &credential,
        &SocketOptions::default(),
    )
    .await;
    let (mut socket, _) = opened.unwrap();
    match within("a refusal", socket.next()).await.unwrap() {
        ServerMessage::Error {
            id: None,
            channel: Some(channel),
            refusal,
        } => {
            assert_eq!(
                (channel.as_str(), refusal.name.as_str()),
                ("user.somebody", "PERMISSION_DENIED")
            );
        }
        other => panic!("{other:?}"),
    }
    within("a close", socket.next()).await.unwrap_err();
    assert_eq!(socket.close_frame().unwrap().0, 3503);
}

pub(super) async fn ways_in(bed: &Bed, node: &Node) {
    let token = bed.gm("u1");
    let options = SocketOptions::default();
    for credential in [
        Credential::Header(token.clone()),
        Credential::Subprotocol(token.clone()),
        Credential::FirstFrame(token.clone()),
    ] {
        let (mut socket, connected) = Socket::open(&node.endpoint(), "/ws", &credential, &options)
            .await
            .unwrap();
        assert_eq!(connected.user_id, "u1", "{credential:?}");
        assert_eq!(
            (connected.heartbeat_interval, connected.heartbeat_timeout),
            (25_000, 60_000)
        );
        assert!(connected.expires_at > testbed::unix_ms());
        assert!(!connected.connection_id.is_empty() && !connected.node.is_empty());
        // A client's heartbeat is answered by one.
        socket
            .send(r#"{"type":"event","event":"heartbeat"}"#.into())
            .await
            .unwrap();
        let answer = within("a heartbeat", socket.next()).await.unwrap();
        assert!(
            matches!(answer, ServerMessage::Heartbeat { .. }),
            "{answer:?}"
        );
    }
    let mut talk = Talk::open(node, &token).await;
    let again = talk
        .call("connect", json!({"token": token}))
        .await
        .unwrap_err();
    assert_eq!(again.name, "INVALID_MESSAGE");
}

pub(super) async fn addressed_events(bed: &Bed, node: &Node) {
    let channel = "session.whisper";
    let mut sender = Talk::open(node, &bed.gm("sender")).await;
    let mut addressee = Talk::open(node, &bed.gm("addressee")).await;
    let mut third = Talk::open(node, &bed.gm("third")).await;
    for talk in [&mut sender, &mut addressee, &mut third] {
        talk.subscribe(json!({"channel": channel})).await;
    }
    let first = fill(&mut sender, channel, "draw", 1).await.remove(0);
    let whisper =
        json!({"channel": channel, "event": "note.added", "data": 1, "to": ["addressee"]});
    let answer = sender.call("publish", whisper).await.unwrap();
    let whispered = answer["cursor"].as_str().unwrap();
    let last = fill(&mut sender, channel, "draw", 1).await.remove(0);
    let seen = addressee.events(3).await;
    assert_eq!(cursors(&seen), [first.as_str(), whispered, &last]);
    let addressed: Vec<bool> = seen.iter().map(|event| event.addressed).collect();
    assert_eq!(addressed, [false, true, false]);
    // It has a predecessor, and is nobody's.
    assert_eq!(seen[1].prev.as_ref(), Some(&first));
    assert_eq!(seen[2].prev.as_ref(), Some(&first));
    // Nobody else gets it, not even its sender, who was answered.
    for talk in [&mut sender, &mut third] {
        assert_eq!(cursors(&talk.events(2).await), [first.as_str(), &last]);
    }
    // From the past it is the same.
    third
        .subscribe(json!({"channel": channel, "since": "earliest"}))
        .await;
    assert_eq!(cursors(&third.events(2).await), [first.as_str(), &last]);
    third.caught_up(channel).await;
}

pub(super) async fn many_messages_in_one_frame(bed: &Bed, node: &Node) {
    let mut talk = Talk::open(node, &bed.gm("u1")).await;
    let ping = |id: &str| format!(r#"{{"type":"request","id":"{id}","method":"ping"}}"#);
    let frame = format!("\n{}\n\n{}\n{{\n{}", ping("a"), ping("b"), ping("c"));
    talk.socket().send(frame).await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(match talk.next().await {
            ServerMessage::Response { id, .. } => id,
            ServerMessage::Error { refusal, .. } => refusal.name,
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(answers, ["a", "b", "INVALID_MESSAGE", "c"]);
}

pub(super) async fn tokens_that_expire(bed: &Bed, node: &Node) {
    let short = || {
        bed.token("u1")
            .role("session.*", "gm")
            .expires_in(10)
            .mint()
    };
    let token = short();
    let mut refreshed = Talk::open(node, &short()).await;
    let mut expired = Talk::open(node, &token).await;
    let http = node.http(&token);
    let mut stream = http
        .sse(&["session.1".to_owned()], None, None, &[])
        .await
        .unwrap();
    for talk in [&mut refreshed, &mut expired] {
        let told = talk.next().await;
        assert!(
            matches!(
                told,
                ServerMessage::TokenExpiring {
                    expires_at: Some(_)
                }
            ),
            "{told:?}"
        );
    }
    let renewed = json!({"token": bed.gm("u1")});
    refreshed.call("refresh", renewed).await.unwrap();
    let ended = within("the end", expired.socket().next()).await;
    let told = match ended {
        Ok(ServerMessage::Error { refusal, .. }) => refusal.name,
        other => panic!("{other:?}"),
    };
    assert_eq!(told, "TOKEN_EXPIRED");
    within("the close", expired.socket().next())
        .await
        .unwrap_err();
    assert_eq!(expired.socket().close_frame().unwrap().0, 3501);
    // A stream is told by an event, then it ends.
    let mut told = None;
    while let Ok(message) = within("the stream's end", stream.next()).await {
        if let ServerMessage::Error { refusal, .. } = message {
            told = Some(refusal.name);
        }
    }
    assert_eq!(told.as_deref(), Some("TOKEN_EXPIRED"));
    refreshed.quiet().await;
}
