//! Kafka itself going away in the middle of traffic.

use std::sync::Arc;
use std::time::Duration;

use testbed::{Bed, Node};

use crate::BINARY;
use crate::traffic::{Door, Progress, Traffic};

fn traffic(fanout: &Node) -> Traffic {
    Traffic {
        sessions: 6,
        users_per_session: 4,
        messages_per_user: 90,
        pace: Duration::from_millis(100),
        nodes: vec![fanout.endpoint()],
        door: Door::Socket,
    }
}

/// The script waits for the process' end and for the broker's answer, off the runtime's threads.
fn off_the_runtime(doing: impl FnOnce()) {
    tokio::task::block_in_place(doing);
}

#[tokio::test(flavor = "multi_thread")]
async fn f22_a_killed_and_restarted_broker_loses_doubles_and_reorders_nothing() {
    let bed = Bed::on_own_kafka(BINARY, 1).await;
    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let traffic = traffic(&fanout);
    let progress = Arc::new(Progress::default());
    let cluster = bed.broker().cluster();
    let breaking = async {
        progress.reached(traffic.total() / 3).await;
        off_the_runtime(|| {
            cluster.kill_9(1);
            cluster.restart(1);
        });
        progress.reached(traffic.total() * 2 / 3).await;
        off_the_runtime(|| cluster.restart(1));
    };
    tokio::join!(traffic.run(&bed, Arc::clone(&progress)), breaking);
}

/// Leaders move from broker to broker, each killed in turn; two of three always hold everything.
#[tokio::test(flavor = "multi_thread")]
async fn f22_three_brokers_killed_in_turn_lose_double_and_reorder_nothing() {
    let bed = Bed::on_own_kafka(BINARY, 3).await;
    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let traffic = traffic(&fanout);
    let progress = Arc::new(Progress::default());
    let cluster = bed.broker().cluster();
    let breaking = async {
        for (quarter, number) in (1..).zip([1, 2, 3]) {
            progress.reached(traffic.total() * quarter / 4).await;
            off_the_runtime(|| cluster.kill_9(number));
            progress.reached(traffic.total() * quarter / 4 + 50).await;
            off_the_runtime(|| cluster.restart(number));
        }
    };
    tokio::join!(traffic.run(&bed, Arc::clone(&progress)), breaking);
}
