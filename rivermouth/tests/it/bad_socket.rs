//! Bad input over WebSocket: every refusal is a coded error, costs the sender only, and shows nothing of the inside.

use client::{Credential, Refusal, ServerMessage, Socket, SocketOptions};
use serde_json::{Value, json};
use testbed::{Bed, Node, within};

use crate::BINARY;
use crate::raw::{RawSocket, frame};
use crate::talk::Talk;

/// Neither paths nor SQL nor the names of what we are built on.
pub(crate) fn assert_says_nothing_of_the_inside(refusal: &Refusal) {
    let text = format!("{} {:?}", refusal.message, refusal.details).to_lowercase();
    for inside in [
        "/src/",
        ".rs:",
        "panicked",
        "select ",
        "insert ",
        "sqlx",
        "postgres",
        "rdkafka",
        "librdkafka",
        "backtrace",
    ] {
        assert!(!text.contains(inside), "{refusal:?}");
    }
}

/// Publishes that are wrong by their content: the same over every door.
pub(crate) fn bad_publishes() -> Vec<(&'static str, String)> {
    let data = |data: &str| format!(r#"{{"channel":"session.1","event":"draw","data":{data}}}"#);
    let nested = |depth: usize| data(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    let invalid = [
        "{}".to_owned(),
        r#"{"channel":"session.1"}"#.to_owned(),
        r#"{"event":"draw"}"#.to_owned(),
        r#"{"channel":7,"event":"draw"}"#.to_owned(),
        r#"{"channel":"session.1","event":["draw"]}"#.to_owned(),
        r#"{"channel":"","event":"draw"}"#.to_owned(),
        r#"{"channel":"session","event":"draw"}"#.to_owned(),
        r#"{"channel":"session.","event":"draw"}"#.to_owned(),
        r#"{"channel":"session.1.2","event":"draw"}"#.to_owned(),
        r#"{"channel":"Session.1","event":"draw"}"#.to_owned(),
        r#"{"channel":"session.a b","event":"draw"}"#.to_owned(),
        format!(
            r#"{{"channel":"session.{}","event":"draw"}}"#,
            "x".repeat(129)
        ),
        r#"{"channel":"session.1","event":""}"#.to_owned(),
        r#"{"channel":"session.1","event":"two words"}"#.to_owned(),
        r#"{"channel":"session.1","event":".draw"}"#.to_owned(),
        format!(r#"{{"channel":"session.1","event":"{}"}}"#, "x".repeat(65)),
        r#"{"channel":"session.1","event":"draw","id":5}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","id":""}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","id":"a/b"}"#.to_owned(),
        format!(
            r#"{{"channel":"session.1","event":"draw","id":"{}"}}"#,
            "x".repeat(65)
        ),
        // UUIDv7s of 2020 and of the far future.
        r#"{"channel":"session.1","event":"draw","id":"01700000-0000-7000-8000-000000000000"}"#
            .to_owned(),
        r#"{"channel":"session.1","event":"draw","id":"ffffffff-ffff-7fff-bfff-ffffffffffff"}"#
            .to_owned(),
        r#"{"channel":"session.1","event":"draw","lane":"fast"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","to":"u2"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","to":[1]}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":0}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":-1,"seq":0}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":0,"seq":1.5}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p q","epoch":0,"seq":0}"#.to_owned(),
        r#"{"channel":"session.1","channel":"session.2","event":"draw"}"#.to_owned(),
        data(r#"{"a":1,"a":2}"#),
        data(r#"{"a":{"b":1,"\u0062":2}}"#),
        data(r#""\u0000""#),
        data(r#""\ud800""#),
        data(r#""\udc00\ud800""#),
        data("1e309"),
        data("1e-400"),
        data(&"9".repeat(65)),
        data("01"),
        data("+1"),
        data("NaN"),
        data("'x'"),
        data("[1,]"),
        data(r#"{"a"}"#),
        data("\"\n\""),
        nested(33),
        nested(20_000),
    ];
    let mut all: Vec<(&str, String)> = invalid
        .into_iter()
        .map(|body| ("INVALID_MESSAGE", body))
        .collect();
    all.push((
        "CHANNEL_NOT_FOUND",
        r#"{"channel":"nowhere.1","event":"draw"}"#.to_owned(),
    ));
    all.push((
        "PERMISSION_DENIED",
        r#"{"channel":"broadcast","event":"draw"}"#.to_owned(),
    ));
    all.push((
        "PERMISSION_DENIED",
        r#"{"channel":"user.u2","event":"draw"}"#.to_owned(),
    ));
    all.push((
        "PERMISSION_DENIED",
        r#"{"channel":"docs.1","event":"draw"}"#.to_owned(),
    ));
    all.push((
        "PERMISSION_DENIED",
        r#"{"channel":"jobs.1","event":"job.update"}"#.to_owned(),
    ));
    all
}

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
    entry(&bed, &node).await;
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
    let cursor = talk.publish("session.c1", "draw", json!(1)).await["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
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

    // More than the bucket holds: the rest is told when to come back.
    let mut talk = Talk::open(node, &bed.gm("greedy")).await;
    let mut refused: Option<Refusal> = None;
    for _ in 0..5_000 {
        match talk
            .call("publish", json!({"channel": "session.2", "event": "draw"}))
            .await
        {
            Ok(_) => {}
            Err(refusal) => {
                refused = Some(refusal);
                break;
            }
        }
    }
    let refusal = refused.expect("a bucket of 100 is not endless");
    assert_eq!(
        (refusal.name.as_str(), refusal.retryable),
        ("RATE_LIMIT_EXCEEDED", true)
    );
    assert!(
        refusal
            .retry_after_ms
            .is_some_and(|ms| (1..=1000).contains(&ms)),
        "{refusal:?}"
    );
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
    let forged = json!({"channel": "session.forged", "event": "draw", "userId": "admin", "timestamp": 1, "cursor": "x", "prev": "y"});
    talk.call("publish", forged).await.unwrap();
    let event = talk.event().await;
    assert_eq!(event.user_id.as_deref(), Some("u1"));
    assert!(event.timestamp_ms > 1);
}

/// Credentials and frames that end a connection, with the code that says why.
async fn entry(bed: &Bed, node: &Node) {
    let good = bed.gm("u1");
    let tampered = {
        let (head, signature) = good.rsplit_once('.').unwrap();
        format!("{head}.{}", signature.chars().rev().collect::<String>())
    };
    for (token, code, name) in [
        ("nonsense".to_owned(), 3500, "AUTH_REQUIRED"),
        (tampered, 3500, "AUTH_REQUIRED"),
        (none_algorithm(&good), 3500, "AUTH_REQUIRED"),
        (bed.token("u1").expires_in(-5).mint(), 3501, "TOKEN_EXPIRED"),
    ] {
        for credential in [
            Credential::Header(token.clone()),
            Credential::Subprotocol(token.clone()),
        ] {
            let socket = Socket::handshake(
                &node.endpoint(),
                "/ws",
                &credential,
                &SocketOptions::default(),
            )
            .await;
            let mut socket = socket.unwrap();
            match within("an error", socket.next()).await.unwrap() {
                ServerMessage::Error { refusal, .. } => assert_eq!(refusal.name, name, "{token}"),
                other => panic!("{other:?}"),
            }
            within("a close", socket.next()).await.unwrap_err();
            assert_eq!(socket.close_frame().unwrap().0, code, "{token}");
        }
    }
    // Without any credential nothing but `connect` is heard.
    let mut socket = RawSocket::open(node, None).await;
    socket
        .frame(0x81, br#"{"type":"request","id":"1","method":"ping"}"#)
        .await;
    let (code, said) = socket.closed().await;
    assert_eq!(code, 3500, "{said}");
    let mut socket = RawSocket::open(node, None).await;
    socket.frame(0x81, &[b' '; 9 * 1024]).await;
    let (code, said) = socket.closed().await;
    assert!(
        code == 1009 && said.contains("MESSAGE_TOO_LARGE"),
        "{code} {said}"
    );

    let origin = |origin: &str| SocketOptions {
        origin: Some(origin.to_owned()),
        ..SocketOptions::default()
    };
    let credential = Credential::Subprotocol(good.clone());
    for bad in [
        "https://evil.example",
        "null",
        "http://app.example.org",
        "https://app.example.org.evil",
        "https://app.example.org:444",
    ] {
        let refused = Socket::open(&node.endpoint(), "/ws", &credential, &origin(bad))
            .await
            .unwrap_err();
        assert_eq!(
            refused.name(),
            Some("PERMISSION_DENIED"),
            "{bad}: {refused}"
        );
    }
    Socket::open(
        &node.endpoint(),
        "/ws",
        &credential,
        &origin("https://app.example.org"),
    )
    .await
    .unwrap();
    let refused = Socket::open(
        &node.endpoint(),
        &format!("/ws?token={good}"),
        &credential,
        &SocketOptions::default(),
    )
    .await;
    assert_eq!(
        refused.unwrap_err().name(),
        Some("AUTH_REQUIRED"),
        "a token in the query refuses whatever else there is"
    );

    let ping = br#"{"type":"request","id":"1","method":"ping"}"#;
    let mut unmasked = vec![0x81, u8::try_from(ping.len()).unwrap()];
    unmasked.extend(ping);
    let huge = [
        vec![0x81, 0xff],
        (1u64 << 40).to_be_bytes().to_vec(),
        vec![1, 2, 3, 4],
    ]
    .concat();
    let fragments: Vec<u8> = (0..9)
        .flat_map(|at| frame(if at == 0 { 0x01 } else { 0x00 }, &[b'x'; 32 * 1024]))
        .collect();
    for (what, bytes, codes) in [
        ("unmasked", unmasked, [1002, 1002]),
        ("reserved bits", frame(0xc1, ping), [1002, 1002]),
        ("an unknown opcode", frame(0x83, ping), [1002, 1002]),
        ("a long control frame", frame(0x89, &[0; 126]), [1002, 1002]),
        ("a split control frame", frame(0x09, b"x"), [1002, 1002]),
        ("a continuation of nothing", frame(0x80, ping), [1002, 1002]),
        (
            "broken UTF-8",
            frame(0x81, &[b'"', 0xff, 0xfe, b'"']),
            [1007, 1007],
        ),
        ("a binary frame", frame(0x82, ping), [1003, 1003]),
        (
            "a frame over the limit",
            frame(0x81, &vec![b' '; 262_145]),
            [1009, 1009],
        ),
        ("a length that nobody means", huge, [1009, 1009]),
        ("fragments over the limit", fragments, [1009, 1009]),
        (
            "a hundred unreadable messages",
            frame(0x81, "{\n".repeat(100).as_bytes()),
            [1008, 1008],
        ),
    ] {
        let mut socket = RawSocket::open(node, Some(&good)).await;
        socket.send(&bytes).await;
        let (code, said) = socket.closed().await;
        assert!(
            codes.contains(&code),
            "{what}: closed with {code} after {said}"
        );
    }
}

/// The same claims under `alg: none`.
pub(crate) fn none_algorithm(token: &str) -> String {
    let claims = token.split('.').nth(1).unwrap();
    // {"alg":"none","typ":"JWT"}
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
}

/// So that a reader of the table sees what the JSON of a test is.
#[test]
fn every_bad_publish_is_another() {
    let mut bodies: Vec<String> = bad_publishes().into_iter().map(|(_, body)| body).collect();
    let count = bodies.len();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), count);
    assert!(
        bodies
            .iter()
            .all(|body| serde_json::from_str::<Value>(body).is_err() || body.starts_with('{'))
    );
}
