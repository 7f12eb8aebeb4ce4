//! History, and what surrounds the API.

use std::time::Duration;

use client::{Error, Event, History};
use http::Method;
use serde_json::json;
use testbed::{Bed, Node, within};

use super::subscribe::fill;
use crate::talk::Talk;

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
