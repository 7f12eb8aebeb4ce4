//! Event streams, NDJSON, polling, history.

use client::{Event, History, ServerMessage, SseStream};
use serde_json::json;
use testbed::{Bed, Node, within};

use super::subscribe::fill;
use crate::insisting::surely;
use crate::talk::{Talk, is_standing};

fn strings<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

/// The next message that is neither a heartbeat nor about how the log stands, and the id of its block.
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
        if !matches!(message, ServerMessage::Heartbeat { .. }) && !is_standing(&message) {
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
    let present = surely("a poll", || http.poll(&channels, None, &[], 0)).await;
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
            message => assert!(is_standing(&message), "{message:?}"),
        }
    }
    assert_eq!(seen, first);
}

pub(super) async fn polls(bed: &Bed, node: &Node) {
    let token = bed.gm("u1");
    let http = node.http(&token);
    let mut talk = Talk::open(node, &token).await;
    let channels = strings(["session.poll1", "session.poll2"]);
    let present = surely("a poll", || http.poll(&channels, None, &[], 0)).await;
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
        let polled = surely("a poll", || http.poll(&channels, Some(&since), &[], 0)).await;
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
    let of_both = surely("a poll", || http.poll(&one, Some(&since), &[], 0)).await;
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
