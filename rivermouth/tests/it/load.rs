//! Many users at once, nothing broken.

use std::sync::Arc;
use std::time::Duration;

use testbed::Bed;

use crate::BINARY;
use crate::traffic::{Door, Progress, Traffic};

/// 100 users in 20 sessions, 1000 messages a second for 30 s: every member gets every event of its session
/// once, in the order of Kafka and of SQL, byte for byte. On a slow machine it only takes longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_users_in_twenty_sessions_all_see_one_order() {
    let bed = Bed::on_kafka(BINARY).await;
    let (fanout, _persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let traffic = Traffic {
        sessions: 20,
        users_per_session: 5,
        messages_per_user: 300,
        pace: Duration::from_millis(100),
        nodes: vec![fanout.endpoint()],
        door: Door::Socket,
    };
    assert_eq!(traffic.total(), 30_000);
    traffic.run(&bed, Arc::new(Progress::default())).await;
}
