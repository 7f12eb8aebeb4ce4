//! Questions to the brokers: watermarks, offsets by time, topic identity.
//!
//! librdkafka answers them by blocking, so each runs on a thread of its own, a few at a time; nobody waits for
//! that thread longer than the deadline. Askers of the same watermarks share a question, but only one that began
//! after they asked: what was stored before the call is below the answer. A client that answers nothing for a
//! while is replaced (see `asking` and `cure`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::asking::Asking;
use super::config::KafkaConfig;
use super::context::Context;
use super::error::{broker_error, kafka_error};
use super::native;
use super::watch::lacks;
use crate::{BrokerError, TopicFacts, Watermarks};

/// Where a partition begins and ends is known this soon or not at all.
const OFFSETS: Duration = Duration::from_secs(2);
/// The thread ends this much before the deadline, so that what it found out is heard.
const HEARD: Duration = Duration::from_millis(50);
/// Pause before asking again when the brokers are moving leaders about.
const RETRY: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(crate) struct Query(Arc<Inner>);

struct Inner {
    asking: Asking,
    timeout: Duration,
    /// Who waits for the next answer, for each partition that has a question in flight.
    waiting: Mutex<HashMap<(String, i32), Vec<Waiter>>>,
}

type Waiter = oneshot::Sender<Result<Watermarks, BrokerError>>;

impl Query {
    pub(crate) fn new(config: &KafkaConfig) -> Result<Query, BrokerError> {
        Ok(Query(Arc::new(Inner {
            asking: Asking::new(config)?,
            timeout: config.request_timeout,
            waiting: Mutex::new(HashMap::new()),
        })))
    }

    pub(crate) async fn watermarks(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Watermarks, BrokerError> {
        let deadline = self.offsets_deadline();
        self.watermarks_by(topic, partition, deadline).await
    }

    fn offsets_deadline(&self) -> Instant {
        Instant::now() + self.0.timeout.min(OFFSETS)
    }

    async fn watermarks_by(
        &self,
        topic: &str,
        partition: i32,
        deadline: Instant,
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
            // Ends when nobody waits any more; each round is bounded by its deadline.
            tokio::spawn(self.clone().answer(key));
        }
        // One who came while a question was in flight waits for that one too.
        match timeout_at(deadline.into(), receiver).await {
            Ok(answer) => answer.unwrap_or(Err(BrokerError::Closed)),
            Err(_) => Err(late(WATERMARKS, topic, partition)),
        }
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
                    Some(waiters) if waiters.iter().any(|waiter| !waiter.is_closed()) => {
                        std::mem::take(waiters)
                    }
                    _ => {
                        waiting.remove(&key);
                        return;
                    }
                }
            };
            let (topic, partition) = key.clone();
            let answer = self
                .ask(
                    WATERMARKS,
                    &key.0,
                    partition,
                    self.offsets_deadline(),
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
        let deadline = self.offsets_deadline();
        let high = self.watermarks_by(topic, partition, deadline).await?.high;
        let name = topic.to_owned();
        self.ask(
            "ask for an offset by time of",
            topic,
            partition,
            deadline,
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

    /// Asks for at most the request timeout.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        topic: &str,
        partition: i32,
        ask: impl Fn(&BaseConsumer<Context>, Duration) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let deadline = Instant::now() + self.0.timeout;
        self.ask(what, topic, partition, deadline, ask).await
    }

    /// Runs `ask` on a thread, again and again while the answer is "not now". Once begun it goes on when the
    /// future is dropped: what becomes of it says something about the client.
    async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        topic: &str,
        partition: i32,
        deadline: Instant,
        ask: impl Fn(&BaseConsumer<Context>, Duration) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let (query, name) = (self.clone(), topic.to_owned());
        let asked = tokio::spawn(async move {
            let asking = &query.0.asking;
            let thread = asking.run(deadline, {
                let name = name.clone();
                move |consumer| {
                    let end = deadline.checked_sub(HEARD).unwrap_or(deadline);
                    persist(end, |left| {
                        let error = match ask(consumer, left) {
                            Ok(answer) => return Ok(answer),
                            Err(error) => kafka_error(what, &name, partition, &error),
                        };
                        let left = end.saturating_duration_since(Instant::now());
                        let facts = || native::describe(consumer.client(), &name, left);
                        Err(believed(error, what, partition, facts))
                    })
                }
            });
            let (client, answer) = thread.await;
            let answer = answer.unwrap_or_else(|| Err(late(what, &name, partition)));
            let answered = !matches!(&answer, Err(error) if error.retryable());
            asking.learn(&client, (&name, partition), answered, Instant::now());
            answer
        });
        asked
            .await
            .unwrap_or_else(|_| Err(late(what, topic, partition)))
    }
}

const WATERMARKS: &str = "ask for the watermarks of";

fn late(what: &str, topic: &str, partition: i32) -> BrokerError {
    broker_error(what, topic, partition, RDKafkaErrorCode::OperationTimedOut)
}

/// "No such partition" comes from what librdkafka remembers, and after a broker hung that can be wrong for seconds;
/// it is believed when the brokers say so themselves.
fn believed(
    error: BrokerError,
    what: &str,
    asked: i32,
    facts: impl FnOnce() -> Result<TopicFacts, RDKafkaErrorCode>,
) -> BrokerError {
    let BrokerError::Unknown { topic, .. } = &error else {
        return error;
    };
    if asked < 0 {
        return error;
    }
    match facts().map_err(|code| broker_error(what, topic, asked, code)) {
        Ok(facts) if lacks(facts.partitions, asked) => error,
        Err(BrokerError::Unknown { .. }) => error,
        Ok(_) | Err(_) => broker_error(what, topic, asked, RDKafkaErrorCode::LeaderNotAvailable),
    }
}

/// Tries until there is an answer or no time left.
fn persist<T>(
    deadline: Instant,
    attempt: impl Fn(Duration) -> Result<T, BrokerError>,
) -> Result<T, BrokerError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match attempt(left.max(Duration::from_millis(1))) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if !error.retryable() || left <= RETRY {
            return Err(error);
        }
        std::thread::sleep(RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_only_missing_when_the_brokers_say_so() {
        let missing = || BrokerError::Unknown {
            topic: "t".into(),
            partition: 2,
        };
        let facts = |partitions| {
            Ok(TopicFacts {
                id: "x".into(),
                partitions,
            })
        };
        let judge = |said| believed(missing(), "ask", 2, move || said);
        assert!(judge(facts(3)).retryable());
        assert!(judge(Err(RDKafkaErrorCode::OperationTimedOut)).retryable());
        assert_eq!(judge(facts(2)), missing());
        let gone = RDKafkaErrorCode::UnknownTopicOrPartition;
        assert_eq!(judge(Err(gone)), missing());
    }
}
