//! Questions to the brokers: watermarks, offsets by time, topic identity.
//!
//! librdkafka answers them by blocking, so they run on the blocking pool, a few at a time. Askers of
//! the same watermarks share a question, but only one that began after they asked: what was stored
//! before the call is below the answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{Semaphore, oneshot};

use super::config::KafkaConfig;
use super::context::Context;
use super::error::{broker_error, kafka_error};
use super::native;
use crate::{BrokerError, TopicFacts, Watermarks};

/// Questions in flight at a time; more wait in line, within their own deadline.
const AT_ONCE: usize = 16;
/// Pause before asking again when the brokers are moving leaders about.
const RETRY: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(crate) struct Query(Arc<Inner>);

struct Inner {
    consumer: BaseConsumer<Context>,
    timeout: Duration,
    permits: Arc<Semaphore>,
    /// Who waits for the next answer, for each partition that has a question in flight.
    waiting: Mutex<HashMap<(String, i32), Vec<Waiter>>>,
}

type Waiter = oneshot::Sender<Result<Watermarks, BrokerError>>;

impl Query {
    pub(crate) fn new(config: &KafkaConfig) -> Result<Query, BrokerError> {
        let consumer = config
            .consumer()
            .create_with_context(Context)
            .map_err(|error| BrokerError::Config(error.to_string()))?;
        Ok(Query(Arc::new(Inner {
            consumer,
            timeout: config.request_timeout,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Mutex::new(HashMap::new()),
        })))
    }

    pub(crate) async fn watermarks(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Watermarks, BrokerError> {
        let (sender, receiver) = oneshot::channel();
        let key = (topic.to_owned(), partition);
        let first = {
            let mut waiting = self
                .0
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let first = !waiting.contains_key(&key);
            waiting.entry(key.clone()).or_default().push(sender);
            first
        };
        if first {
            // Ends when nobody waits any more; each round is bounded by the request timeout.
            tokio::spawn(self.clone().answer(key));
        }
        receiver.await.unwrap_or(Err(BrokerError::Closed))
    }

    /// Asks, and asks again for those who came while it was asking.
    async fn answer(self, key: (String, i32)) {
        loop {
            let waiters = {
                let mut waiting = self
                    .0
                    .waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                match waiting.get_mut(&key) {
                    Some(waiters) if !waiters.is_empty() => std::mem::take(waiters),
                    _ => {
                        waiting.remove(&key);
                        return;
                    }
                }
            };
            let (topic, partition) = key.clone();
            let answer = self
                .blocking(
                    "ask for the watermarks of",
                    &key.0,
                    partition,
                    move |consumer, timeout| {
                        let (low, high) = consumer.fetch_watermarks(&topic, partition, timeout)?;
                        Ok(Watermarks { low, high })
                    },
                )
                .await;
            for waiter in waiters {
                let _ = waiter.send(answer.clone());
            }
        }
    }

    pub(crate) async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        time_ms: i64,
    ) -> Result<i64, BrokerError> {
        // The end is asked for first: whatever is appended in between is later than `time_ms` or found.
        let high = self.watermarks(topic, partition).await?.high;
        let name = topic.to_owned();
        self.blocking(
            "ask for an offset by time of",
            topic,
            partition,
            move |consumer, timeout| {
                let mut times = TopicPartitionList::new();
                times.add_partition_offset(&name, partition, Offset::Offset(time_ms.max(0)))?;
                let found = consumer.offsets_for_times(times, timeout)?;
                let element = found.find_partition(&name, partition);
                let element =
                    element.ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition))?;
                element.error()?;
                Ok(match element.offset() {
                    Offset::Offset(offset) => offset,
                    _ => high,
                })
            },
        )
        .await
    }

    pub(crate) async fn describe(&self, topic: &str) -> Result<TopicFacts, BrokerError> {
        let name = topic.to_owned();
        self.blocking("describe", topic, -1, move |consumer, timeout| {
            native::describe(consumer.client(), &name, timeout).map_err(KafkaError::MetadataFetch)
        })
        .await
    }

    /// Runs `ask` on the blocking pool, again and again while the answer is "not now".
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        topic: &str,
        partition: i32,
        ask: impl Fn(&BaseConsumer<Context>, Duration) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let deadline = Instant::now() + self.0.timeout;
        let late = || broker_error(what, topic, partition, RDKafkaErrorCode::OperationTimedOut);
        let permit =
            tokio::time::timeout(self.0.timeout, Arc::clone(&self.0.permits).acquire_owned());
        let Ok(Ok(permit)) = permit.await else {
            return Err(late());
        };
        let (query, name) = (self.clone(), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let consumer = &query.0.consumer;
            let result = loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let error = match ask(consumer, left.max(Duration::from_millis(1))) {
                    Ok(answer) => break Ok(answer),
                    Err(error) => kafka_error(what, &name, partition, &error),
                };
                if !error.retryable() || left <= RETRY {
                    break Err(error);
                }
                std::thread::sleep(RETRY);
            };
            // Client-wide errors wait in this queue; nobody else empties it.
            while consumer.poll(Duration::ZERO).is_some() {}
            result
        });
        asked.await.unwrap_or_else(|_| Err(late()))
    }
}
