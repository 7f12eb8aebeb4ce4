//! What does not get in, and what it is told.

use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::web::{Answer, Web};
use crate::world::{DEADLINE, ORIGIN, World, player, token};

const PUBLISH: &str = "/api/realtime/publish";
const GOOD: &str = r#"{"channel":"session.1","event":"draw"}"#;

/// A refusal tells a name and a sentence, and nothing of what is inside.
fn refused(answer: &Answer, status: u16, name: &str, case: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (status, name),
        "{case}"
    );
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for inside in [
        "/home/", ".rs", "src/", "panicked", "rdkafka", "fjall", "sqlx", "serde", "it-",
    ] {
        assert!(!text.contains(inside), "{case}: {text}");
    }
}

pub async fn f38_every_bad_input_has_its_code_and_none_gets_in(world: World) {
    let (node, web) = (world.node().await, Web::new());
    let user = player("u1");
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let with = |data: &str| format!(r#"{{"channel":"session.1","event":"draw","data":{data}}}"#);
    let invalid = [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "\"text\"".to_owned(),
        "{".to_owned(),
        format!("{GOOD}{GOOD}"),
        format!("{GOOD} x"),
        "{\"channel\":\"session.1\",\"event\":\"draw\",}".to_owned(),
        r#"{"event":"draw"}"#.to_owned(),
        r#"{"channel":"session.1"}"#.to_owned(),
        r#"{"channel":7,"event":"draw"}"#.to_owned(),
        r#"{"channel":"session.1","event":{}}"#.to_owned(),
        r#"{"channel":"session.1.2","event":"draw"}"#.to_owned(),
        r#"{"channel":"Session.1","event":"draw"}"#.to_owned(),
        r#"{"channel":"session.","event":"draw"}"#.to_owned(),
        r#"{"channel":"session","event":"draw"}"#.to_owned(),
        r#"{"channel":"session.a b","event":"draw"}"#.to_owned(),
        r#"{"channel":"session.1","event":"9draw"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw\nid: x"}"#.to_owned(),
        r#"{"channel":"session.1","event":""}"#.to_owned(),
        format!(r#"{{"channel":"session.1","event":"{}"}}"#, "d".repeat(65)),
        r#"{"channel":"session.1","event":"draw","id":"a b"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","id":7}"#.to_owned(),
        format!(r#"{{"channel":"session.1","event":"draw","id":"{}"}}"#, "i".repeat(65)),
        r#"{"channel":"session.1","event":"draw","id":"01000000-0000-7000-8000-000000000000"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","id":"ffffffff-ffff-7000-8000-000000000000"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","lane":"fast"}"#.to_owned(),
        r#"{"channel":"session.1","event":"cursor.move","lane":"durable"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","to":[]}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","to":[7]}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":-1,"seq":0}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":0,"seq":1.5}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":0,"seq":-1}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":0,"seq":"0"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":0,"seq":9007199254740992}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":9007199254740992,"seq":0}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":-9223372036854775808,"seq":0}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":0,"seq":99999999999999999999}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"","epoch":0,"seq":0}"#.to_owned(),
        r#"{"channel":"session.1","event":"cursor.move","producer":"p","epoch":0,"seq":0}"#.to_owned(),
        // Rules for data and for everything around it.
        r#"{"channel":"session.1","channel":"session.1","event":"draw"}"#.to_owned(),
        with(r#"{"a":1,"a":2}"#),
        with(r#"{"a":{"b":1,"b":1}}"#),
        with(r#"{"a":1,"\u0061":2}"#),
        with(&deep(33)),
        with(&deep(20_000)),
        format!(r#"{{"channel":"session.1","event":"draw","extra":{}}}"#, deep(9)),
        with(r#""\u0000""#),
        with(r#"{"\u0000":1}"#),
        with(r#""\ud800""#),
        with("1e309"),
        with("1e-400"),
        with(&"9".repeat(65)),
        with("NaN"),
        with("01"),
        with("'x'"),
        with("\"\u{1}\""),
    ];
    for text in &invalid {
        let answer = web.publish(&node, &user, text.clone()).await;
        refused(
            &answer,
            400,
            "INVALID_MESSAGE",
            &text.chars().take(120).collect::<String>(),
        );
    }
    let answer = web
        .publish(
            &node,
            &user,
            &b"{\"channel\":\"session.1\",\"event\":\"draw\",\"data\":\"\xff\"}"[..],
        )
        .await;
    refused(&answer, 400, "INVALID_MESSAGE", "bad UTF-8");

    let huge = with(&format!("\"{}\"", "x".repeat(65_536)));
    let answer = web.publish(&node, &user, huge).await;
    refused(&answer, 413, "MESSAGE_TOO_LARGE", "over 64 KiB");
    let nowhere = r#"{"channel":"nowhere.1","event":"draw"}"#;
    refused(
        &web.publish(&node, &user, nowhere).await,
        404,
        "CHANNEL_NOT_FOUND",
        nowhere,
    );
    for text in [
        r#"{"channel":"session.1","event":"clear"}"#,
        r#"{"channel":"jobs.9","event":"job.update","data":{"jobId":"9","status":"queued"}}"#,
        r#"{"channel":"user.u1","event":"notification"}"#,
        r#"{"channel":"broadcast","event":"news"}"#,
        r#"{"channel":"activity.1","event":"chat.message"}"#,
        r#"{"channel":"session.1","event":"gap"}"#,
    ] {
        refused(
            &web.publish(&node, &user, text).await,
            403,
            "PERMISSION_DENIED",
            text,
        );
    }

    let bearer = format!("Bearer {user}");
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "application/json; charset=utf-16"),
        ("content-encoding", "gzip"),
        ("content-encoding", "br"),
        ("idempotency-key", "a b"),
    ] {
        let headers = [("authorization", bearer.as_str()), (name, value)];
        let answer = web.send(&node, Method::POST, PUBLISH, &headers, GOOD).await;
        refused(&answer, 400, "INVALID_MESSAGE", value);
    }
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", "one"),
    ];
    let body = r#"{"channel":"session.1","event":"draw","id":"two"}"#;
    let answer = web.send(&node, Method::POST, PUBLISH, &headers, body).await;
    refused(&answer, 400, "INVALID_MESSAGE", "two ids");
    let headers = [
        headers[0],
        headers[1],
        ("content-type", "application/x-ndjson"),
    ];
    let answer = web.send(&node, Method::POST, PUBLISH, &headers, GOOD).await;
    refused(&answer, 400, "INVALID_MESSAGE", "one key for a batch");

    assert!(
        world.read(world.topics.events()).await.is_empty(),
        "nothing of it got in"
    );
    let answer = web.publish(&node, &user, with(&deep(32))).await;
    assert_eq!(answer.status, 200, "and the limit itself is allowed");
}

pub async fn every_bad_credential_is_401(world: World) {
    let (node, web) = (world.node().await, Web::new());
    let good = player("u1");
    let (head, signature) = good.rsplit_once('.').unwrap();
    let flipped = format!("{head}.{}", signature.chars().rev().collect::<String>());
    let cases: Vec<(String, Vec<(&str, String)>)> = vec![
        (PUBLISH.to_owned(), vec![]),
        (PUBLISH.to_owned(), vec![("authorization", String::new())]),
        (PUBLISH.to_owned(), vec![("authorization", good.clone())]),
        (
            PUBLISH.to_owned(),
            vec![("authorization", "Bearer".to_owned())],
        ),
        (
            PUBLISH.to_owned(),
            vec![("authorization", "Bearer x.y.z".to_owned())],
        ),
        (
            PUBLISH.to_owned(),
            vec![("authorization", format!("Basic {good}"))],
        ),
        (
            PUBLISH.to_owned(),
            vec![("authorization", format!("Bearer {flipped}"))],
        ),
        (
            PUBLISH.to_owned(),
            vec![
                ("authorization", format!("Bearer {good}")),
                ("authorization", format!("Bearer {good}")),
            ],
        ),
        (
            PUBLISH.to_owned(),
            vec![("cookie", format!("rivermouth_token={good}"))],
        ),
        (
            format!("{PUBLISH}?token={good}"),
            vec![("authorization", format!("Bearer {good}"))],
        ),
        (
            format!("{PUBLISH}?a=1&jwt="),
            vec![("authorization", format!("Bearer {good}"))],
        ),
        (
            format!("{PUBLISH}?%61ccess_token=x"),
            vec![("authorization", format!("Bearer {good}"))],
        ),
    ];
    for (path, headers) in &cases {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = web.send(&node, Method::POST, path, &headers, GOOD).await;
        refused(
            &answer,
            401,
            "AUTH_REQUIRED",
            &format!("{path} {headers:?}"),
        );
        assert!(!String::from_utf8_lossy(&answer.body).contains(signature));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let expired = protocol::token::mint(
        crate::world::SECRET,
        &protocol::token::Claims::new("u1", service::http::now_ms() / 1_000 - 60),
    )
    .unwrap();
    refused(
        &web.publish(&node, &expired, GOOD).await,
        401,
        "TOKEN_EXPIRED",
        "expired",
    );
    let stranger = token("u2", &[], &[]);
    refused(
        &web.publish(&node, &stranger, GOOD).await,
        403,
        "PERMISSION_DENIED",
        "no role",
    );
    assert!(world.read(world.topics.events()).await.is_empty());
}

pub async fn origins_are_judged_before_anything_else(world: World) {
    let (node, web) = (world.node().await, Web::new());
    let bearer = format!("Bearer {}", player("u1"));
    for origin in [
        "null",
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil",
    ] {
        let headers = [("authorization", bearer.as_str()), ("origin", origin)];
        let answer = web.send(&node, Method::POST, PUBLISH, &headers, GOOD).await;
        refused(&answer, 403, "PERMISSION_DENIED", origin);
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("vary"), Some("Origin"));
        let answer = web
            .send(&node, Method::OPTIONS, PUBLISH, &headers, "")
            .await;
        refused(&answer, 403, "PERMISSION_DENIED", origin);
    }
    assert!(world.read(world.topics.events()).await.is_empty());

    let answer = web
        .send(&node, Method::OPTIONS, PUBLISH, &[("origin", ORIGIN)], "")
        .await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        Some("true")
    );
    let allowed = "authorization, content-type, idempotency-key, last-event-id";
    assert_eq!(answer.header("access-control-allow-headers"), Some(allowed));
    assert_eq!(answer.header("vary"), Some("Origin"));
    // Good answers and bad ones alike: a page must be able to read why it was refused.
    for (authorization, status) in [(bearer.as_str(), 200), ("Bearer x", 401)] {
        let headers = [("authorization", authorization), ("origin", ORIGIN)];
        let answer = web.send(&node, Method::POST, PUBLISH, &headers, GOOD).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
    }
}

pub async fn unknown_paths_and_methods_are_coded(world: World) {
    let (node, web) = (world.node().await, Web::new());
    for path in [
        "/",
        "/api",
        "/api/realtime/publish/",
        "/api/realtime/nothing",
        "/metrics",
    ] {
        let answer = web.send(&node, Method::GET, path, &[], "").await;
        refused(&answer, 404, "NOT_FOUND", path);
    }
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = web.send(&node, method.clone(), PUBLISH, &[], "").await;
        refused(&answer, 405, "METHOD_NOT_ALLOWED", method.as_str());
        assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
    }
}

pub async fn a_body_that_never_comes_is_given_up(world: World) {
    let node = world.impatient_node(Duration::from_millis(500)).await;
    let mut socket = TcpStream::connect(node.address).await.unwrap();
    let head = format!(
        "POST {PUBLISH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 100\r\n\r\n{{",
        player("u1")
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, socket.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains("\"TIMEOUT\""), "{answer}");
}
