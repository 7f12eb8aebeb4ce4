//! Batches of publishes.

use serde_json::{Value, json};

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
    let (node, web) = (world.node().await, Web::new());
    let line = |n: usize| {
        format!(
            "{}\n",
            json!({"channel": "session.1", "event": "chat.message", "id": n.to_string()})
        )
    };
    let text: String = (0..300).map(line).collect();
    let lines = web.batch(&node, &player("u1"), text.clone()).await.lines();
    let refused: Vec<&Value> = lines
        .iter()
        .filter(|line| line["error"].is_object())
        .collect();
    let stored = lines.len() - refused.len();
    // A slow machine earns a few tokens meanwhile, at most those of the chat bucket.
    assert!((100..130).contains(&stored), "{stored}");
    for line in refused {
        assert_eq!(line["error"]["name"], "RATE_LIMIT_EXCEEDED");
        assert_eq!(line["error"]["legacy"], "E004");
        assert!(line["error"]["retryAfterMs"].as_u64().unwrap() > 0);
        assert!(line["id"].is_string());
    }
    let mut answer = web.publish(&node, &player("u1"), line(1_000)).await;
    // What was earned while the log took the batch is spent first.
    for n in 1_001..1_030 {
        if answer.status != 200 {
            break;
        }
        answer = web.publish(&node, &player("u1"), line(n)).await;
    }
    assert_eq!(
        (answer.status.as_u16(), answer.error().as_str()),
        (429, "RATE_LIMIT_EXCEEDED")
    );
    assert!(answer.header("retry-after").is_some());
    let lines = web.batch(&node, &backend(), text).await.lines();
    assert!(lines.iter().all(|line| line["error"].is_null()));
}
