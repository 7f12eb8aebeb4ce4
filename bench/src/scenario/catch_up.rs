//! Old cursors: a channel's whole past, out of Kafka and out of PostgreSQL, for one reader and for many at once.

use std::rc::Rc;
use std::time::{Duration, Instant};

use testbed::Bed;

use super::engine::Engine;
use super::traffic::{PAYLOAD, micros};
use super::{Sitting, node};
use crate::dialect::{Rivermouth, Who};
use crate::load::{Kafka, Load, Storm};
use crate::machine::cpu_of;
use crate::order::Position;
use crate::results::Point;

/// In the one channel.
const EVENTS: u32 = 50_000;
const READERS: [u32; 2] = [1, 50];

/// Takes it.
pub(super) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    if sitting.engines(&[Engine::Rivermouth]).is_empty() {
        return Ok(());
    }
    let events = sitting.clients(EVENTS);
    begin(sitting, "catch-up-kafka", READERS[0]);
    let bed = sitting.bed().await?;
    pour(&bed, 1, u64::from(events)).await?;
    for readers in READERS {
        let point = begin(sitting, "catch-up-kafka", readers);
        sitting.keep(read(&bed, point, readers, events).await?)?;
    }
    begin(sitting, "catch-up-postgres", READERS[0]);
    let mut persister = bed.start("persister").await;
    store(&bed, u64::from(events)).await?;
    for partition in 0..4 {
        let question = format!(
            "select coalesce(max(next_offset), 0) from rivermouth.offsets join rivermouth.topics using (topic_id) \
             where topic like '%.events' and partition = {partition}"
        );
        let end = bed.database().number(&question).await;
        let topic = bed.broker().topic("events");
        bed.broker().erase(&topic, partition, end).await;
    }
    for readers in READERS {
        let point = begin(sitting, "catch-up-postgres", readers);
        sitting.keep(read(&bed, point, readers, events).await?)?;
    }
    persister.terminate().await;
    Ok(())
}

fn begin(sitting: &mut Sitting, scenario: &str, readers: u32) -> Point {
    sitting.begin(&format!("{scenario}-{readers}"), Engine::Rivermouth.name())
}

/// Writes so many events into the first channels of a fresh world, in turns.
pub(super) async fn pour(bed: &Bed, channels: u32, events: u64) -> anyhow::Result<()> {
    // The first service of a world makes its topics.
    bed.start("ingest").await.terminate().await;
    let mut kafka = Kafka::new(bed.broker().bootstrap(), &bed.broker().topic("events"), 5)?;
    let mut payload = Vec::new();
    for number in 0..events {
        let channel = (number % u64::from(channels)) as u32;
        let mark = crate::payload::Mark {
            sender: channel,
            number: (number / u64::from(channels)) as u32,
            due_ns: 0,
        };
        payload.clear();
        mark.write(PAYLOAD, &mut payload);
        kafka.publish(channel, &payload)?;
    }
    kafka.flush()
}

/// Waits until so many rows are stored, as long as a slow machine may take.
pub(super) async fn store(bed: &Bed, events: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60 + events / 5_000);
    loop {
        // Not the rows themselves: to count ten million of them takes a processor for seconds, which the persister lacks.
        let question = "select coalesce(sum(next_offset), 0)::bigint from rivermouth.offsets \
                        join rivermouth.topics using (topic_id) where topic like '%.events'";
        let stored = bed.database().number(question).await.unsigned_abs();
        if stored >= events {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "only {stored} of {events} are stored"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// With a fresh node, which has nothing in memory.
async fn read(bed: &Bed, point: Point, readers: u32, events: u32) -> anyhow::Result<Point> {
    let mut node = node::start(bed, "fanout").await?;
    let pid = node.process().pid();
    let dialect = Rivermouth::new(node::address(&node)?, readers, |user| bed.token(user));
    let mut load = Load::new(Rc::new(dialect))?;
    let group = load.group(readers);
    load.expect(group, u64::from(events));
    let members = (0..readers).map(|user| {
        let who = Who {
            since: Some("earliest".to_owned()),
            ..Who::member(user, 0)
        };
        (who, group, Position::default())
    });
    let (started, before) = (Instant::now(), cpu_of(pid)?);
    load.connect(members, Storm::default())?;
    load.drain(&[group], Duration::from_secs(120))?;
    let (took, cpu) = (started.elapsed(), cpu_of(pid)? - before);
    let (wrong, complaints) = load.wrong();
    let deliveries = f64::from(readers) * f64::from(events);
    let point = point
        .with("events_per_s", deliveries / took.as_secs_f64())
        .with("server_us_per_event", micros(cpu) / deliveries)
        .with("seconds", took.as_secs_f64())
        .with("reads_of_log_and_tables", node::reads(&node).await?);
    let point = point.checked(wrong, complaints);
    node.terminate().await;
    Ok(point)
}
