//! [`Log`]: the one type the rest of the house knows. It only passes calls on.

use std::time::Duration;

use crate::{
    Append, AppendError, BrokerError, Delivery, EmbeddedConfig, EmbeddedLog, Flaw, KafkaConfig,
    KafkaLog, Needs, Reader, Retention, TopicFacts, TopicSpec, Watermarks,
};

/// A durable, partitioned, ordered log. A clone is cheap and is the same log.
#[derive(Debug, Clone)]
pub enum Log {
    /// Apache Kafka or anything that speaks its protocol.
    Kafka(KafkaLog),
    /// On the disk of this machine, in this process.
    Embedded(EmbeddedLog),
}

impl Log {
    /// A log on Kafka. Does not wait for the brokers: they may come up later.
    ///
    /// Errors: [`BrokerError::Config`] when librdkafka refuses the settings.
    pub async fn kafka(config: KafkaConfig) -> Result<Log, BrokerError> {
        KafkaLog::open(config).await.map(Log::Kafka)
    }

    /// A log in a directory of this machine, made when missing. One process at a time.
    ///
    /// Errors: [`BrokerError::Locked`] when another process has it, `Corrupt` and `Unavailable` (disk).
    pub async fn embedded(config: EmbeddedConfig) -> Result<Log, BrokerError> {
        EmbeddedLog::open(config).await.map(Log::Embedded)
    }

    /// Makes the topics that are missing (`create`), and checks those that exist.
    ///
    /// Errors: [`BrokerError::Differs`] names everything about the first topic that is not as it must
    /// be; nothing existing is altered (but with `create` the retention of embedded topics follows the
    /// specs, since nobody else could alter it). `Unknown` when one is missing and `create` is false.
    pub async fn ensure_topics(
        &self,
        specs: &[TopicSpec],
        create: bool,
    ) -> Result<(), BrokerError> {
        match self {
            Log::Kafka(log) => log.ensure_topics(specs, create).await,
            Log::Embedded(log) => log.ensure_topics(specs, create).await,
        }
    }

    /// Everything that is wrong with the topics of `specs` and with the brokers (D13), of whatever weight; a topic
    /// that is not there among it. Reads only.
    ///
    /// Errors: `Unavailable` when the log cannot be asked, `Refused` when it may not be.
    pub async fn examine(
        &self,
        specs: &[TopicSpec],
        needs: &Needs,
    ) -> Result<Vec<Flaw>, BrokerError> {
        match self {
            Log::Kafka(log) => log.examine(specs, needs).await,
            Log::Embedded(log) => log.examine(specs).await,
        }
    }

    /// When a topic's oldest records may go, as it is set now. A compacted topic keeps the last of each key for ever.
    ///
    /// Errors: as [`Log::describe`], and `Refused` when settings may not be asked for.
    pub async fn retention(&self, topic: &str) -> Result<Retention, BrokerError> {
        match self {
            Log::Kafka(log) => log.retention(topic).await,
            Log::Embedded(log) => log.retention(topic),
        }
    }

    /// Identity and size of a topic, fresh from the log.
    pub async fn describe(&self, topic: &str) -> Result<TopicFacts, BrokerError> {
        match self {
            Log::Kafka(log) => log.describe(topic).await,
            Log::Embedded(log) => log.describe(topic).await,
        }
    }

    /// Enqueues a record. Never blocks, never sleeps; records of one partition are stored in the
    /// order of the calls. `Full` comes back at once and means that nothing was enqueued.
    pub fn append(&self, record: Append) -> Result<Delivery, AppendError> {
        match self {
            Log::Kafka(log) => log.append(record),
            Log::Embedded(log) => log.append(record),
        }
    }

    /// The readable range of a partition, asked after this call began. Concurrent askers share one
    /// question. Answers or fails within the request timeout. Cancel safe.
    pub async fn watermarks(&self, topic: &str, partition: i32) -> Result<Watermarks, BrokerError> {
        match self {
            Log::Kafka(log) => log.watermarks(topic, partition).await,
            Log::Embedded(log) => log.watermarks(topic, partition).await,
        }
    }

    /// One past the last record of a partition that is on all replicas it has to be on, asked after this call began.
    /// Beyond [`Log::watermarks`] where a transaction of somebody's is open: nothing from its first record on can be
    /// read before it ends. Answers or fails within the request timeout. Cancel safe.
    pub async fn end(&self, topic: &str, partition: i32) -> Result<i64, BrokerError> {
        match self {
            Log::Kafka(log) => log.end(topic, partition).await,
            Log::Embedded(log) => Ok(log.watermarks(topic, partition).await?.high),
        }
    }

    /// The first offset whose record has a timestamp of at least `time_ms`; the high watermark when
    /// there is none. Answers or fails within the request timeout. Cancel safe.
    pub async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        time_ms: i64,
    ) -> Result<i64, BrokerError> {
        match self {
            Log::Kafka(log) => log.offset_at(topic, partition, time_ms).await,
            Log::Embedded(log) => log.offset_at(topic, partition, time_ms).await,
        }
    }

    /// A reader with nothing assigned yet. Readers are independent of each other.
    pub fn reader(&self) -> Result<Reader, BrokerError> {
        match self {
            Log::Kafka(log) => log.reader().map(Box::new).map(Reader::Kafka),
            Log::Embedded(log) => log.reader().map(Reader::Embedded),
        }
    }

    /// One whose partitions seldom change: it costs less while nothing comes, and what is assigned to it begins up to a
    /// quarter of a second later.
    pub fn steady_reader(&self) -> Result<Reader, BrokerError> {
        match self {
            Log::Kafka(log) => log.steady_reader().map(Box::new).map(Reader::Kafka),
            Log::Embedded(log) => log.reader().map(Reader::Embedded),
        }
    }

    /// Waits until everything enqueued before has been answered for, at most `deadline`.
    ///
    /// Errors: `Unavailable` when the deadline passed first; the deliveries are still pending.
    pub async fn flush(&self, deadline: Duration) -> Result<(), BrokerError> {
        match self {
            Log::Kafka(log) => log.flush(deadline).await,
            Log::Embedded(log) => log.flush(deadline).await,
        }
    }

    /// Takes no more records, flushes for at most `deadline`, then lets go: what is still pending
    /// then resolves as [`AppendError::Unknown`]. Closing twice is fine.
    pub async fn close(&self, deadline: Duration) -> Result<(), BrokerError> {
        match self {
            Log::Kafka(log) => log.close(deadline).await,
            Log::Embedded(log) => log.close(deadline).await,
        }
    }
}
