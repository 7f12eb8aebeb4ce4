//! The listener against peers that are wrong, slow, many, or still busy when it stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper_util::rt::TokioIo;
use service::{ServeConfig, ServeError, Slot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::world::{World, read_to_end, read_until};

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

#[tokio::test]
async fn requests_without_exactly_one_host_never_reach_a_handler() {
    let world = World::start(hello(), ServeConfig::default());
    for (request, status) in [
        (
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
            "200",
        ),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400"),
        ("GET http://evil/ HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
        ("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
        ("BREW / HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", "405"),
        ("GET / HTTP/1.0\r\n\r\n", "200"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = world.say(request).await;
        let expected = &status;
        assert_eq!(
            answer.get(9..12),
            Some(*expected),
            "{request:?} -> {answer:?}"
        );
    }
    let refused = world.say("GET / HTTP/1.1\r\n\r\n").await;
    assert!(
        refused.contains("\"name\":\"INVALID_MESSAGE\""),
        "{refused}"
    );
    world.stopped().await.unwrap();
}

#[tokio::test]
async fn a_head_that_is_too_big_or_has_too_many_fields_is_cut() {
    let world = World::start(hello(), ServeConfig::default());
    let wide = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(40_000)
    );
    assert_eq!(world.say(&wide).await.get(9..12), Some("431"));
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(101)
    );
    assert_eq!(world.say(&many).await.get(9..12), Some("431"));
    world.stopped().await.unwrap();
}

#[tokio::test]
async fn a_head_that_never_ends_is_closed_by_the_timer() {
    let config = ServeConfig {
        header_timeout: Duration::from_millis(100),
        ..ServeConfig::default()
    };
    let world = World::start(hello(), config);
    let answer = world.say("GET / HTTP/1.1\r\nhost: a\r\nx: ").await;
    assert!(!answer.contains("hello"));
    world.stopped().await.unwrap();
}

#[tokio::test]
async fn a_full_listener_says_so_and_recovers() {
    let config = ServeConfig {
        connections_max: 1,
        ..ServeConfig::default()
    };
    let world = World::start(hello(), config);
    let mut held = world.connect().await;
    held.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut held, "hello").await;
    assert_eq!(world.get("/").await.get(9..12), Some("503"));
    drop(held);
    let deadline = tokio::time::Instant::now() + crate::world::DEADLINE;
    while world.get("/").await.get(9..12) != Some("200") {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the place comes free"
        );
    }
    world.stopped().await.unwrap();
}

#[tokio::test]
async fn a_request_in_flight_finishes_after_the_signal_to_stop() {
    let entered = Arc::new(Notify::new());
    let go = Arc::new(Notify::new());
    let (inside, leave) = (Arc::clone(&entered), Arc::clone(&go));
    let app = Router::new().route(
        "/",
        get(async move || {
            inside.notify_one();
            leave.notified().await;
            "done"
        }),
    );
    let world = World::start(app, ServeConfig::default());
    let mut socket = world.connect().await;
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    entered.notified().await;
    let mut idle = world.connect().await;
    idle.write_all(b"GET /none HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut idle, "\r\n\r\n").await;
    world.shutdown.start();
    read_to_end(&mut idle).await;
    go.notify_one();
    assert!(read_to_end(&mut socket).await.ends_with("done"));
    world.stopped().await.unwrap();
}

#[tokio::test]
async fn what_is_still_busy_at_the_drain_deadline_is_cut_and_counted() {
    let entered = Arc::new(Notify::new());
    let inside = Arc::clone(&entered);
    let app = Router::new().route(
        "/",
        get(async move || {
            inside.notify_one();
            std::future::pending::<&'static str>().await
        }),
    );
    let config = ServeConfig {
        drain_deadline: Duration::from_millis(50),
        ..ServeConfig::default()
    };
    let world = World::start(app, config);
    let mut socket = world.connect().await;
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    entered.notified().await;
    let ended = world.stopped().await;
    assert!(
        matches!(ended, Err(ServeError::Drain { connections: 1 })),
        "{ended:?}"
    );
}

#[tokio::test]
async fn an_upgraded_socket_is_handed_over_and_goes_on_counting() {
    async fn upgrade(
        Extension(peer): Extension<SocketAddr>,
        Extension(slot): Extension<Slot>,
        mut request: Request,
    ) -> Response {
        let upgrade = request
            .extensions_mut()
            .remove::<hyper::upgrade::OnUpgrade>()
            .unwrap();
        tokio::spawn(async move {
            let parts = upgrade
                .await
                .unwrap()
                .downcast::<TokioIo<TcpStream>>()
                .unwrap();
            let mut socket = parts.io.into_inner();
            assert_eq!(socket.peer_addr().unwrap(), peer);
            let mut word = [0; 4];
            socket.read_exact(&mut word).await.unwrap();
            socket.write_all(&word).await.unwrap();
            drop(slot);
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(axum::body::Body::empty())
            .unwrap()
    }
    let world = World::start(
        Router::new().route("/", get(upgrade)),
        ServeConfig::default(),
    );
    let mut socket = world.connect().await;
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await
        .unwrap();
    let head = read_until(&mut socket, "\r\n\r\n").await;
    assert_eq!(head.get(9..12), Some("101"));
    assert!(
        world
            .metrics
            .encode()
            .contains("rivermouth_http_connections 1\n")
    );
    socket.write_all(b"ping").await.unwrap();
    assert_eq!(read_to_end(&mut socket).await, "ping");
    world.stopped().await.unwrap();
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_at_its_own_deadline() {
    let app = Router::new().route(
        "/",
        post(async |request: Request| {
            let body = request.into_body();
            match service::http::read_body(body, 100, Duration::from_millis(50)).await {
                Err(service::http::BodyError::Late(_)) => "late",
                _ => "other",
            }
        }),
    );
    let world = World::start(app, ServeConfig::default());
    let answer = world
        .say("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 9\r\n\r\nx")
        .await;
    assert!(answer.ends_with("late"), "{answer}");
    world.stopped().await.unwrap();
}

#[tokio::test]
async fn a_development_listener_does_not_answer_to_foreign_names() {
    let config = ServeConfig {
        hosts_allowed: vec!["localhost".to_owned()],
        ..ServeConfig::default()
    };
    let world = World::start(hello(), config);
    assert_eq!(world.get("/").await.get(9..12), Some("200"));
    let rebound = world
        .say("GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n")
        .await;
    assert_eq!(rebound.get(9..12), Some("400"));
    world.stopped().await.unwrap();
}
