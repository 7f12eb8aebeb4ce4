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
use crate::results::Point;

/// 50 000 deliveries a second of 1000 events.
const SHAPE: Shape = Shape {
    name: "latency",
    channels: 1,
    members: 50,
    members_publish: false,
    pace: Pace::Rate(1000.0),
};

/// Takes it.
pub(super) async fn take(sitting: &mut Sitting) -> anyhow::Result<Vec<Point>> {
    if sitting.engines(&[Engine::RivermouthKafka]).is_empty() {
        return Ok(Vec::new());
    }
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
    let plain = plain.stop(sitting.arguments.warm_up)?;
    let quantile = |of: &Histogram<u64>, q| of.value_at_quantile(q) as f64 / 1e6;
    let mut point = Point::new(SHAPE.name, Engine::RivermouthKafka.name());
    for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        let (ours, theirs) = (quantile(&run.counts.latency, q), quantile(&plain, q));
        point = point
            .with(&format!("kafka_{name}_ms"), theirs)
            .with(&format!("added_{name}_ms"), ours - theirs);
    }

    Ok(vec![figures(point, &run)])
}

/// A consumer of librdkafka that reads the same topic and only looks at the time.
pub(super) struct Plain {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Histogram<u64>>>,
    started: Instant,
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
        let started = Instant::now();
        let thread = std::thread::Builder::new()
            .name("plain-consumer".to_owned())
            .spawn(move || read(&consumer, &told, clock))?;
        Ok(Plain {
            stop,
            thread,
            started,
        })
    }

    /// The times of everything that was due after the warm-up.
    pub(super) fn stop(self, warm_up: Duration) -> anyhow::Result<Histogram<u64>> {
        anyhow::ensure!(self.started.elapsed() > warm_up, "it was never warm");
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(read) => read,
            Err(_) => anyhow::bail!("the plain consumer broke"),
        }
    }
}

fn read(
    consumer: &BaseConsumer,
    stop: &AtomicBool,
    clock: Instant,
) -> anyhow::Result<Histogram<u64>> {
    let mut times = histogram();
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message?;
        let value = message.payload().unwrap_or_default();
        let mark = memchr::memmem::find(value, START).and_then(|at| Mark::read(&value[at..]));
        let mark = mark.context("a record without our marks")?;
        let now = clock.elapsed().as_nanos() as u64;
        times.saturating_record(now.saturating_sub(mark.due_ns));
    }
    anyhow::ensure!(!times.is_empty(), "the plain consumer read nothing");
    Ok(times)
}
