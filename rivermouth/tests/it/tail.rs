//! `rivermouth tail` beside a server that is away: it says so, and goes on when it is back.

use testbed::{Bed, Process, until};

use crate::BINARY;
use crate::talk::fill;

const CHANNEL: &str = "session.tail";

/// A command that follows the channel over one transport.
struct Tail {
    transport: &'static str,
    url: String,
    process: Process,
}

impl Tail {
    /// What it has said of its connection: why there is none, or nothing of the kind once there is one. Each is said
    /// once for each outage, however often it was tried.
    fn told(&self) -> Vec<Option<String>> {
        let away = format!("no connection to {} (", self.url);
        let back = format!("connected to {}", self.url);
        let output = self.process.output();
        let told = |line: &str| match line.strip_prefix(away.as_str()) {
            Some(why) => Some(Some(why.to_owned())),
            None => (line == back).then_some(None),
        };
        let told: Vec<Option<String>> = output.lines().filter_map(told).collect();
        let by_turns = told
            .iter()
            .enumerate()
            .all(|(at, why)| why.is_some() == (at % 2 == 0));
        assert!(by_turns, "{}: {output}", self.transport);
        told
    }

    /// How many outages it has told.
    fn outages(&self) -> usize {
        self.told().iter().flatten().count()
    }

    /// Asserts that it has told one outage more at most: nobody can be connected while the node is gone.
    fn told_once_since(&self, before: usize) {
        let told = self.told();
        assert!(self.outages() <= before + 1, "{}: {told:?}", self.transport);
    }

    /// Waits until it has said that there is no connection: why.
    async fn is_away(&self) -> String {
        until(
            &format!("{} to miss its server", self.transport),
            || async {
                let why = self.told().pop()??;
                why.ends_with(", trying again").then_some(why)
            },
        )
        .await
    }

    /// Waits until it has said that it is connected.
    async fn is_back(&self) {
        until(&format!("{} to be connected", self.transport), || async {
            matches!(self.told().last(), Some(None)).then_some(())
        })
        .await;
    }

    /// Waits until it has printed so many events.
    async fn has_printed(&self, events: usize) {
        until(&format!("{} to print {events}", self.transport), || async {
            let printed = self.process.output().matches("  draw  ").count();
            (printed == events).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_says_once_for_each_outage_why_there_is_no_connection_and_that_it_is_back() {
    let bed = Bed::on_kafka(BINARY).await;
    let mut node = bed.start("fanout").await;
    let token = bed.gm("u1");
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
        Tail {
            transport,
            url: node.url().to_owned(),
            process: bed.spawn(&arguments),
        }
    });
    let mut at_kill = [0; 4];
    for outage in 1..=2 {
        for tail in &tails {
            let why = tail.is_away().await;
            // The second outage begins with a connection that breaks; between two polls there is none to break.
            if outage == 1 || tail.transport != "poll" {
                assert_eq!(
                    why.contains("refused"),
                    outage == 1,
                    "{}: {why}",
                    tail.transport
                );
            }
        }
        for (tail, before) in tails.iter().zip(at_kill) {
            tail.told_once_since(before);
            if outage == 1 {
                assert_eq!(tail.told().len(), 1, "{}", tail.transport);
            }
        }
        node.start().await;
        // A poll is answered when there is something to say.
        fill(&bed, &node, CHANNEL, 1).await;
        for tail in &tails {
            tail.is_back().await;
            tail.has_printed(outage).await;
        }
        node.kill_9().await;
        at_kill = tails.each_ref().map(Tail::outages);
    }
    for (tail, before) in tails.iter_mut().zip(at_kill) {
        tail.process.kill_9().await;
        tail.told_once_since(before);
    }
}
