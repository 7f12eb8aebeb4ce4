//! What an answer to a publish says, and when.

use std::time::{Duration, Instant};

use http::Method;
use ingest::IngestConfig;
use protocol::ErrorName;
use protocol::client::parse_publish;
use serde_json::json;
use tokio::sync::mpsc;

use crate::web::Web;
use crate::world::{DEADLINE, World, backend, identity, player};

pub async fn an_answer_carries_the_place_of_its_record(world: World) {
    let (node, web) = (world.node().await, Web::new());
    let body = r#"{"channel":"docs.7","event":"chat_message","data":{"b": 1.50, "a":[ ]},"id":"m1","userId":"gm","timestamp":1,"cursor":"x"}"#;
    let answer = web.publish(&node, &player("u1"), body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let told = answer.json();
    assert_eq!(
        (told["id"].as_str(), told["duplicate"].as_bool()),
        (Some("m1"), Some(false))
    );

    let place = world.place("docs.7", told["cursor"].as_str().unwrap());
    assert_eq!(place.partition, world.partition("docs.7"));
    let read = world.read(world.topics.events()).await;
    assert_eq!(read.len(), 1);
    let (record, event) = (&read[0].record, &read[0].event);
    assert_eq!(
        (record.partition, record.offset + 1),
        (place.partition, place.next)
    );
    assert_eq!(record.key.as_deref(), Some(&b"7"[..]));
    assert_eq!(event.channel.as_str(), "docs.7");
    assert_eq!(
        event.name.as_str(),
        "chat.message",
        "aliases are never stored"
    );
    assert_eq!(
        &event.data[..],
        br#"{"b":1.50,"a":[]}"#,
        "blanks go, everything else stays"
    );
    assert_eq!(
        event.user_id.as_deref(),
        Some("u1"),
        "identity comes from the connection"
    );
    assert_eq!(event.id, "m1");
}

pub async fn an_id_published_twice_is_one_event_and_the_second_answer_says_so(world: World) {
    let (node, web) = (world.node().await, Web::new());
    let user = player("u1");
    let body = |text: &str| {
        json!({"channel": "session.1", "event": "draw", "data": text, "id": "op-1"}).to_string()
    };
    let first = web.surely(&node, &user, body("first")).await.json();
    let second = web.surely(&node, &user, body("second")).await.json();
    assert_eq!(
        (&first["duplicate"], &second["duplicate"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(first["cursor"], second["cursor"]);
    let elsewhere = world.node().await;
    web.surely(&elsewhere, &user, body("third")).await;

    let bearer = format!("Bearer {user}");
    let keyed = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", "op-1"),
    ];
    let body = r#"{"channel":"session.1","event":"draw","data":"fourth"}"#;
    let fourth = web
        .send(&node, Method::POST, "/api/realtime/publish", &keyed, body)
        .await
        .json();
    assert_eq!(
        (&fourth["id"], &fourth["duplicate"]),
        (&json!("op-1"), &json!(true))
    );

    let events = world.accepted("session.1").await;
    assert_eq!(events.len(), 1);
    assert_eq!(&events[0].1.data[..], b"\"first\"", "the first body stands");
}

pub async fn cursors_of_later_events_sort_later(world: World) {
    let (node, web) = (world.node().await, Web::new());
    let lines: String = (0..300)
        .map(|n| {
            format!(
                "{}\n",
                json!({"channel": "session.1", "event": "draw", "data": n})
            )
        })
        .collect();
    let told = web.batch(&node, &backend(), lines).await.lines();
    let cursors: Vec<&str> = told
        .iter()
        .map(|line| line["cursor"].as_str().unwrap())
        .collect();
    assert_eq!(cursors.len(), 300);
    assert!(cursors.is_sorted_by(|one, next| one < next));
    let events = world.accepted("session.1").await;
    for ((offset, event), (n, cursor)) in events.iter().zip(cursors.iter().enumerate()) {
        assert_eq!(event.data, n.to_string());
        assert_eq!(world.place("session.1", cursor).next, offset + 1);
    }
}

pub async fn ephemeral_events_go_to_the_signals_and_the_last_word_wins(world: World) {
    let (node, web) = (world.node().await, Web::new());
    let user = player("u1");
    let lines: String = (0..500)
        .map(|n| {
            format!(
                "{}\n",
                json!({"channel": "session.1", "event": "cursor.move", "data": {"x": n, "y": 0}})
            )
        })
        .collect();
    let told = web.batch(&node, &user, lines).await.lines();
    assert_eq!(told.len(), 500);
    assert!(
        told.iter()
            .all(|line| line["cursor"].is_null() && line["id"].is_string()),
        "none is charged"
    );
    let wait = async {
        loop {
            let read = world.read(world.topics.signals()).await;
            if read
                .last()
                .is_some_and(|read| &read.event.data[..] == br#"{"x":499,"y":0}"#)
            {
                return read;
            }
            tokio::task::yield_now().await;
        }
    };
    let read = tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("the last move arrives");
    assert!(read.len() < 100, "most were overtaken: {}", read.len());
    assert!(
        read.iter()
            .all(|read| read.event.user_id.as_deref() == Some("u1"))
    );
    assert!(world.read(world.topics.events()).await.is_empty());
}

pub async fn signalling_is_never_overtaken_and_too_much_of_it_is_refused(world: World) {
    let (node, web) = (world.node().await, Web::new());
    let signal = |event: &str, to: &str, n: usize| json!({"channel": "session.1", "event": event, "to": [to], "data": n});
    let mut sent = vec![json!({"channel": "session.1", "event": "typing", "data": 0})];
    sent.extend(["u2", "u3", "u4"].map(|to| signal("rtc.offer", to, 1)));
    sent.extend((2..14).map(|n| signal("rtc.candidate", "u2", n)));
    let lines = |sent: &[serde_json::Value]| sent.iter().map(|line| format!("{line}\n")).collect();
    let user = player("u1");
    let batch: String = lines(&sent);
    let told = web.batch(&node, &user, batch).await.lines();
    assert!(told.iter().all(|line| line["id"].is_string()), "{told:?}");
    let wait = async {
        loop {
            let read = world.read(world.topics.signals()).await;
            if read.len() >= sent.len() {
                return read;
            }
            tokio::task::yield_now().await;
        }
    };
    let read = tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("every signal arrives");
    for (read, sent) in read.iter().zip(&sent) {
        assert_eq!(read.event.name.as_str(), sent["event"]);
        assert_eq!(json!(read.event.to), sent["to"]);
        assert_eq!(&read.event.data[..], sent["data"].to_string().as_bytes());
    }

    let flood: Vec<_> = (0..200).map(|n| signal("rtc.candidate", "u2", n)).collect();
    let flood: String = lines(&flood);
    let told = web.batch(&node, &player("u5"), flood).await.lines();
    let refused = told
        .iter()
        .find(|line| line["error"].is_object())
        .expect("no sender waits without end");
    assert_eq!(refused["error"]["name"], "RATE_LIMIT_EXCEEDED");
    assert!(refused["error"]["retryAfterMs"].is_u64());
}

pub async fn shortcuts_of_pages_become_publishes(world: World) {
    let (node, web) = (world.node().await, Web::new());
    let bearer = format!("Bearer {}", player("u1"));
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let body = r#"{"sessionId":"42","x":1.5,"y":2}"#;
    let answer = web
        .send(&node, Method::POST, "/api/realtime/cursor", &headers, body)
        .await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (202, 0));
    let body = r#"{"sessionId":"42","operation":{"tool":"pen","points":[{"x":1,"y":2}]}}"#;
    let answer = web
        .send(&node, Method::POST, "/api/realtime/draw", &headers, body)
        .await;
    assert_eq!(answer.status, 200);
    let place = world.place("session.42", answer.json()["cursor"].as_str().unwrap());
    let events = world.accepted("session.42").await;
    assert_eq!(
        (events[0].0 + 1, events[0].1.name.as_str()),
        (place.next, "draw")
    );
    assert_eq!(
        &events[0].1.data[..],
        br#"{"tool":"pen","points":[{"x":1,"y":2}]}"#
    );

    let stranger = format!("Bearer {}", crate::world::token("u2", &[], &[]));
    let headers = [("authorization", stranger.as_str())];
    let answer = web
        .send(&node, Method::POST, "/api/realtime/draw", &headers, body)
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (403, "PERMISSION_DENIED")
    );
    assert_eq!(answer.json()["channel"], "session.42");
}

pub async fn a_full_queue_is_said_at_once(world: World) {
    let config = IngestConfig {
        queue_count_max: 8,
        ..IngestConfig::default()
    };
    let node = world.node_with(config, world.pins.clone()).await;
    let who = identity(&backend());
    let (told, mut answers) = mpsc::channel(2_000);
    for n in 0..2_000 {
        let text = json!({"channel": "session.1", "event": "draw", "data": n}).to_string();
        let (told, asked) = (told.clone(), Instant::now());
        let reply = Box::new(move |answer| told.try_send((asked.elapsed(), answer)).unwrap());
        node.gateway
            .submit(&who, parse_publish(text.as_bytes()).unwrap(), reply);
    }
    let (mut stored, mut refused, mut unheard) = (0, 0, 0);
    for _ in 0..2_000 {
        let answer = tokio::time::timeout(DEADLINE, answers.recv()).await;
        match answer.unwrap().unwrap() {
            (_, Ok(_)) => stored += 1,
            // Of those that were taken: the log was slow to answer for them, which nobody knows at once.
            (took, Err(error)) if error.name == ErrorName::Timeout => {
                assert!(took >= Duration::from_secs(4), "TIMEOUT after {took:?}");
                unheard += 1;
            }
            (_, Err(error)) => {
                assert_eq!(error.name, ErrorName::Unavailable, "{error}");
                assert!(error.retry_after_ms.is_some_and(|ms| ms > 0));
                refused += 1;
            }
        }
    }
    assert!(
        stored + unheard >= 8 && refused > 0,
        "{stored} stored, {refused} refused, {unheard} unheard of"
    );
    let accepted = world.accepted("session.1").await.len();
    assert!(
        (stored..=stored + unheard).contains(&accepted),
        "{accepted}, {stored} of them told and {unheard} not"
    );
}

pub async fn what_is_in_flight_is_answered_at_shutdown_and_nothing_more_is_taken(world: World) {
    let node = world.node().await;
    let who = identity(&backend());
    let (told, mut answers) = mpsc::channel(500);
    for n in 0..500 {
        let channel = format!("session.{}", n % 7);
        let text = json!({"channel": channel, "event": "draw", "data": n}).to_string();
        let told = told.clone();
        let reply = Box::new(move |answer| told.try_send(answer).unwrap());
        node.gateway
            .submit(&who, parse_publish(text.as_bytes()).unwrap(), reply);
    }
    node.shutdown.start();
    drop(told);
    let mut stored = 0;
    while let Some(answer) = tokio::time::timeout(DEADLINE, answers.recv())
        .await
        .unwrap()
    {
        answer.unwrap();
        stored += 1;
    }
    assert_eq!(stored, 500, "everything that was taken is flushed");
    let late = parse_publish(br#"{"channel":"session.1","event":"draw"}"#).unwrap();
    let error = node.gateway.publish(&who, late).await.unwrap_err();
    assert_eq!(error.name, ErrorName::Unavailable);
    node.shutdown
        .finished(DEADLINE)
        .await
        .expect("every task ends");
}

pub async fn a_topic_that_is_not_the_pinned_one_stops_publishing(world: World) {
    let mut pins = world.pins.clone();
    pins.topics.get_mut(world.topics.events()).unwrap().id = "another".to_owned();
    let node = world.node_with(IngestConfig::default(), pins).await;
    let web = Web::new();
    let answer = web
        .publish(
            &node,
            &player("u1"),
            r#"{"channel":"session.1","event":"draw"}"#,
        )
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (503, "UNAVAILABLE")
    );
    assert!(answer.header("retry-after").is_some());
    assert!(world.read(world.topics.events()).await.is_empty());
}
