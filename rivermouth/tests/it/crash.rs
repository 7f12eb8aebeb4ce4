//! kill -9 of each service in the middle of traffic: afterwards nothing is lost, doubled or out of order, at
//! clients that resumed elsewhere and in SQL.

use std::sync::Arc;
use std::time::Duration;

use testbed::{Bed, Node};

use crate::BINARY;
use crate::traffic::{Door, Progress, Traffic};

fn traffic(nodes: &[&Node], door: Door) -> Traffic {
    Traffic {
        sessions: 6,
        users_per_session: 4,
        messages_per_user: 90,
        pace: Duration::from_millis(100),
        nodes: nodes.iter().map(|node| node.endpoint()).collect(),
        door,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_fanout_node_loses_nothing_and_its_clients_go_on_at_another() {
    let bed = Bed::on_kafka(BINARY).await;
    let (mut first, second, _persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("persister")
    );
    let traffic = traffic(&[&first, &second], Door::Socket);
    let progress = Arc::new(Progress::default());
    let breaking = async {
        progress.reached(traffic.total() / 4).await;
        first.kill_9().await;
        progress.reached(traffic.total() / 2).await;
        first.start().await;
        progress.reached(traffic.total() * 3 / 4).await;
        first.kill_9().await;
    };
    tokio::join!(traffic.run(&bed, Arc::clone(&progress)), breaking);
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_a_killed_ingest_node_loses_and_doubles_nothing() {
    let bed = Bed::on_kafka(BINARY).await;
    let (mut first, second) = tokio::join!(bed.start("ingest"), bed.start("ingest"));
    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let traffic = traffic(
        &[&fanout],
        Door::Http(vec![first.endpoint(), second.endpoint()]),
    );
    let progress = Arc::new(Progress::default());
    let breaking = async {
        for quarter in 1..=3 {
            progress.reached(traffic.total() * quarter / 4).await;
            first.kill_9().await;
            first.start().await;
        }
    };
    tokio::join!(traffic.run(&bed, Arc::clone(&progress)), breaking);
}

#[tokio::test(flavor = "multi_thread")]
async fn f50_a_killed_persister_leaves_its_partitions_to_another_and_rows_are_written_once() {
    let bed = Bed::on_kafka(BINARY).await;
    let (fanout, mut first, mut second) = tokio::join!(
        bed.start("fanout"),
        bed.start("persister"),
        bed.start("persister")
    );
    let traffic = traffic(&[&fanout], Door::Socket);
    let progress = Arc::new(Progress::default());
    let breaking = async {
        progress.reached(traffic.total() / 4).await;
        first.kill_9().await;
        progress.reached(traffic.total() / 2).await;
        first.start().await;
        progress.reached(traffic.total() * 3 / 4).await;
        // From here on the first one has to take over everything.
        second.kill_9().await;
    };
    tokio::join!(traffic.run(&bed, Arc::clone(&progress)), breaking);
}

#[tokio::test(flavor = "multi_thread")]
async fn f52_a_stopped_persister_that_wakes_up_late_writes_nothing_twice() {
    let bed = Bed::on_kafka(BINARY).await;
    let (fanout, mut zombie, _other) = tokio::join!(
        bed.start("fanout"),
        bed.start("persister"),
        bed.start("persister")
    );
    let traffic = traffic(&[&fanout], Door::Socket);
    let progress = Arc::new(Progress::default());
    let checker = bed.checker().await;
    let breaking = async {
        progress.reached(traffic.total() / 4).await;
        zombie.process().pause();
        // Its leases run out: the other one brings every partition to the end.
        progress.reached(traffic.total()).await;
        checker.stored().await;
        zombie.process().go_on();
    };
    tokio::join!(traffic.run(&bed, Arc::clone(&progress)), breaking);
}

/// A gateway that stands still long enough for its clients to go elsewhere, and then goes on with what it had in
/// its hands: its late records count for nobody (D3).
#[tokio::test(flavor = "multi_thread")]
async fn f15_a_stopped_ingest_node_that_wakes_up_late_doubles_nothing() {
    let bed = Bed::on_kafka(BINARY).await;
    let (mut zombie, other) = tokio::join!(bed.start("ingest"), bed.start("ingest"));
    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let door = Door::Http(vec![zombie.endpoint(), other.endpoint()]);
    let traffic = Traffic {
        messages_per_user: 40,
        ..traffic(&[&fanout], door)
    };
    let progress = Arc::new(Progress::default());
    let breaking = async {
        for third in 1..=2 {
            progress.reached(traffic.total() * third / 3).await;
            zombie.process().pause();
            // Everybody who waits for it gives up and publishes the same record elsewhere.
            progress.reached(traffic.total() * third / 3 + 48).await;
            zombie.process().go_on();
        }
    };
    tokio::join!(traffic.run(&bed, Arc::clone(&progress)), breaking);
}
