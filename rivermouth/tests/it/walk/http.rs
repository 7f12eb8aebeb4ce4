//! Event streams, NDJSON, polling, history.

use std::time::Duration;

use client::{Error, Event, History, ServerMessage, SseStream};
use http::Method;
use serde_json::json;
use testbed::{Bed, Node, within};

use super::subscribe::fill;
use crate::talk::Talk;

fn strings<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

/// The next message that is no heartbeat, and the id of its block.
async fn block(stream: &mut SseStream) -> (ServerMessage, Option<String>) {
    loop {
        let block = within("a block", stream.next_block()).await.unwrap();
        if block.data.is_empty() {
            continue;
        }
        let message = ServerMessage::parse(&block.data).unwrap();
        if let ServerMessage::Event(event) = &message {
            assert_eq!(block.event, event.name);
        }
        if !matches!(message, ServerMessage::Heartbeat { .. }) {
            return (message, block.id);
        }
    }
}

async fn sse_event(stream: &mut SseStream) -> (Event, String) {
    match block(stream).await {
        (ServerMessage::Event(event), id) => (*event, id.expect("an event has an id")),
        (other, _) => panic!("{other:?}"),
    }
}

pub(super) async fn one_event_on_every_transport(bed: &Bed, node: &Node) {
    let channel = "session.everywhere";
    let token = bed.gm("u1");
    let http = node.http(&token);
    let mut talk = Talk::open(node, &token).await;
    talk.subscribe(json!({"channel": channel})).await;
    let channels = strings([channel]);
    let mut sse = http.sse(&channels, None, None, &[]).await.unwrap();
    assert!(matches!(
        block(&mut sse).await,
        (ServerMessage::Connected { .. }, Some(_))
    ));
    let mut lines = http.stream(&channels, None, &[]).await.unwrap();
    assert!(matches!(
        lines.next().await.unwrap(),
        ServerMessage::Connected {
            cursor: Some(_),
            ..
        }
    ));
    let present = http.poll(&channels, None, &[], 0).await.unwrap();
    assert!(present.events.is_empty());
    talk.publish(channel, "draw", json!({"a": 1})).await;
    let expected = talk.event().await;
    assert_eq!(sse_event(&mut sse).await.0.raw, expected.raw);
    match within("a line", lines.next()).await.unwrap() {
        ServerMessage::Event(event) => assert_eq!(event.raw, expected.raw),
        other => panic!("{other:?}"),
    }
    let polled = http
        .poll(&channels, Some(&present.cursor), &[], 10)
        .await
        .unwrap();
    assert_eq!(
        polled
            .events
            .iter()
            .map(|event| &event.raw)
            .collect::<Vec<_>>(),
        [&expected.raw]
    );
    let page = http
        .history(&History {
            channel: channel.into(),
            ..History::default()
        })
        .await
        .unwrap();
    assert_eq!(
        page.events
            .iter()
            .map(|event| &event.raw)
            .collect::<Vec<_>>(),
        [&expected.raw]
    );
}

pub(super) async fn event_streams(bed: &Bed, node: &Node) {
    let token = bed.gm("u1");
    let http = node.http(&token);
    let mut talk = Talk::open(node, &token).await;
    let channels = strings(["session.sse1", "session.sse2"]);
    let mut stream = http.sse(&channels, None, None, &[]).await.unwrap();
    let (connected, start) = block(&mut stream).await;
    assert!(
        matches!(connected, ServerMessage::Connected { .. }),
        "{connected:?}"
    );
    assert!(stream.retry().is_some(), "`retry` is sent first");
    let start = start.expect("`connected` has an id, so that even an early cut resumes");

    // Interleaved over both channels, cut after each event: every resume goes on exactly there.
    for channel in [&channels[0], &channels[1], &channels[0], &channels[1]] {
        fill(&mut talk, channel, "draw", 1).await;
    }
    let mut all = Vec::new();
    while all.len() < 4 {
        all.push(sse_event(&mut stream).await);
    }
    let ids = std::iter::once(&start).chain(all.iter().map(|(_, id)| id));
    for (cut, id) in ids.enumerate() {
        let mut resumed = http
            .sse(&channels, Some("earliest"), Some(id), &[])
            .await
            .unwrap();
        assert!(matches!(
            block(&mut resumed).await.0,
            ServerMessage::Connected { .. }
        ));
        // The order between channels is nobody's promise; within each it is.
        let (mut events, mut caught_up) = (Vec::new(), 0);
        while caught_up < 2 {
            match block(&mut resumed).await {
                (ServerMessage::Event(event), Some(_)) => events.push(*event),
                (ServerMessage::CaughtUp { .. }, Some(_)) => caught_up += 1,
                other => panic!("{other:?}"),
            }
        }
        for channel in &channels {
            let of = |events: &mut dyn Iterator<Item = &Event>| {
                events
                    .filter(|event| event.channel == *channel)
                    .map(|event| event.id.clone())
                    .collect::<Vec<_>>()
            };
            let expected = of(&mut all[cut..].iter().map(|(event, _)| event));
            assert_eq!(
                of(&mut events.iter()),
                expected,
                "cut after {cut} in {channel}"
            );
        }
    }

    // Views and the paths of their own.
    fill(&mut talk, "session.sse1", "chat.message", 1).await;
    let mut activity = http
        .sse_at("/sse/activity/sse1?since=earliest")
        .await
        .unwrap();
    assert!(matches!(
        block(&mut activity).await.0,
        ServerMessage::Connected { .. }
    ));
    assert_eq!(sse_event(&mut activity).await.0.name, "chat.message");
    for path in ["/sse/notifications", "/sse/system"] {
        let mut stream = http.sse_at(path).await.unwrap();
        assert!(
            matches!(block(&mut stream).await.0, ServerMessage::Connected { .. }),
            "{path}"
        );
    }

    // One forbidden channel refuses the whole, naming it.
    let refused = http
        .get("/sse?channel=session.sse1&channel=user.other")
        .await
        .unwrap();
    assert_eq!(refused.status.as_u16(), 403);
    assert_eq!(refused.json().unwrap()["channel"], "user.other");
    let refused = http
        .sse(&channels, None, Some("nonsense"), &[])
        .await
        .unwrap_err();
    assert_eq!(refused.name(), Some("CURSOR_INVALID"));
}

