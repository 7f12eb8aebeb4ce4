//! The log on Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{
    Append, AppendError, BrokerError, Delivery, Fetched, TopicFacts, TopicSpec, Watermarks,
};

/// How to reach Kafka, and the few limits worth choosing.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// `host:port[,host:port]`.
    pub bootstrap: String,
    /// Shown in the broker's logs and quotas.
    pub client_id: String,
    /// Passed on to librdkafka: `security.*`, `sasl.*`, `ssl.*`. What this crate relies on is refused.
    pub extra: BTreeMap<String, String>,
    /// An append is answered for within this time.
    pub delivery_timeout: Duration,
    /// A question (watermarks, metadata) is answered within this time.
    pub request_timeout: Duration,
    /// Most records waiting to be sent; beyond it `append` says `Full`.
    pub queue_records_max: u32,
    /// Most bytes waiting to be sent.
    pub queue_bytes_max: u32,
    /// Most bytes a reader holds ready.
    pub read_ahead_bytes_max: u32,
}

impl KafkaConfig {
    /// Defaults for one address.
    pub fn new(bootstrap: impl Into<String>) -> KafkaConfig {
        KafkaConfig {
            bootstrap: bootstrap.into(),
            client_id: "rivermouth".into(),
            extra: BTreeMap::new(),
            delivery_timeout: Duration::from_millis(4500),
            request_timeout: Duration::from_secs(5),
            queue_records_max: 20_000,
            queue_bytes_max: 32 << 20,
            read_ahead_bytes_max: 8 << 20,
        }
    }
}

/// See [`Log::Kafka`](crate::Log::Kafka).
#[derive(Debug, Clone)]
pub struct KafkaLog;

/// See [`Reader`](crate::Reader).
#[derive(Debug)]
pub struct KafkaReader;

#[allow(clippy::unused_async, clippy::todo)]
impl KafkaLog {
    pub(crate) async fn open(_: KafkaConfig) -> Result<KafkaLog, BrokerError> {
        todo!()
    }
    pub(crate) async fn ensure_topics(&self, _: &[TopicSpec], _: bool) -> Result<(), BrokerError> {
        todo!()
    }
    pub(crate) async fn describe(&self, _: &str) -> Result<TopicFacts, BrokerError> {
        todo!()
    }
    pub(crate) fn append(&self, _: Append) -> Result<Delivery, AppendError> {
        todo!()
    }
    pub(crate) async fn watermarks(&self, _: &str, _: i32) -> Result<Watermarks, BrokerError> {
        todo!()
    }
    pub(crate) async fn offset_at(&self, _: &str, _: i32, _: i64) -> Result<i64, BrokerError> {
        todo!()
    }
    pub(crate) fn reader(&self) -> Result<KafkaReader, BrokerError> {
        todo!()
    }
    pub(crate) async fn flush(&self, _: Duration) -> Result<(), BrokerError> {
        todo!()
    }
    pub(crate) async fn close(&self, _: Duration) -> Result<(), BrokerError> {
        todo!()
    }
}

#[allow(clippy::unused_async, clippy::todo)]
impl KafkaReader {
    pub(crate) fn assign(&mut self, _: &str, _: i32, _: i64) -> Result<(), BrokerError> {
        todo!()
    }
    pub(crate) fn unassign(&mut self, _: &str, _: i32) {
        todo!()
    }
    pub(crate) async fn next(&mut self, _: usize) -> Result<Vec<Fetched>, BrokerError> {
        todo!()
    }
}
