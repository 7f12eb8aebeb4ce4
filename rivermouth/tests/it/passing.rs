//! Pages of the past of channels that nobody listens to.

use client::{Event, History, Http};
use serde_json::json;
use testbed::{Bed, until};

use crate::BINARY;
use crate::retention::figure;
use crate::talk::{Talk, fill};

const CHANNEL: &str = "session.cold";

/// All events of the channel, page by page, in the order asked for.
async fn pages(http: &Http, order: &'static str, limit: u32) -> Vec<Event> {
    let mut asked = History {
        channel: CHANNEL.into(),
        limit: Some(limit),
        order: Some(order),
        ..History::default()
    };
    let mut all = Vec::new();
    loop {
        let page = http.history(&asked).await.unwrap();
        assert!(page.gap.is_none() && page.events.len() <= limit as usize);
        all.extend(page.events);
        match (page.next, order) {
            (None, _) => return all,
            (next, "asc") => asked.after = next,
            (next, _) => asked.before = next,
        }
    }
}

async fn both_ways(http: &Http, events: &[Event]) {
    for limit in [3, 50] {
        assert_eq!(pages(http, "asc", limit).await, events);
        let mut backwards = pages(http, "desc", limit).await;
        backwards.reverse();
        assert_eq!(backwards, events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_cold_channel_leave_it_cold_and_are_those_of_a_hot_one() {
    let bed = Bed::on_kafka(BINARY).await;
    let (first, mut persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let mut events = fill(&bed, &first, CHANNEL, 20).await;
    bed.checker().await.stored().await;
    persister.terminate().await;
    // What follows is in the log alone.
    events.extend(fill(&bed, &first, CHANNEL, 7).await);

    let node = bed.start("fanout").await;
    let token = bed.gm("u1");
    let http = node.http(&token);
    both_ways(&http, &events).await;

    let mut talk = Talk::open(&node, &token).await;
    talk.subscribe(json!({"channel": "session.hot"})).await;
    let hot = "rivermouth_fanout_hot_channels";
    let counted = until("the hot channels are counted", || async {
        Some(figure(&node, hot).await).filter(|count| *count > 0.0)
    });
    assert_eq!(counted.await, 1.0, "the one that is listened to");

    let since = json!({"channel": CHANNEL, "since": "latest"});
    talk.subscribe(since).await;
    both_ways(&http, &events).await;
}
