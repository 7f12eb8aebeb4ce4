//! The embedded log: on the disk of one machine, in one process.
//!
//! ```text
//! append -> queue -> writer thread -> disk (one batch, one sync) -> visible -> acknowledged
//!                                                     readers <- newest records in memory, or disk
//! ```
//!
//! It keeps the promises of [`Log`](crate::Log) as Kafka does, and passes the same tests. It does not
//! survive the machine: for that there is Kafka.

mod config;
mod disk;
mod housekeeping;
mod layout;
mod partition;
mod places;
mod queue;
mod reader;
mod topics;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

pub use config::{EmbeddedConfig, Fsync};
pub use reader::EmbeddedReader;

use self::disk::Disk;
use self::partition::{Partition, Topic};
use self::queue::{Pending, Queue};
use crate::delivery::delivery;
use crate::{
    Append, AppendError, BrokerError, Delivery, Flaw, Retention, TopicFacts, TopicSpec, Watermarks,
};

/// See [`Log::Embedded`](crate::Log::Embedded). Dropping the last clone closes it without waiting for
/// what is queued.
#[derive(Clone)]
pub struct EmbeddedLog(Arc<Handle>);

/// Owns the threads.
struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the log's threads and its readers share.
struct Shared {
    config: EmbeddedConfig,
    /// `None` once closed: the directory is then free for another process.
    disk: RwLock<Option<Disk>>,
    topics: RwLock<BTreeMap<Arc<str>, Arc<Topic>>>,
    queue: Queue,
    stop: Mutex<bool>,
    stopping: Condvar,
}

impl EmbeddedLog {
    pub(crate) async fn open(config: EmbeddedConfig) -> Result<EmbeddedLog, BrokerError> {
        blocking(move || EmbeddedLog::open_blocking(config)).await
    }

    fn open_blocking(config: EmbeddedConfig) -> Result<EmbeddedLog, BrokerError> {
        let disk = Disk::open(&config.dir)?;
        let mut topics = BTreeMap::new();
        for (name, stored) in disk.topics()? {
            let name: Arc<str> = name.into();
            let topic = Topic::load(&name, stored, &disk)?;
            topics.insert(name, Arc::new(topic));
        }
        let shared = Arc::new(Shared {
            queue: Queue::new(config.queue_records_max, config.queue_bytes_max),
            disk: RwLock::new(Some(disk)),
            topics: RwLock::new(topics),
            stop: Mutex::new(false),
            stopping: Condvar::new(),
            config,
        });
        let log = EmbeddedLog(Arc::new(Handle {
            shared: Arc::clone(&shared),
            threads: Mutex::new(Vec::new()),
        }));
        log.0.spawn("log-writer", writer::run)?;
        log.0.spawn("log-housekeeping", housekeeping::run)?;
        Ok(log)
    }

    pub(crate) async fn ensure_topics(
        &self,
        specs: &[TopicSpec],
        create: bool,
    ) -> Result<(), BrokerError> {
        let (shared, specs) = (Arc::clone(&self.0.shared), specs.to_vec());
        blocking(move || {
            specs
                .iter()
                .try_for_each(|spec| shared.ensure_topic(spec, create))
        })
        .await
    }

    pub(crate) async fn examine(&self, specs: &[TopicSpec]) -> Result<Vec<Flaw>, BrokerError> {
        let mut flaws = Vec::new();
        for spec in specs {
            match self.ensure_topics(std::slice::from_ref(spec), false).await {
                Ok(()) => {}
                Err(BrokerError::Differs { flaws: found, .. }) => flaws.extend(found),
                Err(BrokerError::Unknown { .. }) => flaws.push(Flaw::missing(&spec.name)),
                Err(error) => return Err(error),
            }
        }
        Ok(flaws)
    }

    pub(crate) fn retention(&self, topic: &str) -> Result<Retention, BrokerError> {
        let topic = self.0.shared.topic(topic)?;
        Ok(match topic.stored.compact {
            true => Retention::default(),
            false => Retention {
                ms: topic.stored.retention_ms.filter(|ms| *ms >= 0),
                bytes: topic.stored.retention_bytes.filter(|bytes| *bytes >= 0),
            },
        })
    }

    pub(crate) async fn describe(&self, topic: &str) -> Result<TopicFacts, BrokerError> {
        let topic = self.0.shared.topic(topic)?;
        Ok(TopicFacts {
            id: topic.stored.id.clone(),
            partitions: topic.stored.partitions,
        })
    }

