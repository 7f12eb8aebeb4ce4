//! Bad input over HTTP, at `ingest` and at `fanout`, which serve the same doors.

use std::time::Duration;

use client::{Answer, Http};
use http::Method;
use testbed::{Bed, Node, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::BINARY;
use crate::bad::{assert_says_nothing_of_the_inside, bad_publishes, none_algorithm};
use crate::insisting::surely;
use crate::traffic::publish_surely;

const JSON: (&str, &str) = ("content-type", "application/json");
const LINES: (&str, &str) = ("content-type", "application/x-ndjson");
const PUBLISH: &str = "/api/realtime/publish";

async fn post(http: &Http, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> Answer {
    http.call(Method::POST, PUBLISH, headers, body)
        .await
        .unwrap()
}

/// Asserts a coded refusal, with its status and a body that says nothing of the inside.
fn refused(what: &str, answer: &Answer, status: u16, name: &str) {
    let refusal = answer
        .refusal()
        .unwrap_or_else(|| panic!("{what}: no error in {answer:?}"));
    assert_eq!(
        (answer.status.as_u16(), refusal.name.as_str()),
        (status, name),
        "{what}: {refusal:?}"
    );
    assert!(answer.json().unwrap()["timestamp"].is_i64(), "{what}");
    assert_says_nothing_of_the_inside(&refusal);
}

fn status_of(name: &str) -> u16 {
    match name {
        "INVALID_MESSAGE" => 400,
        "PERMISSION_DENIED" => 403,
        "CHANNEL_NOT_FOUND" => 404,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_status_and_code() {
    let bed = Bed::on_kafka(BINARY).await;
    let (fanout, ingest) = tokio::join!(bed.start("fanout"), bed.start("ingest"));
    for node in [&fanout, &ingest] {
        publishes(&bed, node).await;
        credentials(&bed, node).await;
        framing(node).await;
        let http = node.http(&bed.gm("u1"));
        refused(
            "an unknown path",
            &http.get("/api/realtime/nothing").await.unwrap(),
            404,
            "NOT_FOUND",
        );
        refused(
            "a wrong method",
            &http.get(PUBLISH).await.unwrap(),
            405,
            "METHOD_NOT_ALLOWED",
        );
    }
    readings(&bed, &fanout).await;
}

async fn publishes(bed: &Bed, node: &Node) {
    let http = node.http(&bed.gm("u1"));
    for (name, body) in bad_publishes() {
        let answer = post(&http, &[JSON], body.clone()).await;
        refused(&format!("{body:.200}"), &answer, status_of(name), name);
    }
    for body in [
        "",
        "{",
        "[]",
        "null",
        "7",
        "{\"channel\":\"session.1\",\"event\":\"draw\"} x",
    ] {
        refused(
            body,
            &post(&http, &[JSON], body).await,
            400,
            "INVALID_MESSAGE",
        );
    }
    let broken = post(
        &http,
        &[JSON],
        b"{\"channel\":\"session.1\",\"event\":\"\xff\"}".as_slice(),
    )
    .await;
    refused("broken UTF-8", &broken, 400, "INVALID_MESSAGE");
    let large = format!(
        r#"{{"channel":"session.1","event":"draw","data":"{}"}}"#,
        "x".repeat(65_536)
    );
    refused(
        "a large message",
        &post(&http, &[JSON], large.clone()).await,
        413,
        "MESSAGE_TOO_LARGE",
    );
    let encoded = post(&http, &[JSON, ("content-encoding", "gzip")], "x").await;
    refused("an encoded body", &encoded, 400, "INVALID_MESSAGE");
    let key = post(
        &http,
        &[JSON, ("idempotency-key", "no id")],
        r#"{"channel":"session.1","event":"draw"}"#,
    )
    .await;
    refused("a bad key", &key, 400, "INVALID_MESSAGE");

    // A batch: too many bytes and too many lines refuse it whole, a bad line fails alone.
    let line = "{\"channel\":\"session.1\",\"event\":\"draw\"}\n";
    refused(
        "a large batch",
        &post(&http, &[LINES], "\n".repeat(1_048_577)).await,
        413,
        "MESSAGE_TOO_LARGE",
    );
    refused(
        "a long batch",
        &post(&http, &[LINES], line.repeat(1001)).await,
        400,
        "LIMIT_EXCEEDED",
    );
    let mixed = post(&http, &[LINES], format!("{line}{{\n\n{large}\n{line}")).await;
    assert_eq!(mixed.status.as_u16(), 200);
    let lines: Vec<serde_json::Value> = mixed
        .body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let names: Vec<_> = lines
        .iter()
        .map(|line| line["error"]["name"].as_str().unwrap_or("taken"))
        .collect();
    assert_eq!(
        names,
        ["taken", "INVALID_MESSAGE", "MESSAGE_TOO_LARGE", "taken"]
    );
}

async fn credentials(bed: &Bed, node: &Node) {
    let good = bed.gm("u1");
    let body = r#"{"channel":"session.1","event":"draw"}"#;
    for (what, token, name) in [
        ("no token", None, "AUTH_REQUIRED"),
        ("nonsense", Some("nonsense".to_owned()), "AUTH_REQUIRED"),
        ("alg none", Some(none_algorithm(&good)), "AUTH_REQUIRED"),
        (
            "a foreign secret",
            Some(good[..good.len() - 4].to_owned() + "AAAA"),
            "AUTH_REQUIRED",
        ),
        (
            "an expired one",
            Some(bed.token("u1").expires_in(-120).mint()),
            "TOKEN_EXPIRED",
        ),
        (
            "one for two days",
            Some(bed.token("u1").expires_in(48 * 3600).mint()),
            "AUTH_REQUIRED",
        ),
    ] {
        let http = node.http(&good).with_token(token.as_deref());
        refused(what, &post(&http, &[JSON], body).await, 401, name);
    }
    let http = node.http(&good);
    for parameter in ["token", "jwt", "access_token"] {
        let path = format!("{PUBLISH}?{parameter}={good}");
        let answer = http.call(Method::POST, &path, &[JSON], body).await.unwrap();
        refused(parameter, &answer, 401, "AUTH_REQUIRED");
    }
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example.org.evil",
        "http://app.example.org",
    ] {
        refused(
            origin,
            &post(&http, &[JSON, ("origin", origin)], body).await,
            403,
            "PERMISSION_DENIED",
        );
    }
    let answer = post(&http, &[JSON, ("origin", "https://app.example.org")], body).await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://app.example.org"
    );
    // A cookie is a credential only together with an allowed origin.
    let bare = http.with_token(None);
    let cookie = format!("rivermouth_token={good}");
    refused(
        "a bare cookie",
        &post(&bare, &[JSON, ("cookie", &cookie)], body).await,
        401,
        "AUTH_REQUIRED",
    );
    let with_origin = post(
        &bare,
        &[
            JSON,
            ("cookie", &cookie),
            ("origin", "https://app.example.org"),
        ],
        body,
    )
    .await;
    assert_eq!(with_origin.status.as_u16(), 200);
}

/// Requests that no client library sends.
async fn framing(node: &Node) {
    let address = node.url().strip_prefix("http://").unwrap();
    for (what, head) in [
        ("no host", "GET /health HTTP/1.1\r\n\r\n".to_owned()),
        (
            "two hosts",
            format!("GET /health HTTP/1.1\r\nHost: {address}\r\nHost: other\r\n\r\n"),
        ),
        (
            "a foreign authority",
            format!("GET http://other.example/health HTTP/1.1\r\nHost: {address}\r\n\r\n"),
        ),
        (
            "two lengths",
            format!(
                "POST {PUBLISH} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"
            ),
        ),
        (
            "no HTTP",
            "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(),
        ),
        (
            "a long head",
            format!(
                "GET /health HTTP/1.1\r\nHost: {address}\r\nX: {}\r\n\r\n",
                "x".repeat(600_000)
            ),
        ),
    ] {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = tcp.write_all(head.as_bytes()).await;
        let mut answer = vec![0; 64];
        let count = within("an answer", tcp.read(&mut answer))
            .await
            .unwrap_or(0);
        let answer = String::from_utf8_lossy(&answer[..count]);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{what}: {answer}"
        );
    }
}

async fn readings(bed: &Bed, node: &Node) {
    let http = node
        .http(&bed.gm("u1"))
        .with_deadline(Duration::from_secs(60));
    let one = client::Publish::new("session.r1", "draw", "1").unwrap();
    let door = std::slice::from_ref(&http);
    publish_surely(door, &one.id("one")).await;
    // As the event has it: one that had to be published again is perhaps answered without.
    let asked = client::History {
        channel: "session.r1".into(),
        ..client::History::default()
    };
    let mut page = surely("a page", || http.history(&asked)).await;
    let cursor = page.events.remove(0).cursor.unwrap();
    let many: String = (0..65)
        .map(|number| format!("&channel=session.m{number}"))
        .collect();
    for path in ["/sse", "/api/realtime/stream", "/api/realtime/poll"] {
        for (query, status, name) in [
            ("", 400, "INVALID_MESSAGE"),
            ("?channel=", 400, "INVALID_MESSAGE"),
            ("?channel=x%20y", 400, "INVALID_MESSAGE"),
            ("?channel=nowhere.1", 404, "CHANNEL_NOT_FOUND"),
            ("?channel=user.other", 403, "PERMISSION_DENIED"),
            ("?channel=session.r1&since=nonsense", 400, "CURSOR_INVALID"),
            (
                &format!("?channel=session.r2&since={cursor}"),
                400,
                "CURSOR_INVALID",
            ),
            ("?channel=session.r1&since=last:0", 400, "INVALID_MESSAGE"),
            (
                "?channel=session.r1&since=time:soon",
                400,
                "INVALID_MESSAGE",
            ),
            (
                "?channel=session.r1&types=two%20words",
                400,
                "INVALID_MESSAGE",
            ),
            (&format!("?{many}"), 400, "LIMIT_EXCEEDED"),
            ("?channel=session.r1&token=x", 401, "AUTH_REQUIRED"),
        ] {
            let answer = http.get(&format!("{path}{query}")).await.unwrap();
            refused(&format!("{path}{query:.80}"), &answer, status, name);
        }
    }
    for (query, status, name) in [
        ("", 400, "INVALID_MESSAGE"),
        ("?channel=session.r1&after=nonsense", 400, "CURSOR_INVALID"),
        (
            &format!("?channel=session.r2&before={cursor}"),
            400,
            "CURSOR_INVALID",
        ),
        ("?channel=session.r1&order=random", 400, "INVALID_MESSAGE"),
        ("?channel=session.r1&from=yesterday", 400, "INVALID_MESSAGE"),
        ("?channel=session.r1&limit=-1", 400, "INVALID_MESSAGE"),
        ("?channel=user.other", 403, "PERMISSION_DENIED"),
    ] {
        let answer = http
            .get(&format!("/api/realtime/history{query}"))
            .await
            .unwrap();
        refused(&format!("history{query}"), &answer, status, name);
    }
}
