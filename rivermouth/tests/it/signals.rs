//! The ephemeral lane beside what only pages of the past keep open.

use std::time::{Duration, Instant};

use client::History;
use serde_json::json;
use testbed::{Bed, until};

use crate::BINARY;
use crate::insisting::surely;
use crate::retention::figure;
use crate::talk::{Talk, fill};

const CHANNEL: &str = "session.signals";

/// The past of a partition is read without a subscriber for longer than a node keeps what nobody follows (a minute):
/// whoever comes after that hears signals all the same.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_after_a_minute_of_history_only_hears_signals() {
    let bed = Bed::on_kafka(BINARY).await;
    let (node, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    // A channel of the same partition that nobody follows.
    let partition = |id: &str| schemas::partition_of(id.as_bytes(), 4);
    let mut ids = (0..).map(|n| n.to_string());
    let id = ids.find(|id| partition(id) == partition("signals"));
    let beside = format!("session.{}", id.unwrap());
    fill(&bed, &node, CHANNEL, 1).await;
    let page = || async {
        let asked = History {
            channel: beside.clone(),
            ..History::default()
        };
        let http = node.http(&bed.gm("u1"));
        let page = surely("a page", || http.history(&asked)).await;
        assert!(page.events.is_empty());
    };
    for hot in [1.0, 0.0] {
        until("the channel to be hot, then to be forgotten", || async {
            page().await;
            let channels = figure(&node, "rivermouth_fanout_hot_channels").await;
            (channels == hot).then_some(())
        })
        .await;
    }
    // The node looks once a second at what is needed no more.
    let looked = Instant::now() + Duration::from_secs(3);
    while Instant::now() < looked {
        page().await;
    }

    let mut talk = Talk::open(&node, &bed.gm("u1")).await;
    talk.subscribe(json!({ "channel": CHANNEL })).await;
    let mut other = Talk::open(&node, &bed.gm("u2")).await;
    let answer = other
        .publish(CHANNEL, "cursor.move", json!({ "x": 1 }))
        .await;
    assert!(answer["cursor"].is_null(), "{answer}");
    assert_eq!(talk.event().await.name, "cursor.move");
}