    pub(crate) fn append(&self, record: Append) -> Result<Delivery, AppendError> {
        let shared = &self.0.shared;
        let refused = |code: &str| AppendError::Refused { code: code.into() };
        let partition = shared.partition(&record.topic, record.partition);
        let partition = partition.map_err(|_| refused("UNKNOWN_TOPIC_OR_PARTITION"))?;
        if partition.compact && record.key.is_none() {
            return Err(refused("INVALID_RECORD"));
        }
        let weight = layout::weight(&record);
        if weight > shared.config.record_bytes_max {
            return Err(AppendError::TooLarge);
        }
        let (deliver, delivery) = delivery();
        shared.queue.push(Pending {
            partition,
            record,
            weight,
            deliver,
        })?;
        Ok(delivery)
    }

    pub(crate) async fn watermarks(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Watermarks, BrokerError> {
        Ok(self.0.shared.partition(topic, partition)?.watermarks())
    }

    pub(crate) async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        time_ms: i64,
    ) -> Result<i64, BrokerError> {
        let partition = self.0.shared.partition(topic, partition)?;
        let shared = Arc::clone(&self.0.shared);
        blocking(move || shared.offset_at(&partition, time_ms)).await
    }

    pub(crate) fn reader(&self) -> Result<EmbeddedReader, BrokerError> {
        Ok(EmbeddedReader::new(Arc::clone(&self.0.shared)))
    }

    pub(crate) async fn flush(&self, deadline: Duration) -> Result<(), BrokerError> {
        let late = |_| BrokerError::Unavailable {
            what: "appends were still unanswered when flushing ended".into(),
        };
        tokio::time::timeout(deadline, self.0.shared.queue.flushed())
            .await
            .map_err(late)
    }

    pub(crate) async fn close(&self, deadline: Duration) -> Result<(), BrokerError> {
        self.0.shared.queue.shut(AppendError::Closed);
        let flushed = self.flush(deadline).await;
        let handle = Arc::clone(&self.0);
        blocking(move || {
            handle.shut();
            Ok(())
        })
        .await?;
        flushed
    }
}

impl Handle {
    fn spawn(&self, name: &str, run: fn(&Shared)) -> Result<(), BrokerError> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || run(&shared));
        let thread = thread.map_err(|error| BrokerError::Unavailable {
            what: format!("no thread: {error}"),
        })?;
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
        Ok(())
    }

    /// Ends the threads, then frees the directory. Blocks for one batch at most.
    fn shut(&self) {
        self.shared.queue.stop();
        *self
            .shared
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stopping.notify_all();
        for thread in self
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            let _ = thread.join();
        }
        drop(
            self.shared
                .disk
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        for topic in self
            .shared
            .topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            topic
                .partitions
                .iter()
                .for_each(|partition| partition.close());
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shut();
    }
}

impl Shared {
    fn with_disk<T>(
        &self,
        use_it: impl FnOnce(&Disk) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        match &*self.disk.read().unwrap_or_else(PoisonError::into_inner) {
            Some(disk) => use_it(disk),
            None => Err(BrokerError::Closed),
        }
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, BrokerError> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics
            .get(name)
            .cloned()
            .ok_or_else(|| BrokerError::Unknown {
                topic: name.into(),
                partition: -1,
            })
    }

    fn partition(&self, topic: &str, partition: i32) -> Result<Arc<Partition>, BrokerError> {
        let unknown = || BrokerError::Unknown {
            topic: topic.into(),
            partition,
        };
        self.topic(topic)?
            .partition(partition)
            .cloned()
            .ok_or_else(unknown)
    }

    fn offset_at(&self, partition: &Partition, time_ms: i64) -> Result<i64, BrokerError> {
        let (low, high, highest_ms) = {
            let state = partition.state();
            (state.low, state.high, state.highest_ms)
        };
        if time_ms > highest_ms {
            return Ok(high);
        }
        self.with_disk(|disk| {
            let mut offset = housekeeping::bisect(disk, partition.place, low, high, |marks| {
                marks.highest_ms >= time_ms
            })?;
            // The record that set the highest time may be gone; what follows it need not be as late.
            while let Some((found, marks)) = disk.seek(partition.place, offset, high)? {
                if marks.timestamp_ms >= time_ms {
                    return Ok(found);
                }
                offset = found + 1;
            }
            Ok(high)
        })
    }

    /// Waits for `time` or until the log is closing; tells which.
    fn stopped(&self, time: Duration) -> bool {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let (stop, _) = self
            .stopping
            .wait_timeout_while(stop, time, |stop| !*stop)
            .unwrap_or_else(PoisonError::into_inner);
        *stop
    }

    fn stopping(&self) -> bool {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BrokerError> + Send + 'static,
) -> Result<T, BrokerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(BrokerError::Unavailable {
            what: error.to_string(),
        })
    })
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLog")
            .field("dir", &self.0.shared.config.dir)
            .finish_non_exhaustive()
    }
}
