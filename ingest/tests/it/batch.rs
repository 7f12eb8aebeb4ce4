//! Batches of publishes.

use std::collections::BTreeSet;

use ingest::IngestConfig;
use protocol::{Limits, Rate};
use serde_json::{Value, json};

use crate::load::{TRIES, pause};
use crate::web::Web;
use crate::world::{World, backend, player};

pub async fn lines_fail_alone_and_answers_come_in_order(world: World) {
    let (node, web) = (world.node().await, Web::new());
    let large = "x".repeat(70_000);
    let text = [
        r#"{"channel":"session.1","event":"draw","id":"a"}"#.to_owned(),
        r#"{"channel":"session.1","event":"clear","id":"b"}"#.to_owned(),
        "  \r".to_owned(),
        "not json".to_owned(),
        format!(r#"{{"channel":"session.1","event":"draw","id":"c","data":"{large}"}}"#),
        r#"{"channel":"session.9.9","event":"draw","id":"d"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","id":"a","data":"again"}"#.to_owned(),
        "{\"channel\":\"session.2\",\"event\":\"draw\",\"id\":\"e\"}\r".to_owned(),
    ]
    .join("\n");
    let answer = web.batch(&node, &player("u1"), text).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let lines = answer.lines();
    let told: Vec<(Option<&str>, Option<&str>)> = lines
        .iter()
        .map(|line| (line["id"].as_str(), line["error"]["name"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Some("a"), None),
            (Some("b"), Some("PERMISSION_DENIED")),
            (None, Some("INVALID_MESSAGE")),
            (Some("c"), Some("MESSAGE_TOO_LARGE")),
            (Some("d"), Some("INVALID_MESSAGE")),
            (Some("a"), None),
            (Some("e"), None),
        ]
    );
    assert_eq!(
        (&lines[0]["duplicate"], &lines[5]["duplicate"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(lines[0]["cursor"], lines[5]["cursor"]);
    assert_eq!(world.accepted("session.1").await.len(), 1);
    assert_eq!(world.accepted("session.2").await.len(), 1);
}

pub async fn a_batch_is_bounded_in_bytes_and_lines(world: World) {
    let (node, web) = (world.node().await, Web::new());
    let line = "{\"channel\":\"session.1\",\"event\":\"draw\"}\n";
    let answer = web.batch(&node, &backend(), line.repeat(1_001)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (400, "LIMIT_EXCEEDED")
    );
    assert!(answer.json()["error"]["details"]["limit"].is_string());
    let blank = "\n".repeat(1_048_577);
    let answer = web.batch(&node, &backend(), blank).await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (413, "MESSAGE_TOO_LARGE")
    );
    assert!(
        world.read(world.topics.events()).await.is_empty(),
        "nothing of either was published"
    );
    let answer = web.batch(&node, &backend(), "\n\n").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    let answer = web.batch(&node, &backend(), line.repeat(1_000)).await;
    assert!(answer.lines().iter().all(|line| line["cursor"].is_string()));
}

pub async fn a_user_runs_into_the_bucket_and_a_backend_does_not(world: World) {
    // Nothing is earned back meanwhile, however long the log takes.
    let limits = Limits {
        chat: Rate::new(100, 1, 3_600_000),
        ..Limits::default()
    };
    let config = IngestConfig {
        limits,
        ..IngestConfig::default()
    };
    let node = world.node_with(config, world.pins.clone()).await;
    let web = Web::new();
    let line = |n: usize| {
        format!(
            "{}\n",
            json!({"channel": "session.1", "event": "chat.message", "id": n.to_string()})
        )
    };
    let text: String = (0..300).map(line).collect();
    let lines = web.batch(&node, &player("u1"), text).await.lines();
    assert_eq!(lines.len(), 300);
    // A slow log is no matter of the bucket: who is let through is stored, or comes again.
    let is = |line: &Value, name: &str| line["error"]["name"] == name;
    let let_through =
        |line: &Value| line["error"].is_null() || is(line, "TIMEOUT") || is(line, "UNAVAILABLE");
    assert!(lines[..100].iter().all(let_through), "{lines:?}");
    let (passed, limited): (Vec<&Value>, Vec<&Value>) =
        lines.iter().partition(|line| let_through(line));
    // Who is told UNAVAILABLE at the door has not paid: another one is let through instead.
    let unpaid = passed.iter().filter(|line| is(line, "UNAVAILABLE")).count();
    assert!(passed.len() - unpaid <= 100, "{lines:?}");
    assert!(!limited.is_empty(), "{lines:?}");
    let stored = ids(&world).await;
    for line in passed.iter().filter(|line| line["error"].is_null()) {
        assert!(stored.contains(line["id"].as_str().unwrap()), "{line}");
    }
    for line in limited {
        assert!(!stored.contains(line["id"].as_str().unwrap()), "{line}");
        assert_eq!(line["error"]["name"], "RATE_LIMIT_EXCEEDED");
        assert_eq!(line["error"]["legacy"], "E004");
        assert!(line["error"]["retryAfterMs"].as_u64().unwrap() > 0);
        assert!(line["id"].is_string());
    }
    let answer = web.surely(&node, &player("u1"), line(1_000)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (429, "RATE_LIMIT_EXCEEDED")
    );
    assert!(answer.header("retry-after").is_some());
    // All of the backend's are stored in the end; what was put off goes again.
    let mut left: Vec<usize> = (0..300).collect();
    for tries in 1.. {
        let text: String = left.iter().copied().map(line).collect();
        let lines = web.batch(&node, &backend(), text).await.lines();
        assert!(
            lines.len() == left.len() && lines.iter().all(let_through),
            "{lines:?}"
        );
        let mut told = lines.iter();
        left.retain(|_| told.next().is_some_and(|line| !line["error"].is_null()));
        if left.is_empty() {
            break;
        }
        assert!(tries <= TRIES, "{left:?}");
        tokio::time::sleep(pause(tries)).await;
    }
    let all: BTreeSet<String> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(ids(&world).await, all);
}

/// The ids of what counts in the channel.
async fn ids(world: &World) -> BTreeSet<String> {
    let events = world.accepted("session.1").await;
    events.into_iter().map(|(_, event)| event.id).collect()
}
