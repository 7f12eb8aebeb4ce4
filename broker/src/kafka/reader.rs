//! Reading assigned partitions: turns what librdkafka queues into items for the caller.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode;

use super::config::KafkaConfig;
use super::context::Context;
use super::error::broker_error;
use super::native::{FetchQueue, Raw};
use super::query::Query;
use super::stall::Stall;
use super::taken::Taken;
use super::watch::{Finding, Watch, lacks};
use crate::{BrokerError, Fetched, Record};

/// How often an idle reader looks at its queue although nobody woke it, and serves client-wide
/// errors. librdkafka has lost a wake-up before; with this it costs a second, not a partition.
const TICK: Duration = Duration::from_secs(1);
/// Most items taken from librdkafka at once.
const BATCH: usize = 4096;

/// See [`Reader`](crate::Reader).
pub struct KafkaReader {
    /// `None` only while dropping.
    fetch: Option<FetchQueue>,
    assigned: Assigned,
    watch: Watch,
    stall: Stall,
    /// For a new client, should this one stand still.
    config: KafkaConfig,
    taken: Taken,
    /// When client-wide errors were last looked at.
    served: Instant,
    /// Taken from the queue or found out otherwise, not handed out yet.
    ready: VecDeque<Fetched>,
}

/// The next offset wanted of each assigned partition. Few topics, so few comparisons.
type Assigned = HashMap<Arc<str>, HashMap<i32, i64>>;

impl KafkaReader {
    pub(crate) fn new(config: &KafkaConfig, query: Query) -> Result<KafkaReader, BrokerError> {
        let fetch = FetchQueue::new(client(config)?, Arc::default());
        let watch = Watch::new(query.clone(), Arc::clone(fetch.wake()));
        let stall = Stall::new(query, Arc::clone(fetch.wake()));
        Ok(KafkaReader {
            fetch: Some(fetch),
            assigned: HashMap::new(),
            watch,
            stall,
            config: config.clone(),
            taken: Taken::new(Instant::now()),
            served: Instant::now(),
            ready: VecDeque::new(),
        })
    }

    pub(crate) fn assign(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), BrokerError> {
        self.unassign(topic, partition);
        let name = match self.assigned.get_key_value(topic) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(topic),
        };
        if offset < 0 {
            // Negative offsets have meanings of their own in librdkafka, and none here.
            self.ready.push_back(Fetched::OutOfRange {
                topic: name,
                partition,
                asked: offset,
            });
            return Ok(());
        }
        if let Some(error) = self.watch.add(&name, partition) {
            self.ready.push_back(Fetched::Failed {
                topic: name,
                partition,
                error,
            });
            return Ok(());
        }
        let fetch = self.fetch.as_mut().ok_or(BrokerError::Closed)?;
        fetch
            .start(&name, partition, offset)
            .map_err(|code| broker_error("read", topic, partition, code))?;
        self.assigned
            .entry(name)
            .or_default()
            .insert(partition, offset);
        Ok(())
    }

    pub(crate) fn unassign(&mut self, topic: &str, partition: i32) {
        self.ready.retain(|item| !item.is_of(topic, partition));
        let Some(fetch) = self.fetch.as_mut() else {
            return;
        };
        let known = self
            .assigned
            .get_mut(topic)
            .and_then(|partitions| partitions.remove(&partition));
        if known.is_none() {
            return;
        }
        fetch.stop(topic, partition);
        // Errors of the stopped partition may still be queued, and nothing about them says of which
        // assignment they are: take what is queued now, while the partition is not assigned.
        let mut left = fetch.len();
        while left > 0 {
            match self.take(left.min(BATCH)) {
                0 => break,
                count => left -= count,
            }
        }
    }

    pub(crate) async fn next(&mut self, max: usize) -> Result<Vec<Fetched>, BrokerError> {
        let max = max.max(1);
        loop {
            self.check_topics();
            self.check_progress()?;
            while self.ready.len() < max {
                let want = (max - self.ready.len()).min(BATCH);
                if self.take(want) < want {
                    break;
                }
            }
            if !self.ready.is_empty() {
                let count = self.ready.len().min(max);
                return Ok(self.ready.drain(..count).collect());
            }
            let fetch = self.fetch.as_ref().ok_or(BrokerError::Closed)?;
            if tokio::time::timeout(TICK, fetch.wake().notified())
                .await
                .is_err()
            {
                fetch.serve();
            }
        }
    }

    /// Makes the client anew when a partition stands still before the log's end.
    fn check_progress(&mut self) -> Result<(), BrokerError> {
        let drained = self.taken.drained;
        let Some((topic, partition)) = self.stall.check(&self.assigned, drained) else {
            return Ok(());
        };
        let Some(old) = &self.fetch else {
            return Ok(());
        };
        tracing::warn!(
            topic = &*topic,
            partition,
            "reading stands still before the log's end, beginning with a new client"
        );
        let mut fetch = FetchQueue::new(client(&self.config)?, Arc::clone(old.wake()));
        for (topic, partitions) in &self.assigned {
            for (partition, next) in partitions {
                fetch
                    .start(topic, *partition, *next)
                    .map_err(|code| broker_error("read", topic, *partition, code))?;
            }
        }
        if let Some(old) = self.fetch.replace(fetch) {
            end(old);
        }
        Ok(())
    }

    /// Serves client-wide errors, and ends the partitions of topics that are gone or are others now.
    fn check_topics(&mut self) {
        if let Some(fetch) = &self.fetch
            && self.served.elapsed() >= TICK
        {
            fetch.serve();
            self.served = Instant::now();
        }
        for (topic, finding) in self.watch.check() {
            let Some(partitions) = self.assigned.get(&topic) else {
                continue;
            };
            let ended: Vec<i32> = match &finding {
                Finding::All(_) => partitions.keys().copied().collect(),
                Finding::Only(count) => partitions
                    .keys()
                    .copied()
                    .filter(|p| lacks(*count, *p))
                    .collect(),
            };
            for partition in ended {
                self.unassign(&topic, partition);
                let error = match &finding {
                    Finding::All(error) => error.clone(),
                    Finding::Only(_) => BrokerError::Unknown {
                        topic: topic.to_string(),
                        partition,
                    },
                };
                self.ready.push_back(Fetched::Failed {
                    topic: Arc::clone(&topic),
                    partition,
                    error,
                });
            }
            if matches!(finding, Finding::All(_)) {
                self.watch.forget(&topic);
            }
        }
    }

    /// Moves at most `max` queued items to `ready`; returns how many it looked at.
    fn take(&mut self, max: usize) -> usize {
        let (Some(fetch), assigned, ready) =
            (self.fetch.as_mut(), &mut self.assigned, &mut self.ready)
        else {
            return 0;
        };
        let mut ended = Vec::new();
        let count = fetch.drain(max, |raw| {
            let Some(next) = assigned
                .get_mut(&**raw.topic)
                .and_then(|p| p.get_mut(&raw.partition()))
            else {
                return;
            };
            let Some(item) = item(&raw, next) else { return };
            if matches!(item, Fetched::OutOfRange { .. } | Fetched::Failed { .. }) {
                let (topic, partition) = (Arc::clone(raw.topic), raw.partition());
                if let Some(partitions) = assigned.get_mut(&topic) {
                    partitions.remove(&partition);
                }
                ended.push((topic, partition));
            }
            ready.push_back(item);
        });
        for (topic, partition) in ended {
            fetch.stop(&topic, partition);
        }
        self.taken.took(count, fetch.len(), Instant::now());
        count
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            end(fetch);
        }
    }
}

