//! Faults of the log's memory: records are taken away, by `delete_records` and by retention.
//!
//! Only what the tables have is taken, so every reader still has to get everything; but for [`lose`]. What the
//! recorder has not read is not taken either, for the judge has to know it.

use std::collections::BTreeMap;
use std::time::Duration;

use testbed::Random;
use tokio::time::{Instant, sleep};

use super::process::start;
use super::{Done, Injector, Shows, hold};
use crate::settle::complete_to;
use crate::world::PARTITIONS;

/// By topic and partition, an offset.
type Offsets = BTreeMap<(String, i32), i64>;

/// How far the recorder has read: the log's end, as good as.
fn read(injector: &Injector) -> Offsets {
    let mut read = BTreeMap::new();
    for topic in injector.desk.world.topics() {
        for partition in 0..PARTITIONS {
            let next = injector.recorder.read_to(&topic, partition);
            read.insert((topic.clone(), partition), next);
        }
    }
    read
}

/// How far the tables are complete; none while PostgreSQL does not say.
async fn stored(injector: &Injector) -> Option<Offsets> {
    let tables = injector.desk.world.tables().ok()?;
    complete_to(&tables).await.ok()
}

/// Waits until everything that is in the log now is in the tables, and gives the time; none when it is not within
/// `patience`.
pub(super) async fn stored_within(injector: &Injector, patience: Duration) -> Option<u32> {
    let wanted = read(injector);
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(stored) = stored(injector).await {
            let has = |(place, next): (&(String, i32), &i64)| {
                *next == 0 || stored.get(place).is_some_and(|stored| stored >= next)
            };
            if wanted.iter().all(has) {
                return Some(injector.now());
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    None
}

/// `delete_records` up to some place that is stored, in every partition.
pub(super) async fn erase(injector: &Injector, random: &mut Random) -> Done {
    let from = injector.now();
    let read = read(injector);
    let stored = stored(injector).await.unwrap_or_default();
    let mut erased = 0;
    for ((topic, partition), stored) in stored {
        let Some(read) = read.get(&(topic.clone(), partition)) else {
            continue;
        };
        let most = stored.min(*read);
        // Now and then everything that is stored, mostly all but the latest.
        let keep = i64::try_from(random.below(400)).unwrap_or_default();
        let upto = most - keep;
        if upto > 0 {
            injector
                .desk
                .world
                .bed
                .broker()
                .erase(&topic, partition, upto)
                .await;
            erased += 1;
        }
    }
    Done {
        what: format!("records of {erased} partitions deleted up to what is stored"),
        from,
        shows: if erased == 0 {
            Shows::Nothing
        } else {
            Shows::Delivery
        },
    }
}

/// The persisters are dead, and what they did not store is deleted. Jobs are spared: their states would be wrong.
pub(super) async fn lose(injector: &Injector, random: &mut Random) -> Done {
    let from = injector.now();
    let world = &injector.desk.world;
    let mut nodes = Vec::new();
    for member in &world.persister {
        let mut node = member.node().await;
        node.kill_9().await;
        nodes.push(node);
    }
    let ms = hold(random, 2_000, 4_000).await;
    for ((topic, partition), read) in read(injector) {
        if topic.ends_with(".events") && read > 0 {
            world.bed.broker().erase(&topic, partition, read).await;
        }
    }
    let mut what = format!("events of {ms} ms deleted before they were stored");
    for node in &mut nodes {
        what += &start(node).await;
    }
    Done {
        what,
        from,
        shows: Shows::Delivery,
    }
}

/// What is younger does not expire.
const RETENTION: Duration = Duration::from_secs(25);

/// Retention takes whole segments of what is older.
pub(super) async fn expire(injector: &Injector) -> Done {
    let from = injector.now();
    if stored_within(injector, Duration::from_secs(20))
        .await
        .is_none()
    {
        return Done {
            what: "the tables lag, so nothing may expire".into(),
            from,
            shows: Shows::Nothing,
        };
    }
    retention(injector, RETENTION).await;
    hold(&mut Random::of(0), 5_000, 5_000).await;
    retention(injector, Duration::from_secs(7 * 24 * 3600)).await;
    Done {
        what: format!("segments older than {RETENTION:?} expired"),
        from,
        shows: Shows::Delivery,
    }
}

async fn retention(injector: &Injector, time: Duration) {
    for topic in injector.desk.world.topics() {
        let world = std::sync::Arc::clone(&injector.desk.world);
        let setting = format!("retention.ms={}", time.as_millis());
        tokio::task::spawn_blocking(move || world.bed.broker().cluster().set(&topic, &[&setting]))
            .await
            .expect("a topic's settings can be changed");
    }
}