pub(super) async fn lines(bed: &Bed, node: &Node) {
    let token = bed.gm("u1");
    let http = node.http(&token);
    let mut talk = Talk::open(node, &token).await;
    let channels = strings(["session.lines1", "session.lines2"]);
    let first = fill(&mut talk, &channels[0], "draw", 2).await;
    fill(&mut talk, &channels[1], "note.added", 1).await;
    let mut stream = http
        .stream(&channels, Some("earliest"), &strings(["draw"]))
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut caught_up = 0;
    while caught_up < 2 {
        match within("a line", stream.next()).await.unwrap() {
            ServerMessage::Connected { cursor, .. } => assert!(seen.is_empty() && cursor.is_some()),
            ServerMessage::Event(event) => seen.push(event.cursor.unwrap()),
            ServerMessage::CaughtUp { .. } => caught_up += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, first);
}

pub(super) async fn polls(bed: &Bed, node: &Node) {
    let token = bed.gm("u1");
    let http = node.http(&token);
    let mut talk = Talk::open(node, &token).await;
    let channels = strings(["session.poll1", "session.poll2"]);
    let present = http.poll(&channels, None, &[], 0).await.unwrap();
    assert!(present.events.is_empty() && present.gap.is_none());
    // A waiting poll is woken by the event.
    let waiting = http.poll(&channels, Some(&present.cursor), &[], 25);
    let publishing = fill(&mut talk, &channels[1], "draw", 1);
    let (polled, published) = tokio::join!(waiting, publishing);
    let polled = polled.unwrap();
    assert_eq!(polled.events.len(), 1);
    assert_eq!(polled.events[0].cursor.as_ref(), published.first());
    // One's own acknowledged publishes are in the answer, without waiting.
    let mut since = polled.cursor;
    for round in 0..3 {
        let published = fill(&mut talk, &channels[round % 2], "draw", 2).await;
        let polled = http.poll(&channels, Some(&since), &[], 0).await.unwrap();
        let cursors: Vec<_> = polled
            .events
            .into_iter()
            .filter_map(|event| event.cursor)
            .collect();
        assert_eq!(cursors, published);
        since = polled.cursor;
    }
    assert!(
        http.poll(&channels, Some(&since), &[], 0)
            .await
            .unwrap()
            .events
            .is_empty()
    );
    // Cursors of other transports, and one of a channel that is not asked for.
    let one = strings(["session.poll1"]);
    let all = http
        .poll(&one, Some("earliest"), &[], 0)
        .await
        .unwrap()
        .events;
    let after_first = http
        .poll(&one, all[0].cursor.as_deref(), &[], 0)
        .await
        .unwrap()
        .events;
    assert_eq!(after_first[..], all[1..]);
    let of_both = http.poll(&one, Some(&since), &[], 0).await.unwrap();
    assert!(
        of_both.events.is_empty(),
        "a stream cursor may be used for fewer channels"
    );
    let foreign = http
        .poll(
            &strings(["session.poll2"]),
            all[0].cursor.as_deref(),
            &[],
            0,
        )
        .await
        .unwrap_err();
    assert_eq!(foreign.name(), Some("CURSOR_INVALID"));
}

pub(super) async fn history(bed: &Bed, node: &Node) {
    let channel = "session.history";
    let token = bed.gm("u1");
    let http = node.http(&token);
    let mut talk = Talk::open(node, &token).await;
    let empty = http
        .history(&History {
            channel: "session.nothing".into(),
            ..History::default()
        })
        .await
        .unwrap();
    assert!(empty.events.is_empty() && empty.complete && empty.next.is_none());
    let mut published = Vec::new();
    for number in 0..7 {
        published.extend(
            fill(
                &mut talk,
                channel,
                if number % 3 == 0 {
                    "note.added"
                } else {
                    "draw"
                },
                1,
            )
            .await,
        );
    }
    let ask = History {
        channel: channel.into(),
        ..History::default()
    };
    let cursors = |events: &[Event]| {
        events
            .iter()
            .map(|event| event.cursor.clone().unwrap())
            .collect::<Vec<_>>()
    };
    let all = http.history(&ask).await.unwrap();
    assert_eq!(
        (cursors(&all.events), all.complete),
        (published.clone(), true)
    );

    // Page by page, both ways.
    for order in ["asc", "desc"] {
        let mut pages = Vec::new();
        let mut next = None;
        loop {
            let (after, before) = if order == "asc" {
                (next, None)
            } else {
                (None, next)
            };
            let page = History {
                limit: Some(3),
                order: Some(order),
                after,
                before,
                ..ask.clone()
            };
            let page = http.history(&page).await.unwrap();
            pages.extend(cursors(&page.events));
            next = page.next;
            assert_eq!(page.complete, next.is_none());
            if page.complete {
                break;
            }
        }
        if order == "desc" {
            pages.reverse();
        }
        assert_eq!(pages, published, "{order}");
    }

    let with = |change: fn(&mut History, &[String], &[Event])| {
        let mut history = ask.clone();
        change(&mut history, &published, &all.events);
        history
    };
    let before = http
        .history(&with(|h, published, _| {
            h.before = Some(published[3].clone())
        }))
        .await
        .unwrap();
    let mut reversed = published[..3].to_vec();
    reversed.reverse();
    assert_eq!(
        cursors(&before.events),
        reversed,
        "`before` alone goes backwards"
    );
    let between = with(|h, published, _| {
        h.after = Some(published[1].clone());
        h.before = Some(published[5].clone());
    });
    assert_eq!(
        cursors(&http.history(&between).await.unwrap().events),
        published[2..5]
    );
    let notes = http
        .history(&with(|h, _, _| h.types = vec!["note.added".into()]))
        .await
        .unwrap();
    assert_eq!(
        cursors(&notes.events),
        [0, 3, 6].map(|at: usize| published[at].clone())
    );
    let timed = http
        .history(&with(|h, _, events| {
            h.from_ms = Some(events[2].timestamp_ms);
            h.to_ms = Some(events[5].timestamp_ms);
        }))
        .await
        .unwrap();
    let expected = all.events.iter().filter(|event| {
        (all.events[2].timestamp_ms..all.events[5].timestamp_ms).contains(&event.timestamp_ms)
    });
    assert_eq!(timed.events, expected.cloned().collect::<Vec<_>>());

    // Over the WebSocket it is the same.
    let page = talk
        .call(
            "history",
            json!({"channel": channel, "limit": 2, "order": "desc"}),
        )
        .await
        .unwrap();
    assert_eq!(page["events"][0]["cursor"], json!(published[6]));
    assert_eq!(
        (&page["complete"], page["next"].is_string()),
        (&json!(false), true)
    );
}

pub(super) async fn surroundings(bed: &Bed, node: &Node) {
    let http = node.http(&bed.gm("u1"));
    let health = http.get("/health").await.unwrap();
    assert!(health.status.is_success(), "{health:?}");
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        assert!(
            node.admin().get(path).await.unwrap().status.is_success(),
            "{path}"
        );
    }
    let metrics = node.admin().get("/metrics").await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(metrics.contains("rivermouth_"), "{metrics}");

    let asked = [
        ("origin", "https://app.example.org"),
        ("access-control-request-method", "POST"),
    ];
    let preflight = http
        .call(Method::OPTIONS, "/api/realtime/publish", &asked, "")
        .await
        .unwrap();
    assert_eq!(preflight.status.as_u16(), 204);
    let header = |name: &str| {
        preflight
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_ascii_lowercase())
    };
    assert_eq!(
        header("access-control-allow-origin").as_deref(),
        Some("https://app.example.org")
    );
    assert_eq!(
        header("access-control-allow-credentials").as_deref(),
        Some("true")
    );
    let allowed = header("access-control-allow-headers").unwrap();
    for name in [
        "authorization",
        "content-type",
        "idempotency-key",
        "last-event-id",
    ] {
        assert!(allowed.contains(name), "{allowed}");
    }

    let stream = within("headers", http.head_of("/sse?channel=session.x"))
        .await
        .unwrap();
    let header = |name: &str| {
        stream
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("content-type").as_deref(), Some("text/event-stream"));
    assert_eq!(
        header("cache-control").as_deref(),
        Some("no-store, no-transform")
    );
    assert_eq!(header("x-accel-buffering").as_deref(), Some("no"));
    let gone = http
        .clone()
        .with_deadline(Duration::from_secs(20))
        .get("/nowhere")
        .await
        .unwrap();
    assert_eq!(
        gone.refusal().map(|refusal| refusal.name),
        Some("NOT_FOUND".into())
    );
    assert!(matches!(gone.success(), Err(Error::Refused(_))));
}
