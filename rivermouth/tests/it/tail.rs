//! `rivermouth tail` beside a server that is away: it says so, and goes on when it is back.

use testbed::{Bed, Process, until};

use crate::BINARY;
use crate::talk::fill;

const CHANNEL: &str = "session.tail";

/// Waits until the command has printed `text` so many times.
async fn says(tail: &mut Process, what: &str, text: &str, times: usize) {
    let tail = &*tail;
    until(
        &format!("{what} to say \"{text}\" {times} times"),
        || async { (tail.output().matches(text).count() == times).then_some(()) },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_says_once_for_each_outage_why_there_is_no_connection_and_that_it_is_back() {
    let bed = Bed::on_kafka(BINARY).await;
    let mut node = bed.start("fanout").await;
    let token = bed.gm("u1");
    let (away, back) = (
        format!("no connection to {} (", node.url()),
        format!("connected to {}\n", node.url()),
    );
    node.kill_9().await;
    let mut tails = ["ws", "sse", "stream", "poll"].map(|transport| {
        let arguments = [
            "tail",
            CHANNEL,
            "session.other",
            "--since",
            "earliest",
            "--transport",
            transport,
            "--url",
            node.url(),
            "--token",
            &token,
        ];
        (transport, bed.spawn(&arguments))
    });
    for outage in 1..=2 {
        for (transport, tail) in &mut tails {
            says(tail, transport, &away, outage).await;
            // The second outage begins with a connection that breaks.
            says(tail, transport, "refused", 1).await;
        }
        node.start().await;
        // A poll is answered when there is something to say.
        fill(&bed, &node, CHANNEL, 1).await;
        for (transport, tail) in &mut tails {
            says(tail, transport, &back, outage).await;
            says(tail, transport, "  draw  ", outage).await;
        }
        node.kill_9().await;
    }
    for (_, tail) in &mut tails {
        tail.kill_9().await;
    }
}
