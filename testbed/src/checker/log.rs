//! Reading Kafka from its beginning to its present end, with nothing but librdkafka.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::wait::PATIENCE;

const CALL: Duration = Duration::from_secs(30);

/// One record as it lies in the log.
#[derive(Debug, Clone)]
pub struct LogRecord {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The record's time in the log.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The value.
    pub value: Option<Vec<u8>>,
}

impl LogRecord {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(value).ok()
    }
}

fn consumer(bootstrap: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "checker")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        // A question about watermarks waits behind the fetch that is under way.
        .set("fetch.wait.max.ms", "100")
        .create()
        .expect("a consumer can be made")
}

/// Where each partition ends now: the next offset to be written, by topic and partition.
pub(crate) fn ends(bootstrap: &str, topics: &[String]) -> BTreeMap<(String, i32), i64> {
    bounds(&consumer(bootstrap), topics)
        .into_iter()
        .map(|(place, (_, high))| (place, high))
        .collect()
}

fn bounds(consumer: &BaseConsumer, topics: &[String]) -> BTreeMap<(String, i32), (i64, i64)> {
    let mut bounds = BTreeMap::new();
    for topic in topics {
        let metadata = consumer
            .fetch_metadata(Some(topic), CALL)
            .expect("Kafka describes a topic");
        for partition in metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
        {
            let low_high = consumer
                .fetch_watermarks(topic, partition.id(), CALL)
                .expect("Kafka knows a partition's end");
            bounds.insert((topic.clone(), partition.id()), low_high);
        }
    }
    bounds
}

/// Everything from the low to the present high watermarks, ordered by topic, partition and offset.
pub(crate) fn read(bootstrap: &str, topics: &[String]) -> Vec<LogRecord> {
    let consumer = consumer(bootstrap);
    let mut missing = bounds(&consumer, topics);
    missing.retain(|_, (low, high)| low < high);
    let mut list = TopicPartitionList::new();
    for ((topic, partition), (low, _)) in &missing {
        list.add_partition_offset(topic, *partition, Offset::Offset(*low))
            .expect("an offset is valid");
    }
    consumer.assign(&list).expect("partitions can be assigned");
    let mut records = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        assert!(
            Instant::now() < deadline,
            "Kafka does not give what it says it has: {missing:?}"
        );
        // A broker that comes back makes itself heard as errors first; the deadline ends it.
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            records.push(owned(&message));
        }
        // The position passes control records too, which a last offset would not.
        let positions = consumer
            .position()
            .expect("an assigned consumer has positions");
        missing.retain(|(topic, partition), (_, high)| {
            let element = positions.find_partition(topic, *partition);
            !matches!(element.map(|element| element.offset()), Some(Offset::Offset(next)) if next >= *high)
        });
    }
    records
        .sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
    records
}

/// Reads partitions on and on from their beginnings, through brokers that die and come back.
pub struct Follower {
    consumer: BaseConsumer,
    partitions: Vec<(String, i32)>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Follower").field(&self.partitions).finish()
    }
}

impl Follower {
    /// From the beginning of every partition of `topics`, which must exist.
    pub fn start(bootstrap: &str, topics: &[String]) -> Follower {
        let consumer = consumer(bootstrap);
        let bounds = bounds(&consumer, topics);
        let mut list = TopicPartitionList::new();
        for ((topic, partition), (low, _)) in &bounds {
            list.add_partition_offset(topic, *partition, Offset::Offset(*low))
                .expect("an offset is valid");
        }
        consumer.assign(&list).expect("partitions can be assigned");
        Follower {
            consumer,
            partitions: bounds.into_keys().collect(),
        }
    }

    /// Topic and number of each.
    pub fn partitions(&self) -> &[(String, i32)] {
        &self.partitions
    }

    /// The next record, within `patience`. A broker that is away is none; an error of librdkafka that is not
    /// about being away is told in words.
    ///
    /// # Errors
    /// An offset that is gone: records were erased before they were read here.
    pub fn next(&self, patience: Duration) -> Result<Option<LogRecord>, String> {
        match self.consumer.poll(patience) {
            Some(Ok(message)) => Ok(Some(owned(&message))),
            Some(Err(error))
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) =>
            {
                Err(format!("the log was erased before it was read: {error}"))
            }
            Some(Err(_)) | None => Ok(None),
        }
    }

    /// The low and high watermarks of a partition as its leader knows them; none while it is away.
    pub fn watermarks(
        &self,
        topic: &str,
        partition: i32,
        patience: Duration,
    ) -> Option<(i64, i64)> {
        self.consumer
            .fetch_watermarks(topic, partition, patience)
            .ok()
    }

    /// Up to where a partition has been read, control records included; none before the first record.
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        let positions = self.consumer.position().ok()?;
        match positions.find_partition(topic, partition)?.offset() {
            Offset::Offset(next) => Some(next),
            _ => None,
        }
    }
}

fn owned(message: &impl Message) -> LogRecord {
    let headers = message.headers().into_iter().flat_map(|headers| {
        headers.iter().map(|header| {
            (
                header.key.to_owned(),
                header.value.unwrap_or_default().to_vec(),
            )
        })
    });
    LogRecord {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        headers: headers.collect(),
        value: message.payload().map(<[u8]>::to_vec),
    }
}
