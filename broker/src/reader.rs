//! [`Reader`]: reads assigned partitions from given offsets; no groups, no commits.

use crate::embedded::EmbeddedReader;
use crate::kafka::KafkaReader;
use crate::{BrokerError, Fetched};

/// Reads any number of partitions, each from an offset of the caller's choice.
///
/// Within a partition items come in order; between partitions there is no order. Assigning or
/// unassigning one partition does not pause the others.
#[derive(Debug)]
pub enum Reader {
    /// Of a Kafka log.
    Kafka(Box<KafkaReader>),
    /// Of an embedded log.
    Embedded(EmbeddedReader),
}

impl Reader {
    /// Starts reading a partition at `offset` (inclusive). Assigning an assigned partition moves it.
    ///
    /// An offset the log does not hold is answered by [`Fetched::OutOfRange`], not here.
    pub fn assign(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), BrokerError> {
        match self {
            Reader::Kafka(reader) => reader.assign(topic, partition, offset),
            Reader::Embedded(reader) => reader.assign(topic, partition, offset),
        }
    }

    /// Stops reading a partition: `next` hands out nothing more of it. Unknown ones are ignored.
    pub fn unassign(&mut self, topic: &str, partition: i32) {
        match self {
            Reader::Kafka(reader) => reader.unassign(topic, partition),
            Reader::Embedded(reader) => reader.unassign(topic, partition),
        }
    }

    /// Waits for at least one item, then returns what is ready, at most `max` (at least 1) items.
    ///
    /// Waits for ever when nothing is assigned or nothing happens: put your own deadline around it.
    /// Cancel safe: an item is either returned or handed out by a later call.
    pub async fn next(&mut self, max: usize) -> Result<Vec<Fetched>, BrokerError> {
        match self {
            Reader::Kafka(reader) => reader.next(max).await,
            Reader::Embedded(reader) => reader.next(max).await,
        }
    }
}