fn client(config: &KafkaConfig) -> Result<BaseConsumer<Context>, BrokerError> {
    config
        .consumer()
        .create_with_context(Context)
        .map_err(|error| BrokerError::Config(error.to_string()))
}

/// Ending a client of librdkafka joins its threads; not on a thread that has other work.
fn end(fetch: FetchQueue) {
    let _ = std::thread::Builder::new()
        .name("kafka-reader-close".into())
        .spawn(move || drop(fetch));
}

impl fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaReader")
            .field("assigned", &self.assigned)
            .finish_non_exhaustive()
    }
}

/// What one queued thing means for the caller; `next` moves with it.
fn item(raw: &Raw<'_>, next: &mut i64) -> Option<Fetched> {
    let (topic, partition, offset) = (Arc::clone(raw.topic), raw.partition(), raw.offset());
    match raw.code() {
        // Something already handed out, or before the assigned offset (a batch is fetched whole).
        RDKafkaErrorCode::NoError | RDKafkaErrorCode::PartitionEOF if offset < *next => None,
        RDKafkaErrorCode::NoError => {
            *next = offset + 1;
            Some(Fetched::Record(record(raw)))
        }
        RDKafkaErrorCode::PartitionEOF => {
            *next = offset;
            Some(Fetched::End {
                topic,
                partition,
                next: offset,
            })
        }
        // A truncation that librdkafka finds by itself comes with the offset the log was cut to, not the one asked for.
        RDKafkaErrorCode::AutoOffsetReset => Some(Fetched::OutOfRange {
            topic,
            partition,
            asked: *next,
        }),
        code => {
            let text = raw.value().map(String::from_utf8_lossy).unwrap_or_default();
            tracing::warn!(topic = &*topic, partition, offset, %text, "reading failed");
            let error = broker_error("read", &topic, partition, code);
            Some(Fetched::Failed {
                topic,
                partition,
                error,
            })
        }
    }
}

/// Copies a record out of librdkafka's buffer (which would otherwise stay whole for one small record)
/// into one allocation that key, value and header values share.
fn record(raw: &Raw<'_>) -> Record {
    let (key, value) = (raw.key(), raw.value());
    let mut all =
        Vec::with_capacity(key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + 128);
    all.extend_from_slice(key.unwrap_or_default());
    let key_end = all.len();
    all.extend_from_slice(value.unwrap_or_default());
    let value_end = all.len();
    let mut ends = Vec::new();
    raw.headers(|name, value| {
        all.extend_from_slice(value);
        ends.push((String::from_utf8_lossy(name).into_owned(), all.len()));
    });
    let all = Bytes::from(all);
    let mut start = value_end;
    let headers = ends
        .into_iter()
        .map(|(name, end)| (name, all.slice(std::mem::replace(&mut start, end)..end)));
    Record {
        topic: Arc::clone(raw.topic),
        partition: raw.partition(),
        offset: raw.offset(),
        timestamp_ms: raw.timestamp_ms(),
        headers: headers.collect(),
        key: key.map(|_| all.slice(..key_end)),
        value: value.map(|_| all.slice(key_end..value_end)),
    }
}
