//! Events that a backend writes to Kafka itself, past our gateways.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use crate::dialect::{EVENT, channel};

/// A producer of librdkafka with its usual settings. Not idempotent: then its thread spins while more than five records
/// of a partition wait for their answer, on the processor that the broker needs.
pub struct Kafka {
    inner: BaseProducer<Failed>,
    topic: String,
}

/// Counts what did not get into Kafka.
#[derive(Debug, Default)]
struct Failed(AtomicU64);

impl ClientContext for Failed {}

impl ProducerContext for Failed {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        if delivered.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl Kafka {
    /// Writes to `topic`, waiting `linger_ms` for company.
    pub fn new(bootstrap: &str, topic: &str, linger_ms: u32) -> anyhow::Result<Kafka> {
        let inner = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("partitioner", "murmur2_random")
            .set("acks", "all")
            .set("compression.codec", "lz4")
            .set("linger.ms", linger_ms.to_string())
            .set("queue.buffering.max.messages", "1000000")
            .create_with_context(Failed::default())
            .context("making a producer")?;
        Ok(Kafka {
            inner,
            topic: topic.to_owned(),
        })
    }

    /// Queues one event of a channel.
    pub fn publish(&mut self, number: u32, payload: &[u8]) -> anyhow::Result<()> {
        let channel = channel(number);
        let key = channel.split_once('.').map_or("", |(_, key)| key);
        let data = std::str::from_utf8(payload)?;
        let value = format!(r#"{{"event":"{EVENT}","data":{data}}}"#);
        loop {
            let headers = OwnedHeaders::new().insert(Header {
                key: "rm-channel",
                value: Some(&channel),
            });
            let record = BaseRecord::to(&self.topic)
                .key(key)
                .payload(&value)
                .headers(headers);
            match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.inner.poll(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Collects what was delivered, so that the queue stays short.
    pub fn collect(&mut self) {
        self.inner.poll(Duration::ZERO);
    }

    /// Waits until everything is stored.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.inner.flush(Duration::from_secs(60))?;
        let failed = self.inner.context().0.load(Ordering::Relaxed);
        anyhow::ensure!(failed == 0, "{failed} events did not get into Kafka");
        Ok(())
    }
}
