//! The life of a connection: who is let in, who is kept, who is let go.

use std::time::{Duration, Instant};

use fanout::FanoutConfig;
use protocol::{
    Limits,
    token::{Claims, mint},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::world::{PATIENCE, SECRET, World, is_event, token};

/// How long somebody may answer nothing.
const SILENCE: Duration = Duration::from_secs(6);

/// Ten beats before whoever answers none of them is dropped.
fn quick() -> FanoutConfig {
    FanoutConfig {
        limits: Limits {
            heartbeat_interval: Duration::from_millis(600),
            heartbeat_timeout: SILENCE,
            authentication_timeout: Duration::from_millis(1_000),
            expiry_warning: Duration::from_secs(2),
            ..Limits::default()
        },
        ..FanoutConfig::default()
    }
}

#[tokio::test]
async fn a_client_that_only_listens_to_traffic_lives_by_its_pongs() {
    let world = World::with(quick()).await;
    let mut ws = world.ws("u1").await;
    ws.subscribe("session.a", json!("latest")).await;
    // Until somebody is dropped who came later and answers nothing, with events all the while.
    let began = Instant::now();
    let mute = mute(&world).await;
    let mute = tokio::spawn(async move { (unanswered(mute).await, began.elapsed()) });
    let (mut beats, mut events) = (0, 0);
    while !mute.is_finished() || beats == 0 {
        world.publish("session.a", events).await;
        let message = ws.next().await;
        beats += i64::from(message["event"] == "heartbeat");
        events += 1;
    }
    // It was let in, and had its time to answer. How many beats that was is the machine's affair.
    let (said, lived) = mute.await.unwrap();
    assert!(said.contains("connected"), "{said}");
    // But for a second: a node looks at its clock before it takes somebody in.
    assert!(lived >= SILENCE - Duration::from_secs(1), "{lived:?}");
    world.publish("session.a", events).await;
    ws.until(|m| is_event(m) && m["data"]["n"] == events).await;
}

/// A WebSocket of bytes, which answers no ping.
async fn mute(world: &World) -> TcpStream {
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
        world.address,
        token("u1")
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// All that is said to it until it is dropped.
async fn unanswered(mut socket: TcpStream) -> String {
    let mut all = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut all))
        .await
        .unwrap()
        .ok();
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn a_client_that_answers_nothing_is_dropped() {
    let world = World::with(quick()).await;
    let text = unanswered(mute(&world).await).await;
    assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
    assert!(text.contains("connected") && text.contains("heartbeat"));
}

#[tokio::test]
async fn who_says_nothing_or_something_else_first_is_turned_away_with_3500() {
    let world = World::with(quick()).await;
    for first in [
        None,
        Some(json!({"type":"request","id":"1","method":"ping"})),
    ] {
        let mut ws = world.ws_without_token("/ws").await;
        if let Some(first) = first {
            ws.send(&first).await;
        }
        assert_eq!(ws.next().await["error"]["name"], "AUTH_REQUIRED");
        assert_eq!(ws.line().await, Err(Some(3500)));
    }
}

#[tokio::test]
async fn a_first_frame_with_a_token_is_greeted_answered_and_subscribed_in_that_order() {
    let world = World::new().await;
    let mut ws = world.ws_without_token("/ws/session/a?since=earliest").await;
    world.publish("session.a", 1).await;
    let connect =
        json!({"type":"request","id":"1","method":"connect","params":{"token":token("u1")}});
    ws.send(&connect).await;
    assert_eq!(ws.next().await["event"], "connected");
    let answer = ws.next().await;
    assert_eq!(
        (&answer["id"], &answer["data"]["userId"]),
        (&json!("1"), &json!("u1"))
    );
    let subscribed = ws.next().await;
    assert_eq!(subscribed["event"], "subscribed");
    assert_eq!(subscribed["data"]["channel"], "session.a");
    assert_eq!(ws.until(is_event).await["data"]["n"], 1);
    ws.send(&connect).await;
    assert_eq!(
        ws.until(|m| m["id"] == "1").await["error"]["name"],
        "INVALID_MESSAGE"
    );
}

#[tokio::test]
async fn a_token_in_the_url_and_a_forbidden_path_are_told_after_the_handshake() {
    let world = World::new().await;
    let mut ws = world.ws_at("/ws?token=abc", &token("u1")).await;
    assert_eq!(ws.next().await["error"]["name"], "AUTH_REQUIRED");
    assert_eq!(ws.line().await, Err(Some(3500)));
    for (path, name) in [
        ("/ws/user/u2", "PERMISSION_DENIED"),
        ("/ws/session/a?since=garbage", "CURSOR_INVALID"),
        ("/ws/session/a?since=last:0", "INVALID_MESSAGE"),
        ("/ws/session/a.b", "INVALID_MESSAGE"),
    ] {
        let mut ws = world.ws_at(path, &token("u1")).await;
        assert_eq!(ws.next().await["event"], "connected", "{path}");
        let refused = ws.next().await;
        assert_eq!(refused["error"]["name"], name, "{path}");
        assert!(refused["channel"].is_string(), "{path}");
        assert_eq!(ws.line().await, Err(Some(3503)), "{path}");
    }
}

#[tokio::test]
async fn a_token_that_runs_out_is_announced_renewed_or_ends_the_connection() {
    // Each is left unread while the other is listened to. Whoever is announced the end has most of a minute to renew.
    let world = World::with(FanoutConfig {
        limits: Limits {
            expiry_warning: Duration::from_secs(58),
            ..Limits::default()
        },
        ..FanoutConfig::default()
    })
    .await;
    let short = |seconds: i64| {
        let exp = service::http::now_ms() / 1000 + seconds;
        mint(SECRET, &Claims::new("u1", exp).role("session.*", "player")).unwrap()
    };
    let mut ends = world.ws_at("/ws/session/a", &short(6)).await;
    let mut goes_on = world.ws_at("/ws/session/a", &short(60)).await;
    goes_on.until(|m| m["event"] == "token_expiring").await;
    let refresh = |token: &str| json!({"type":"request","id":"r","method":"refresh","params":{"token":token}});
    goes_on.send(&refresh(&token("u2"))).await;
    assert_eq!(
        goes_on.until(|m| m["id"] == "r").await["error"]["name"],
        "PERMISSION_DENIED"
    );
    goes_on.send(&refresh(&token("u1"))).await;
    assert!(goes_on.until(|m| m["id"] == "r").await["data"]["expiresAt"].is_i64());
    ends.until(|m| m["event"] == "token_expiring").await;
    let error = ends.until(|m| m["type"] == "error").await;
    assert_eq!(error["error"]["name"], "TOKEN_EXPIRED");
    assert_eq!(ends.line().await, Err(Some(3501)));
    world.publish("session.a", 5).await;
    assert_eq!(goes_on.until(is_event).await["data"]["n"], 5);
}

#[tokio::test]
async fn an_address_has_as_many_connections_as_it_may_and_a_coded_refusal_after_that() {
    let limits = Limits {
        connections_per_ip_max: 2,
        ..Limits::default()
    };
    let world = World::with(FanoutConfig {
        limits,
        ..FanoutConfig::default()
    })
    .await;
    let _one = world.ws("u1").await;
    let _two = world.stream("/sse?channel=session.a", None).await;
    let (status, body) = world.get("/api/realtime/stream?channel=session.a").await;
    assert_eq!(
        (status, &body["error"]["name"]),
        (429, &json!("RATE_LIMIT_EXCEEDED"))
    );
}

#[tokio::test]
async fn connections_that_subscribe_to_a_channel_and_its_view_come_and_go_and_harm_nobody() {
    let world = World::new().await;
    let mut witness = world.ws("u2").await;
    witness.subscribe("session.a", json!("latest")).await;
    for round in 0..6 {
        let mut ws = world.ws("u1").await;
        ws.subscribe("session.a", json!("latest")).await;
        ws.subscribe("activity.a", json!("latest")).await;
        drop(ws);
        let path = "/sse?channel=session.a&channel=activity.a";
        let mut stream = world.stream(path, None).await;
        stream.sse().await;
        drop(stream);
        world.publish("session.a", round).await;
        assert_eq!(witness.until(is_event).await["data"]["n"], round);
    }
    let mut after = world.ws("u1").await;
    after.subscribe("session.a", json!("latest")).await;
    world.publish("session.a", 9).await;
    assert_eq!(after.until(is_event).await["data"]["n"], 9);
}

#[tokio::test]
async fn an_oversized_frame_is_told_and_the_connection_ends_at_once() {
    let world = World::new().await;
    let mut ws = world.ws("u1").await;
    ws.next().await;
    let began = Instant::now();
    let huge = "x".repeat(300_000);
    ws.send(&json!(huge)).await;
    assert_eq!(ws.next().await["error"]["name"], "MESSAGE_TOO_LARGE");
    assert_eq!(ws.line().await, Err(Some(1009)));
    // The end of the stream, well before the time that a silent client would be given.
    assert_eq!(ws.line().await, Err(None));
    assert!(began.elapsed() < Duration::from_secs(4));
}
