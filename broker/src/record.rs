//! What goes into the log and what comes out of it: plain values, shared by both implementations.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::BrokerError;

/// Header names and values of a record to append, in order. A name may be static or owned.
pub type Headers = Vec<(Cow<'static, str>, Bytes)>;

/// One record to append.
#[derive(Debug, Clone)]
pub struct Append {
    /// Topic, e.g. `rivermouth.events`; must exist.
    pub topic: Arc<str>,
    /// Partition, from 0; always explicit, the log never chooses one.
    pub partition: i32,
    /// Key; topics that are compacted demand one.
    pub key: Option<Bytes>,
    /// Headers in order; names may repeat.
    pub headers: Headers,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// Where an acknowledged record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its offset in the partition.
    pub offset: i64,
    /// The log's own time for it (LogAppendTime), Unix ms.
    pub timestamp_ms: i64,
    /// It may be in the log before this, too: the producer began its numbering anew while it held the record.
    pub again: bool,
}

/// One record as read from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Topic; the same allocation for every record of one assignment.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset; grows within a partition, with holes where control or compacted records stood.
    pub offset: i64,
    /// The log's time, Unix ms. Not guaranteed to grow with the offset.
    pub timestamp_ms: i64,
    /// Key.
    pub key: Option<Bytes>,
    /// Headers in the order they were written. A name that is not UTF-8 is shown lossily.
    pub headers: Vec<(String, Bytes)>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// One thing a [`Reader`](crate::Reader) has to say.
#[derive(Debug, Clone)]
pub enum Fetched {
    /// The next record of an assigned partition.
    Record(Record),
    /// The reader stands at the log's end: every visible record with an offset below `next` has been
    /// handed out. Said once each time the end is reached, also right after assigning at the end.
    End {
        /// Topic.
        topic: Arc<str>,
        /// Partition.
        partition: i32,
        /// The offset the next record will have, or more where control records follow.
        next: i64,
    },
    /// The log does not hold `asked` (any more, or yet). The partition is no longer assigned.
    OutOfRange {
        /// Topic.
        topic: Arc<str>,
        /// Partition.
        partition: i32,
        /// The offset that was to be read.
        asked: i64,
    },
    /// The partition cannot be read for the reason given. It is no longer assigned; assign again
    /// (after a pause when the error is retryable) from the last offset handed out plus one.
    Failed {
        /// Topic.
        topic: Arc<str>,
        /// Partition.
        partition: i32,
        /// Why.
        error: BrokerError,
    },
}

/// The readable range of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// First offset the log still holds.
    pub low: i64,
    /// One past the last readable offset (on Kafka: the last stable offset). `low == high`: empty.
    pub high: i64,
}

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Number of partitions, at least 1. Pinned for the life of the topic.
    pub partitions: u32,
    /// Replicas; -1 takes the broker's default. The embedded log has one and does not care.
    pub replication: i16,
    /// Records older than this may go, ms. `None`: age alone removes nothing.
    pub retention_ms: Option<i64>,
    /// The oldest records of a partition may go when it holds more than this, bytes. `None`: no limit.
    pub retention_bytes: Option<i64>,
    /// Keep only the newest record of each key (some time later).
    pub compact: bool,
}

/// What the topics have to hold out, beside what their specs say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// How long whoever stores the records may be away without losing any, ms.
    pub outage_ms: Option<i64>,
    /// The topics whose records are stored.
    pub persisted: Vec<String>,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFacts {
    /// Identity: a topic deleted and created again under the same name has another one.
    pub id: String,
    /// Number of partitions.
    pub partitions: u32,
}

/// When a topic's oldest records may go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Older than this, ms; `None`: age alone removes nothing.
    pub ms: Option<i64>,
    /// When the partition holds more than this, bytes; `None`: no limit.
    pub bytes: Option<i64>,
}

impl Fetched {
    /// The topic and partition it is about.
    pub fn place(&self) -> (&Arc<str>, i32) {
        match self {
            Fetched::Record(record) => (&record.topic, record.partition),
            Fetched::End {
                topic, partition, ..
            }
            | Fetched::OutOfRange {
                topic, partition, ..
            }
            | Fetched::Failed {
                topic, partition, ..
            } => (topic, *partition),
        }
    }

    pub(crate) fn is_of(&self, topic: &str, partition: i32) -> bool {
        let (t, p) = self.place();
        p == partition && &**t == topic
    }
}
