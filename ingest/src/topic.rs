//! A topic that publishes go to: one lane and one sender per partition.

use std::borrow::Cow;
use std::sync::Arc;

use broker::{Append, Pins};
use schemas::Decoder;
use store::Place;

use crate::IngestConfig;
use crate::admit::Admitted;
use crate::lane::{Bounds, Lane, LaneBreaker, Lookup, Scribe, Sender, TailReader};
use crate::metrics::IngestMetrics;
use crate::parts::Parts;
use crate::pins::PinGuard;

/// One topic.
pub(crate) struct Topic {
    name: Arc<str>,
    pub(crate) partitions: u32,
    /// By partition; empty for the ephemeral lane.
    pub(crate) lanes: Vec<Lane>,
}

impl Topic {
    /// Starts its senders. The topic is pinned: who calls has looked.
    pub(crate) fn open(
        name: &str,
        durable: bool,
        config: &IngestConfig,
        parts: &Parts,
        shared: (&IngestMetrics, &TailReader),
    ) -> Topic {
        let pin = &parts.pins.topics[name];
        let name: Arc<str> = Arc::from(name);
        let lanes = if durable { pin.partitions } else { 0 };
        let lanes = (0..i32::try_from(lanes).unwrap_or(i32::MAX))
            .map(|partition| open_lane(&name, (pin.generation, partition), config, parts, shared));
        Topic {
            lanes: lanes.collect(),
            partitions: pin.partitions,
            name: Arc::clone(&name),
        }
    }

    /// What is appended for an admitted event.
    pub(crate) fn record(&self, partition: i32, admitted: Admitted) -> Append {
        Append {
            topic: Arc::clone(&self.name),
            partition,
            key: Some(admitted.key),
            headers: admitted
                .headers
                .into_iter()
                .map(|(name, value)| (Cow::Borrowed(name), value))
                .collect(),
            value: Some(admitted.value),
        }
    }
}

fn open_lane(
    topic: &Arc<str>,
    (generation, partition): (u16, i32),
    config: &IngestConfig,
    parts: &Parts,
    (metrics, tail): (&IngestMetrics, &TailReader),
) -> Lane {
    let breaker = Arc::new(LaneBreaker::new(
        config.breaker,
        config.ack_timeout,
        metrics,
    ));
    let (lane, letters) = Lane::new(config, Arc::clone(&breaker), metrics);
    let sender = Sender {
        log: parts.log.clone(),
        guard: PinGuard::new(parts.watch.clone(), &parts.topics),
        topic: Arc::clone(topic),
        partition,
        scribe: Scribe {
            generation,
            partition,
            cursors: parts.cursors.clone(),
        },
        decoder: Decoder::new(parts.topics.clone()).with_partitions(counts(&parts.pins)),
        lookup: Lookup {
            log: parts.log.clone(),
            store: parts.store.clone(),
            place: Place::new(&**topic, generation, partition),
        },
        tail: tail.clone(),
        breaker,
        metrics: metrics.clone(),
        bounds: Bounds {
            channels_max: config.channels_tracked_max,
            bytes_max: config.tracked_bytes_max,
            ids_max: config.known_ids_max,
        },
        ack_timeout: config.ack_timeout,
        flush_deadline: config.flush_deadline,
        shutdown: parts.shutdown.clone(),
    };
    parts.shutdown.spawn("ingest sender", sender.run(letters));
    lane
}

/// How many partitions each topic has, by the pins.
fn counts(pins: &Pins) -> impl Iterator<Item = (String, u32)> + '_ {
    let pinned = pins.topics.iter();
    pinned.map(|(name, pin)| (name.clone(), pin.partitions))
}
