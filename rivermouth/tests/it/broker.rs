//! Kafka itself going away in the middle of traffic.

use std::sync::Arc;
use std::time::Duration;

use testbed::Bed;

use crate::BINARY;
use crate::traffic::{Door, Progress, Traffic};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_restarted_broker_loses_doubles_and_reorders_nothing() {
    let bed = Bed::on_own_kafka(BINARY, 1).await;
    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let traffic = Traffic {
        sessions: 6,
        users_per_session: 4,
        messages_per_user: 90,
        pace: Duration::from_millis(100),
        nodes: vec![fanout.endpoint()],
        door: Door::Socket,
    };
    let progress = Arc::new(Progress::default());
    let cluster = bed.broker().cluster();
    let breaking = async {
        progress.reached(traffic.total() / 3).await;
        // The script waits for the process' end and for the broker's answer, off the runtime's threads.
        tokio::task::block_in_place(|| {
            cluster.kill_9(1);
            cluster.restart(1);
        });
        progress.reached(traffic.total() * 2 / 3).await;
        tokio::task::block_in_place(|| cluster.restart(1));
    };
    tokio::join!(traffic.run(&bed, Arc::clone(&progress)), breaking);
}
