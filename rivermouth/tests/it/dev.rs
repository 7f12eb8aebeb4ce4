//! `rivermouth dev`, and the commands that go with it.

use client::{Event, History, Publish};
use serde_json::json;
use testbed::{Bed, Node};

use crate::BINARY;
use crate::talk::Talk;

const CHANNEL: &str = "session.kept";

async fn publish(node: &Node, token: &str, from: u64, count: u64) {
    let http = node.http(token);
    for seq in from..from + count {
        let publish = Publish::new(CHANNEL, "draw", seq.to_string())
            .unwrap()
            .id(format!("e{seq}"))
            .identity("p", 0, seq);
        assert!(!http.publish(&publish).await.unwrap().duplicate);
    }
}

/// Everything there is, live path and history, which have to be the same bytes.
async fn everything(bed: &Bed, node: &Node, count: usize) -> Vec<Event> {
    let token = bed.gm("reader");
    let mut talk = Talk::open(node, &token).await;
    talk.subscribe(json!({"channel": CHANNEL, "since": "earliest"}))
        .await;
    let events = talk.events(count).await;
    talk.caught_up(CHANNEL).await;
    let history = History {
        channel: CHANNEL.into(),
        limit: Some(1000),
        ..History::default()
    };
    assert_eq!(
        node.http(&token).history(&history).await.unwrap().events,
        events
    );
    events
}

/// Stopped, killed, started again: what was acknowledged is delivered, in history and in SQL, and outboxes go on
/// where they were.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_dev_keeps_everything_that_was_acknowledged() {
    let bed = Bed::embedded(BINARY).await;
    let mut dev = bed.start("dev").await;
    let token = bed.backend();
    publish(&dev, &token, 0, 40).await;
    let before = everything(&bed, &dev, 40).await;
    assert!(
        before
            .iter()
            .enumerate()
            .all(|(seq, event)| event.data == seq.to_string())
    );

    assert!(dev.terminate().await.success());
    dev.start().await;
    assert_eq!(everything(&bed, &dev, 40).await, before);
    let again = Publish::new(CHANNEL, "draw", "39")
        .unwrap()
        .id("e39")
        .identity("p", 0, 39);
    assert!(dev.http(&token).publish(&again).await.unwrap().duplicate);
    publish(&dev, &token, 40, 40).await;

    // Right after the last acknowledgement.
    dev.kill_9().await;
    dev.start().await;
    let after = everything(&bed, &dev, 80).await;
    assert_eq!(after[..40], before);
    assert!(
        after
            .iter()
            .enumerate()
            .all(|(seq, event)| event.data == seq.to_string())
    );
    publish(&dev, &token, 80, 1).await;
    let all = everything(&bed, &dev, 81).await;

    let checker = bed.checker().await;
    let rows = checker.stored_at_least(CHANNEL, all.len()).await;
    for (event, row) in all.iter().zip(&rows) {
        let seen = (
            &event.id,
            &event.data,
            event.timestamp_ms,
            event.cursor.as_ref(),
        );
        assert_eq!(
            seen,
            (
                &row.fact.id,
                &row.fact.data,
                row.fact.timestamp_ms,
                Some(&row.cursor)
            )
        );
    }
    assert_eq!(rows.len(), all.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_and_tail_meet_on_the_command_line() {
    let mut bed = Bed::embedded(BINARY).await;
    let dev = bed.start("dev").await;
    bed.set("RIVERMOUTH_URL", dev.url());
    bed.set("RIVERMOUTH_TOKEN", bed.backend());
    for number in ["1", "2"] {
        let published = bed
            .run(&["publish", "session.shell", "chat.message", number])
            .await;
        assert!(published.status.success(), "{}", published.output);
    }
    for transport in ["ws", "sse", "stream", "poll"] {
        let arguments = [
            "tail",
            "session.shell",
            "--since",
            "earliest",
            "--json",
            "--count",
            "2",
            "--transport",
            transport,
        ];
        let tail = bed.run(&arguments).await;
        assert!(tail.status.success(), "{transport}: {}", tail.output);
        let data = tail
            .output
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let data: Vec<_> = data
            .filter(|event| event["event"] == "chat.message")
            .map(|event| event["data"].clone())
            .collect();
        assert_eq!(data, [json!(1), json!(2)], "{transport}: {}", tail.output);
    }
    bed.set("RIVERMOUTH_TOKEN", "nonsense");
    let refused = bed
        .run(&["publish", "session.shell", "chat.message", "1"])
        .await;
    assert!(
        !refused.status.success() && refused.output.contains("AUTH_REQUIRED"),
        "{}",
        refused.output
    );
}
