//! The log on Kafka; the only user of rdkafka.
//!
//! Appending goes through one idempotent producer (`producer`), questions through one consumer that
//! never reads (`query`, `topics`), reading through a consumer of its own for each reader (`reader`).
//! Consumer groups are used nowhere. What the safe wrapper cannot do is in `native`.

mod asking;
mod check;
mod config;
mod context;
mod cure;
mod error;
mod native;
mod producer;
mod query;
mod reader;
mod stall;
mod taken;
mod threads;
mod topics;
mod watch;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use config::KafkaConfig;
pub use reader::KafkaReader;

use self::producer::Producer;
use self::query::Query;
use crate::{
    Append, AppendError, BrokerError, Delivery, Flaw, Needs, Retention, TopicFacts, TopicSpec,
    Watermarks,
};

/// See [`Log::Kafka`](crate::Log::Kafka).
#[derive(Clone)]
pub struct KafkaLog(Arc<Parts>);

struct Parts {
    config: KafkaConfig,
    producer: Producer,
    query: Query,
    /// Asks how far the log goes, open transactions included. Made when somebody asks.
    ends: OnceLock<Query>,
}

impl KafkaLog {
    pub(crate) async fn open(config: KafkaConfig) -> Result<KafkaLog, BrokerError> {
        config.check()?;
        let query = Query::new(&config)?;
        Ok(KafkaLog(Arc::new(Parts {
            producer: Producer::new(config.clone(), query.clone())?,
            query,
            ends: OnceLock::new(),
            config,
        })))
    }

    pub(crate) async fn ensure_topics(
        &self,
        specs: &[TopicSpec],
        create: bool,
    ) -> Result<(), BrokerError> {
        topics::ensure(&self.0.config, &self.0.query, specs, create).await
    }

    pub(crate) async fn examine(
        &self,
        specs: &[TopicSpec],
        needs: &Needs,
    ) -> Result<Vec<Flaw>, BrokerError> {
        topics::examine(&self.0.config, &self.0.query, specs, needs).await
    }

    pub(crate) async fn retention(&self, topic: &str) -> Result<Retention, BrokerError> {
        topics::retention(&self.0.config, &self.0.query, topic).await
    }

    pub(crate) async fn describe(&self, topic: &str) -> Result<TopicFacts, BrokerError> {
        self.0.query.describe(topic).await
    }

    pub(crate) fn append(&self, record: Append) -> Result<Delivery, AppendError> {
        self.0.producer.append(record)
    }

    pub(crate) async fn watermarks(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Watermarks, BrokerError> {
        self.0.query.watermarks(topic, partition).await
    }

    pub(crate) async fn end(&self, topic: &str, partition: i32) -> Result<i64, BrokerError> {
        let ends = match self.0.ends.get() {
            Some(ends) => ends,
            None => {
                let made = Query::new(&self.0.config.with_open_transactions())?;
                // Of two that are made at once one goes again.
                self.0.ends.get_or_init(|| made)
            }
        };
        Ok(ends.watermarks(topic, partition).await?.high)
    }

    pub(crate) async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        time_ms: i64,
    ) -> Result<i64, BrokerError> {
        self.0.query.offset_at(topic, partition, time_ms).await
    }

    pub(crate) fn reader(&self) -> Result<KafkaReader, BrokerError> {
        KafkaReader::new(&self.0.config, self.0.query.clone())
    }

    pub(crate) fn steady_reader(&self) -> Result<KafkaReader, BrokerError> {
        KafkaReader::new(&self.0.config.steady(), self.0.query.clone())
    }

    pub(crate) async fn flush(&self, deadline: Duration) -> Result<(), BrokerError> {
        self.0.producer.flush(deadline).await
    }

    pub(crate) async fn close(&self, deadline: Duration) -> Result<(), BrokerError> {
        self.0.producer.close(deadline).await
    }
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog")
            .field("bootstrap", &self.0.config.bootstrap)
            .finish_non_exhaustive()
    }
}
