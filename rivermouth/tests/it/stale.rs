//! Clients of a node that cannot read the log are told so.

use std::time::{Duration, Instant};

use client::ServerMessage;
use serde_json::{Value, json};
use testbed::Bed;

use crate::BINARY;
use crate::talk::Talk;

/// The name and the words of the next control event of the channel.
async fn control(talk: &mut Talk) -> Value {
    match talk.next().await {
        ServerMessage::Other(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("a control event was expected, not {other:?}"),
    }
}

/// F47: within 5 s of the log's falling silent its readers hear `stale`, keep their connections, hear `fresh` when it
/// is back, and miss nothing. The bound here is wider: the machine may be busy.
#[tokio::test(flavor = "multi_thread")]
async fn f47_a_log_that_falls_silent_is_told_to_its_readers_and_so_is_its_return() {
    let bed = Bed::on_own_kafka(BINARY, 1).await;
    let fanout = bed.start("fanout").await;
    let token = bed.gm("u1");
    let mut reader = Talk::open(&fanout, &token).await;
    reader
        .subscribe(json!({ "channel": "session.1", "since": "earliest" }))
        .await;
    reader.caught_up("session.1").await;
    let mut other = Talk::open(&fanout, &token).await;
    other.publish("session.1", "note.edited", json!(1)).await;
    let first = reader.event().await;
    assert_eq!(first.data, "1");

    let cluster = bed.broker().cluster();
    tokio::task::block_in_place(|| cluster.pause(1));
    let silent = Instant::now();
    let silent_ms = testbed::unix_ms();
    let stale = control(&mut reader).await;
    let took = silent.elapsed();
    println!("F47: told after {} ms", took.as_millis());
    assert_eq!(
        (&stale["event"], &stale["channel"]),
        (&json!("stale"), &json!("session.1"))
    );
    let since = stale["data"]["since"].as_i64().unwrap();
    assert!((since - silent_ms).abs() < 5_000, "{stale} at {silent_ms}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    reader.quiet().await;

    tokio::task::block_in_place(|| cluster.go_on(1));
    let fresh = control(&mut reader).await;
    assert_eq!(fresh["event"], "fresh");
    other.publish("session.1", "note.edited", json!(2)).await;
    let event = reader.event().await;
    assert_eq!((event.data.as_str(), event.prev), ("2", first.cursor));
}
