//! What a case stands on: a log, topics of its own, and the shortest way to append and read.

use std::sync::Mutex;
use std::time::Duration;

use broker::{
    Append, AppendError, Appended, BrokerError, Delivery, EmbeddedConfig, Fetched, KafkaConfig,
    Log, Reader, Record, TopicSpec, Watermarks,
};
use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;

/// No single step of a case may take longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Bed {
    pub log: Log,
    pub kind: Kind,
    topics: Mutex<Vec<String>>,
    /// Of an embedded log; gone when dropped.
    _dir: Option<TempDir>,
}

pub enum Kind {
    Kafka(KafkaConfig),
    Embedded,
}

/// The shared cluster.
pub fn kafka_address() -> String {
    std::env::var("RIVERMOUTH_TEST_KAFKA")
        .expect("RIVERMOUTH_TEST_KAFKA is not set: run `make test`, or `scripts/kafka.sh start DIR` and export what it prints")
}

impl Bed {
    pub async fn kafka() -> Bed {
        Bed::kafka_with(KafkaConfig::new(kafka_address())).await
    }

    pub async fn kafka_with(config: KafkaConfig) -> Bed {
        let log = Log::kafka(config.clone()).await.unwrap();
        Bed {
            log,
            kind: Kind::Kafka(config),
            topics: Mutex::default(),
            _dir: None,
        }
    }

    pub async fn embedded() -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let mut config = EmbeddedConfig::new(dir.path().join("log"));
        config.housekeeping = Duration::from_millis(20);
        // Small, so that ordinary cases also read from disk.
        config.tail_bytes_max = 16 << 10;
        let log = Log::embedded(config).await.unwrap();
        Bed {
            log,
            kind: Kind::Embedded,
            topics: Mutex::default(),
            _dir: Some(dir),
        }
    }

    /// Another log of the same kind with a queue of so many records, and a topic in it.
    pub async fn with_queue(&self, records_max: usize) -> Bed {
        match &self.kind {
            Kind::Kafka(config) => {
                let mut config = config.clone();
                config.queue_records_max = u32::try_from(records_max).unwrap();
                Bed::kafka_with(config).await
            }
            Kind::Embedded => {
                let dir = tempfile::tempdir().unwrap();
                let mut config = EmbeddedConfig::new(dir.path().join("log"));
                config.queue_records_max = records_max;
                let log = Log::embedded(config).await.unwrap();
                Bed {
                    log,
                    kind: Kind::Embedded,
                    topics: Mutex::default(),
                    _dir: Some(dir),
                }
            }
        }
    }

    pub async fn topic(&self, partitions: u32) -> String {
        let spec = self.spec(partitions);
        self.make(&spec).await;
        spec.name
    }

    async fn make(&self, spec: &TopicSpec) {
        let made = answer(|| self.log.ensure_topics(std::slice::from_ref(spec), true));
        made.await.unwrap();
    }

    /// A topic with a name of its own, not made yet.
    pub fn spec(&self, partitions: u32) -> TopicSpec {
        let name = format!("it-{}", uuid::Uuid::new_v4().simple());
        self.topics.lock().unwrap().push(name.clone());
        TopicSpec {
            name,
            partitions,
            replication: -1,
            retention_ms: None,
            retention_bytes: None,
            compact: false,
        }
    }

    /// A topic whose partition 0 lost its first records; partition 1 has one record.
    pub async fn trimmed_topic(&self) -> String {
        let mut spec = self.spec(2);
        if let Kind::Embedded = &self.kind {
            spec.retention_bytes = Some(2000);
        }
        self.make(&spec).await;
        for n in 0..10 {
            self.put(&spec.name, 0, "k", &format!("{n}{}", "x".repeat(300)))
                .await;
        }
        self.put(&spec.name, 1, "k", "other").await;
        if let Kind::Kafka(config) = &self.kind {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&spec.name, 0, Offset::Offset(5))
                .unwrap();
            admin(&config.bootstrap)
                .delete_records(&list, &AdminOptions::new())
                .await
                .unwrap();
        }
        let trimmed = async {
            while self.marks(&spec.name, 0).await.low == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, trimmed).await.unwrap();
        spec.name
    }

    pub fn send(
        &self,
        topic: &str,
        partition: i32,
        key: &str,
        value: &str,
    ) -> Result<Delivery, AppendError> {
        self.log.append(record(topic, partition, key, value))
    }

    pub async fn put(&self, topic: &str, partition: i32, key: &str, value: &str) -> Appended {
        self.send(topic, partition, key, value)
            .unwrap()
            .await
            .unwrap()
    }

    /// Where a partition begins and ends.
    pub async fn marks(&self, topic: &str, partition: i32) -> Watermarks {
        let marks = answer(|| self.log.watermarks(topic, partition));
        marks.await.unwrap()
    }

    pub fn reader(&self, topic: &str, partition: i32, offset: i64) -> Reader {
        let mut reader = self.log.reader().unwrap();
        reader.assign(topic, partition, offset).unwrap();
        reader
    }

    /// Deletes the topics (Kafka is shared) or the directory.
    pub async fn clean(self) {
        let _ = self.log.close(Duration::from_secs(5)).await;
        if let Kind::Kafka(config) = &self.kind {
            let topics = self.topics.lock().unwrap().clone();
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            if !names.is_empty() {
                let _ = admin(&config.bootstrap)
                    .delete_topics(&names, &AdminOptions::new())
                    .await;
            }
        }
    }
}

pub fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .unwrap()
}

pub fn record(topic: &str, partition: i32, key: &str, value: &str) -> Append {
    Append {
        topic: topic.into(),
        partition,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        headers: Vec::new(),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

/// What the log answers in the end. A question has a few seconds only, and a broker that is busy for so long has said
/// nothing yet.
pub async fn answer<T, F>(ask: impl Fn() -> F) -> Result<T, BrokerError>
where
    F: Future<Output = Result<T, BrokerError>>,
{
    let answered = async {
        loop {
            match ask().await {
                Err(error) if error.retryable() => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                answer => return answer,
            }
        }
    };
    tokio::time::timeout(DEADLINE, answered)
        .await
        .expect("the log never answered")
}

/// The next items, at least one.
pub async fn next(reader: &mut Reader, max: usize) -> Vec<Fetched> {
    tokio::time::timeout(DEADLINE, reader.next(max))
        .await
        .expect("nothing to read")
        .unwrap()
}

/// Reads exactly `count` records, whatever else there is in between.
pub async fn read(reader: &mut Reader, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        for item in next(reader, count - records.len()).await {
            match item {
                Fetched::Record(record) => records.push(record),
                Fetched::End { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    records
}

/// Reads one partition up to an `End` at or beyond `high`; what was read, and where the end is.
pub async fn read_to_end(reader: &mut Reader, high: i64) -> (Vec<Record>, i64) {
    let mut records = Vec::new();
    loop {
        for item in next(reader, 1000).await {
            match item {
                Fetched::Record(record) => records.push(record),
                Fetched::End { next, .. } if next >= high => return (records, next),
                Fetched::End { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

pub fn text(bytes: &Option<Bytes>) -> &str {
    std::str::from_utf8(bytes.as_ref().unwrap()).unwrap()
}
