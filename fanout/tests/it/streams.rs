//! Server-sent events, newline-delimited JSON, polling and history: the same events on the same cursors.

use serde_json::{Value, json};

use crate::world::{World, is_event, numbers};

#[tokio::test]
async fn an_event_stream_over_two_channels_resumes_both_by_its_last_id() {
    let world = World::new().await;
    for n in 0..5 {
        world.publish("session.a", n).await;
        world.publish("session.b", 100 + n).await;
    }
    let path = "/sse?channel=session.a&channel=session.b&since=earliest";
    let mut stream = world.stream(path, None).await;
    assert_eq!(stream.piece("\n\n").await, "retry: 1000\n\n");
    let (id, name, _) = stream.sse().await;
    assert_eq!(name, "connected");
    let mut last = id.unwrap();
    let mut seen: Vec<Value> = Vec::new();
    // Stop in the middle, and go on from there.
    while seen.len() < 6 {
        let (id, _, event) = stream.sse().await;
        if is_event(&event) {
            last = id.clone().unwrap();
            seen.push(event);
        }
    }
    drop(stream);
    world.publish("session.b", 105).await;
    let mut again = world
        .stream("/sse?channel=session.a&channel=session.b", Some(&last))
        .await;
    while seen.len() < 11 {
        let (_, _, event) = again.sse().await;
        if is_event(&event) {
            seen.push(event);
        }
    }
    let of = |channel: &str| {
        let of: Vec<Value> = seen
            .iter()
            .filter(|e| e["channel"] == channel)
            .cloned()
            .collect();
        numbers(&of)
    };
    assert_eq!(of("session.a"), (0..5).collect::<Vec<_>>());
    assert_eq!(of("session.b"), (100..106).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_same_event_has_the_same_bytes_on_every_transport() {
    let world = World::new().await;
    let odd = json!({ "text": "line\u{2028}break \"quoted\" \\ \u{1f30a}", "n": 1 });
    world
        .append(&world.event("session.a", "chat.message", &odd))
        .await;
    let mut ws = world.ws("u1").await;
    ws.subscribe("session.a", json!("earliest")).await;
    let by_ws = loop {
        let line = ws.line().await.unwrap();
        if line.contains("\"prev\"") {
            break line;
        }
    };
    let mut lines = world
        .stream(
            "/api/realtime/stream?channel=session.a&since=earliest",
            None,
        )
        .await;
    let by_lines = loop {
        let line = lines.piece("\n").await;
        if line.contains("\"prev\"") {
            break line.trim_end_matches('\n').to_owned();
        }
    };
    let mut sse = world
        .stream("/sse?channel=session.a&since=earliest", None)
        .await;
    let by_sse = loop {
        let block = sse.piece("\n\n").await;
        if block.contains("\"prev\"") {
            break block
                .lines()
                .find_map(|l| l.strip_prefix("data: "))
                .unwrap()
                .to_owned();
        }
    };
    assert_eq!(by_lines, by_ws);
    assert_eq!(by_sse, by_ws);
    let (_, poll) = world
        .get("/api/realtime/poll?channel=session.a&since=earliest&wait=0")
        .await;
    let (_, page) = world.get("/api/realtime/history?channel=session.a").await;
    let value: Value = serde_json::from_str(&by_ws).unwrap();
    assert_eq!(poll["events"], json!([value]));
    assert_eq!(page["events"], json!([value]));
}

#[tokio::test]
async fn a_long_poll_answers_with_the_next_event_and_goes_on_from_its_cursor() {
    let world = World::new().await;
    let (status, now) = world.get("/api/realtime/poll?channel=session.a").await;
    assert_eq!(status, 200);
    assert_eq!(now["events"], json!([]));
    let path = format!(
        "/api/realtime/poll?channel=session.a&wait=20&since={}",
        now["cursor"].as_str().unwrap()
    );
    let (polled, ()) = tokio::join!(world.get(&path), async {
        world.publish("session.a", 1).await;
    });
    assert_eq!(numbers(polled.1["events"].as_array().unwrap()), [1]);
    world.publish("session.a", 2).await;
    let cursor = polled.1["cursor"].as_str().unwrap();
    let (_, next) = world
        .get(&format!(
            "/api/realtime/poll?channel=session.a&since={cursor}"
        ))
        .await;
    assert_eq!(numbers(next["events"].as_array().unwrap()), [2]);
    let (_, none) = world
        .get(&format!(
            "/api/realtime/poll?channel=session.a&wait=0&since={}",
            next["cursor"].as_str().unwrap()
        ))
        .await;
    assert_eq!(none["events"], json!([]));
}

#[tokio::test]
async fn history_pages_in_both_directions_without_a_seam() {
    let world = World::new().await;
    for n in 0..25 {
        let name = if n % 2 == 0 {
            "chat.message"
        } else {
            "dice.roll"
        };
        world
            .append(&world.event("session.a", name, &json!({ "n": n })))
            .await;
    }
    let all = |order: &str, step: &str| {
        let (order, step) = (order.to_owned(), step.to_owned());
        let world = &world;
        async move {
            let mut seen = Vec::new();
            let mut path = format!("/api/realtime/history?channel=session.a&limit=7&order={order}");
            loop {
                let (status, page) = world.get(&path).await;
                assert_eq!(status, 200, "{page}");
                seen.extend(numbers(page["events"].as_array().unwrap()));
                match page["next"].as_str() {
                    Some(next) => {
                        assert_eq!(page["complete"], false);
                        path = format!(
                            "/api/realtime/history?channel=session.a&limit=7&order={order}&{step}={next}"
                        );
                    }
                    None => {
                        assert_eq!(page["complete"], true);
                        return seen;
                    }
                }
            }
        }
    };
    assert_eq!(all("asc", "after").await, (0..25).collect::<Vec<_>>());
    assert_eq!(
        all("desc", "before").await,
        (0..25).rev().collect::<Vec<_>>()
    );
    let (_, page) = world
        .get("/api/realtime/history?channel=session.a&types=dice.roll")
        .await;
    assert_eq!(
        numbers(page["events"].as_array().unwrap()),
        (0..25).filter(|n| n % 2 == 1).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn refusals_of_streams_are_coded_answers_that_name_the_channel() {
    let world = World::new().await;
    let (status, body) = world.get("/sse?channel=session.a&channel=user.u2").await;
    assert_eq!(
        (status, &body["error"]["name"]),
        (403, &json!("PERMISSION_DENIED"))
    );
    assert_eq!(body["channel"], "user.u2");
    let (status, body) = world.get("/sse?channel=session.a&since=garbage").await;
    assert_eq!(
        (status, &body["error"]["name"]),
        (400, &json!("CURSOR_INVALID"))
    );
    let (status, body) = world.get("/sse").await;
    assert_eq!(
        (status, &body["error"]["name"]),
        (400, &json!("INVALID_MESSAGE"))
    );
    let (status, body) = world.get("/sse?channel=session.a&token=abc").await;
    assert_eq!(
        (status, &body["error"]["name"]),
        (401, &json!("AUTH_REQUIRED"))
    );
    let (status, body) = world.get("/nothing/here").await;
    assert_eq!((status, &body["error"]["name"]), (404, &json!("NOT_FOUND")));
}
