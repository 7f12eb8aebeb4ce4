//! The vectors in `protocol/golden/`, which clients in other languages are tested against too.
//!
//! What a file takes as given stands in it; what follows from that is computed here and compared.
//! `RIVERMOUTH_GOLDEN=write cargo test -p protocol --lib golden` writes the files anew: then read the
//! difference, since every line of it changes the protocol.

use std::path::PathBuf;

use serde_json::{Value, json};

use schemas::Channel;

use crate::client::{self, Call, Message, Publish, Since, Subscribe};
use crate::server::{self, Connected, EventFrame, GapReason, Subscription};
use crate::{Cursors, ErrorName, Position, ProtocolError};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name)
}

fn given(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

fn compare(name: &str, computed: &Value) {
    if std::env::var_os("RIVERMOUTH_GOLDEN").is_some_and(|v| v == "write") {
        let mut text = serde_json::to_string_pretty(computed).unwrap();
        text.push('\n');
        std::fs::write(path(name), text).unwrap();
    }
    let stored = given(name);
    if let (Some(a), Some(b)) = (stored.as_array(), computed.as_array()) {
        for (a, b) in a.iter().zip(b) {
            assert_eq!(a, b, "{name}");
        }
    }
    assert_eq!(&stored, computed, "{name}");
}

fn position(row: &Value) -> (Channel, Position) {
    let channel = Channel::parse(row["channel"].as_str().unwrap()).unwrap();
    let position = Position {
        generation: u16::try_from(row["generation"].as_u64().unwrap()).unwrap(),
        partition: i32::try_from(row["partition"].as_i64().unwrap()).unwrap(),
        // A string, since readers in JavaScript could not hold the largest.
        next: row["next"].as_str().unwrap().parse().unwrap(),
    };
    (channel, position)
}

#[test]
fn cursors_are_as_stored() {
    let mut file = given("cursors.json");
    let hex = file["key"].as_str().unwrap();
    let key = u128::from_str_radix(hex, 16).unwrap().to_be_bytes();
    let cursors = Cursors::new(key);
    for row in file["channel"].as_array_mut().unwrap() {
        let (channel, position) = position(row);
        let cursor = cursors.encode(&channel, position);
        assert_eq!(cursors.decode(&channel, &cursor), Ok(position));
        row["cursor"] = cursor.into();
    }
    for row in file["stream"].as_array_mut().unwrap() {
        let entries: Vec<_> = row["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(position)
            .collect();
        let cursor = cursors.encode_stream(&entries);
        for (channel, position) in &entries {
            assert_eq!(cursors.decode(channel, &cursor), Ok(*position));
        }
        row["cursor"] = cursor.into();
    }
    let ours = Channel::parse("session.42").unwrap();
    for text in file["invalid"].as_array().unwrap() {
        assert!(cursors.decode(&ours, text.as_str().unwrap()).is_err());
    }
    compare("cursors.json", &file);
}

#[test]
fn client_messages_mean_what_is_stored() {
    let mut file = given("client.json");
    for row in file["accepted"].as_array_mut().unwrap() {
        let message = client::parse(row["line"].as_str().unwrap().as_bytes());
        row["means"] = describe(&message.unwrap());
    }
    for row in file["refused"].as_array_mut().unwrap() {
        let refused = client::parse(row["line"].as_str().unwrap().as_bytes()).unwrap_err();
        row["answer"] = json!({
            "id": refused.id,
            "channel": refused.channel,
            "publishId": refused.publish_id,
            "error": refused.error.name.as_str(),
            "malformed": refused.malformed,
        });
    }
    compare("client.json", &file);
}

fn describe(message: &Message) -> Value {
    match message {
        Message::Heartbeat => json!({"heartbeat": true}),
        Message::Publish(publish) => json!({"publish": describe_publish(publish)}),
        Message::Request { id, call } => json!({"id": id, "request": describe_call(call)}),
    }
}

fn describe_call(call: &Call) -> Value {
    match call {
        Call::Connect {
            token,
            name,
            version,
        } => {
            json!({"connect": {"token": token, "name": name, "version": version}})
        }
        Call::Refresh { token } => json!({"refresh": {"token": token}}),
        Call::Ping => json!({"ping": {}}),
        Call::Subscribe(subscribe) => json!({"subscribe": describe_subscribe(subscribe)}),
        Call::Unsubscribe { channel } => json!({"unsubscribe": {"channel": channel}}),
        Call::Publish(publish) => json!({"publish": describe_publish(publish)}),
        Call::Ack { channel, cursor } => json!({"ack": {"channel": channel, "cursor": cursor}}),
        Call::History(h) => json!({"history": {
            "channel": h.channel, "after": h.after, "before": h.before, "from": h.from, "to": h.to,
            "types": h.types, "limit": h.limit, "order": format!("{:?}", h.order()).to_lowercase(),
        }}),
        Call::Snapshot(s) => json!({"snapshot": {"channel": s.channel, "at": s.at}}),
        Call::Unserved(name) => json!({"unserved": name}),
    }
}

fn describe_subscribe(s: &Subscribe) -> Value {
    let since = match &s.since {
        Since::Latest => json!("latest"),
        Since::Earliest => json!("earliest"),
        Since::Cursor(cursor) => json!({"cursor": cursor}),
        Since::Time(ms) => json!({"time": ms}),
        Since::Last(n) => json!({"last": n}),
    };
    json!({
        "channel": s.channel, "since": since, "types": s.types, "window": s.window,
        "snapshot": s.snapshot, "durable": s.durable, "presence": s.presence, "maxRate": s.max_rate,
    })
}

fn describe_publish(p: &Publish) -> Value {
    json!({
        "channel": p.channel,
        "event": p.event,
        "dataText": String::from_utf8(p.data.to_vec()).unwrap(),
        "id": p.id,
        "lane": p.lane,
        "to": p.to,
        "outbox": p.outbox.as_ref().map(|o| json!({"producer": o.producer, "epoch": o.epoch, "seq": o.seq})),
    })
}

#[test]
fn server_messages_are_as_stored() {
    let rows: Vec<Value> = server_messages()
        .into_iter()
        .map(|(name, line)| json!({"name": name, "line": String::from_utf8(line).unwrap()}))
        .collect();
    compare("server.json", &Value::Array(rows));
}

fn server_messages() -> Vec<(&'static str, Vec<u8>)> {
    const NOW: i64 = 1_763_683_200_123;
    let cursors = Cursors::new(*b"0123456789abcdef");
    let channel = Channel::parse("session.42").unwrap();
    let at = |next| {
        cursors.encode(
            &channel,
            Position {
                generation: 0,
                partition: 3,
                next,
            },
        )
    };
    let (one, two) = (at(1), at(2));
    let hello = Connected {
        connection_id: "c-1",
        user_id: "u1",
        node: "n-1",
        heartbeat_interval_ms: 25_000,
        heartbeat_timeout_ms: 60_000,
        message_bytes_max: 65_536,
        expires_at_ms: NOW + 60_000,
        now_ms: NOW,
        cursor: None,
    };
    let durable = EventFrame {
        channel: "session.42",
        event: "draw",
        id: "0192f0c5-0000-7000-8000-000000000000",
        user_id: Some("u1"),
        data: br#"{"tool":"pen","points":[{"x":1.50,"y":-0}],"text":"\u00e9 \" \\ /"}"#,
        timestamp_ms: NOW,
        cursor: Some(&two),
        prev: Some(&one),
        addressed: false,
        replaced: None,
        replay: false,
    };
    let first = EventFrame {
        cursor: Some(&one),
        prev: None,
        user_id: None,
        data: b"null",
        ..durable
    };
    let moved = EventFrame {
        event: "cursor.move",
        cursor: None,
        prev: None,
        ..durable
    };
    let begun = Subscription {
        channel: "session.42",
        cursor: &one,
        recovered: true,
        was_recovering: true,
        snapshot: None,
    };
    let state = br#"{"jobId":"9f","status":"running","progress":50,"message":null,"error":null,"ownerId":"u1","kind":"export","createdAt":1763683200000,"updatedAt":1763683200123,"finishedAt":null}"#;
    let with_state = Subscription {
        channel: "jobs.9f",
        snapshot: Some(state),
        ..begun
    };
    let frames = [server::event(&first), server::event(&durable)];
    let lost = server::gap_data(Some(&one), Some(&two), GapReason::Retention);
    let denied = ProtocolError::denied("no right to read session.43");
    let limited = ProtocolError::rate_limited(600).with_details(json!({"publishId": "p1"}));
    let mut rows = vec![
        ("connected", server::connected(&hello)),
        (
            "connected on a stream",
            server::connected(&Connected {
                cursor: Some(&one),
                ..hello
            }),
        ),
        ("event, the first", frames[0].clone()),
        ("event", frames[1].clone()),
        (
            "event, addressed",
            server::event(&EventFrame {
                addressed: true,
                ..durable
            }),
        ),
        ("event, ephemeral", server::event(&moved)),
        (
            "event, conflated",
            server::event(&EventFrame {
                replaced: Some(3),
                ..moved
            }),
        ),
        (
            "event, strange user",
            server::event(&EventFrame {
                user_id: Some("\"\\\u{7f}\u{2028}é😀"),
                ..durable
            }),
        ),
        (
            "response of ping",
            server::response("1", &json!({"serverTime": NOW})),
        ),
        (
            "response of publish",
            server::response("1", &json!({"id": "p1", "cursor": two, "duplicate": false})),
        ),
        (
            "response of subscribe",
            server::response_raw("1", &server::subscription(&begun)),
        ),
        (
            "response of subscribe, with a snapshot",
            server::response_raw("1", &server::subscription(&with_state)),
        ),
        (
            "response of snapshot",
            server::response_raw("1", &server::snapshot(&two, state)),
        ),
        (
            "snapshot on a stream",
            server::snapshot_event("jobs.9f", &two, state),
        ),
        (
            "response of connect",
            server::response_raw("1", &hello.data()),
        ),
        (
            "response of history",
            server::response_raw("1", &server::history(&frames, Some(&two), false, None)),
        ),
        (
            "response of history, partly erased",
            server::response_raw("1", &server::history(&frames, None, true, Some(&lost))),
        ),
        (
            "error of a request",
            server::error(Some("1"), Some("session.43"), &denied, NOW),
        ),
        (
            "error of a publish without answer",
            server::error(None, Some("session.42"), &limited, NOW),
        ),
        (
            "body of a refusal",
            server::error_body(&denied, Some("session.43"), NOW),
        ),
        ("line of a batch", server::error_line(&limited, Some("p1"))),
        ("caught_up", server::caught_up("session.42", &two)),
        (
            "gap",
            server::gap("session.42", Some(&one), Some(&two), GapReason::Retention),
        ),
        (
            "gap after a topic was made anew",
            server::gap("session.42", None, None, GapReason::Epoch),
        ),
        ("lagging", server::lagging("session.42")),
        ("stale", server::stale("session.42", NOW - 4_000, NOW)),
        ("fresh", server::fresh("session.42", NOW)),
        ("heartbeat", server::heartbeat(NOW, None)),
        ("heartbeat on a stream", server::heartbeat(NOW, Some(&one))),
        (
            "subscribed",
            server::subscribed(
                "session.42",
                &server::subscription(&Subscription {
                    was_recovering: false,
                    ..begun
                }),
            ),
        ),
        ("token_expiring", server::token_expiring(NOW)),
        ("body of a poll", server::poll(&frames, &two, None)),
    ];
    rows.extend(ErrorName::ALL.iter().map(|name| {
        (
            name.as_str(),
            server::error(None, None, &ProtocolError::new(*name, "why"), NOW),
        )
    }));
    rows
}
