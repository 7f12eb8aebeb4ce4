//! Pages of the past of channels that nobody listens to.

use client::{Event, History, Http};
use serde_json::json;
use testbed::{Bed, Node, until};

use crate::BINARY;
use crate::insisting::surely;
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
        let page = surely("a page", || http.history(&asked)).await;
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

/// Events of which the first are stored and the others in the log alone, and the node that they were published by.
async fn half_stored(bed: &Bed) -> (Vec<Event>, Node) {
    let (node, mut persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let mut events = fill(bed, &node, CHANNEL, 20).await;
    bed.checker().await.stored().await;
    persister.terminate().await;
    events.extend(fill(bed, &node, CHANNEL, 7).await);
    (events, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_cold_channel_leave_it_cold_and_are_those_of_a_hot_one() {
    let bed = Bed::on_kafka(BINARY).await;
    let (events, _first) = half_stored(&bed).await;
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

/// PostgreSQL says nothing when it is asked how far it has the events, and speaks again a moment later.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_leaves_nothing_out_when_the_store_speaks_again_while_it_is_made() {
    const SILENT: &str = "begin; lock table rivermouth.gaps in access exclusive mode";
    // Who asks for more than one thing at once does so in a transaction.
    const CHECKPOINT_WAITS: &str = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and xact_start < query_start";
    let bed = Bed::on_kafka(BINARY).await;
    let (events, _first) = half_stored(&bed).await;
    let node = bed.start("fanout").await;
    let http = node.http(&bed.gm("u1"));
    assert_eq!(pages(&http, "asc", 50).await, events);

    let database = bed.database();
    let silent = database.hold(SILENT).await;
    let speaks = async {
        until("the checkpoint is asked for", || async {
            (database.number(CHECKPOINT_WAITS).await > 0).then_some(())
        })
        .await;
    };
    let page = pages(&http, "desc", 50);
    tokio::pin!(page);
    let mut page = tokio::select! {
        page = &mut page => page,
        () = speaks => {
            silent.release().await;
            page.await
        }
    };
    page.reverse();
    assert_eq!(page, events);
}
