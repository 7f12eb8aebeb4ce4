//! What we add to Kafka: the same events at the same time through Rivermouth to WebSockets, and to a plain consumer.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use super::engine::{Engine, Wish};
use super::traffic::{PAYLOAD, figures, settle};
use super::{Shape, Sitting};
use crate::load::{Load, Pace, Traffic, Way, histogram};
use crate::payload::{Mark, START};

/// 50 000 deliveries a second of 1000 events.
const SHAPE: Shape = Shape {
    name: "latency",
    channels: 1,
    members: 50,
    members_publish: false,
    pace: Pace::Rate(1000.0),
};

/// Takes it.
pub(super) async fn take(sitting: &mut Sitting) -> anyhow::Result<()> {
    if sitting.engines(&[Engine::RivermouthKafka]).is_empty() {
        return Ok(());
    }
    let mut point = sitting.begin(SHAPE.name, Engine::RivermouthKafka.name());
    let wish = Wish::users(SHAPE.members);
    let mut running = Engine::RivermouthKafka.start(sitting, wish).await?;
    let (bed, _) = running.river.as_ref().context("a world")?;
    let mut load = Load::new(Rc::clone(&running.dialect))?;
    let senders = settle(&mut load, &SHAPE, true)?;
    let plain = Plain::start(
        bed.broker().bootstrap(),
        &bed.broker().topic("events"),
        load.clock(),
    )?;
    let traffic = Traffic {
        senders,
        also: Vec::new(),
        pace: SHAPE.pace,
        bytes: PAYLOAD,
        warm_up: sitting.arguments.warm_up,
        time: sitting.arguments.time,
    };
    let kafka = running.kafka.as_mut().context("a way into Kafka")?;
    let run = load.run(&traffic, &mut Way::Kafka(kafka), &running.watched)?;
    let plain = plain.stop(load.since_ns())?;
    let quantile = |of: &Histogram<u64>, q| of.value_at_quantile(q) as f64 / 1e6;
    for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        let (ours, theirs) = (quantile(&run.counts.latency, q), quantile(&plain, q));
        point = point
            .with(&format!("kafka_{name}_ms"), theirs)
            .with(&format!("added_{name}_ms"), ours - theirs);
    }
    sitting.keep(figures(point, &run))
}

/// A consumer of librdkafka that reads the same topic and only looks at the time.
pub(super) struct Plain {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<Seen>>>,
}

impl Plain {
    pub(super) fn start(bootstrap: &str, topic: &str, clock: Instant) -> anyhow::Result<Plain> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "plain")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "50")
            .create()
            .context("making a consumer")?;
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
        let partitions = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions());
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(topic, partition.id(), Offset::End)?;
        }
        consumer.assign(&list)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("plain-consumer".to_owned())
            .spawn(move || read(&consumer, &told, clock))?;
        Ok(Plain { stop, thread })
    }

    /// The times of everything that was due at `since_ns` or later.
    pub(super) fn stop(self, since_ns: u64) -> anyhow::Result<Histogram<u64>> {
        self.stop.store(true, Ordering::Relaxed);
        let Ok(seen) = self.thread.join() else {
            anyhow::bail!("the plain consumer broke");
        };
        let mut times = histogram();
        for seen in seen? {
            if seen.due_ns >= since_ns {
                times.saturating_record(seen.waited_ns);
            }
        }
        anyhow::ensure!(!times.is_empty(), "the plain consumer read nothing");
        Ok(times)
    }
}

/// An event that the plain consumer read.
struct Seen {
    due_ns: u64,
    waited_ns: u64,
}

fn read(consumer: &BaseConsumer, stop: &AtomicBool, clock: Instant) -> anyhow::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message?;
        let value = message.payload().unwrap_or_default();
        let mark = memchr::memmem::find(value, START).and_then(|at| Mark::read(&value[at..]));
        let mark = mark.context("a record without our marks")?;
        let now = clock.elapsed().as_nanos() as u64;
        seen.push(Seen {
            due_ns: mark.due_ns,
            waited_ns: now.saturating_sub(mark.due_ns),
        });
    }
    Ok(seen)
}
