//! Appending: one idempotent producer, replaced when it breaks.
//!
//! `append` hands the record to librdkafka's bounded queue and returns; the answer comes on the
//! producer's own thread and resolves the delivery. rdkafka's `FutureProducer::send` is not used:
//! on a full queue it sleeps and tries again, which swaps records and hides the pressure.
//!
//! Broken is a producer that said so, and one whose answers were all unknown for a while (see `cure`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Timestamp};

use super::config::KafkaConfig;
use super::cure::Cure;
use super::error::append_error;
use super::{context, native};
use crate::delivery::{Deliver, Limit, Overdue, delivery};
use crate::{Append, AppendError, Appended, BrokerError, Delivery};

/// Appends may all end unknown for this long; a shorter outage is librdkafka's own to get over.
const PATIENCE: Duration = Duration::from_secs(15);
/// librdkafka looks for late records once a second; one that is later than this is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3);

pub(crate) struct Producer {
    config: KafkaConfig,
    health: Arc<Health>,
    /// `None` once closed.
    live: RwLock<Option<Arc<Live>>>,
}

/// One producer of librdkafka, from its making to its replacement.
struct Live {
    producer: ThreadedProducer<Answers>,
    state: Arc<State>,
    delivery_timeout: Duration,
    /// Gone when the producer has ended.
    _alive: Arc<()>,
}

/// What its answers say about one producer.
struct State {
    broken: AtomicBool,
    health: Arc<Health>,
}

/// What outlives a producer.
struct Health {
    cure: Mutex<Cure>,
    /// One clone for each producer that has not ended.
    alive: Arc<()>,
}

impl Producer {
    pub(crate) fn new(config: KafkaConfig) -> Result<Producer, BrokerError> {
        let health = Arc::new(Health {
            cure: Mutex::new(Cure::new(PATIENCE)),
            alive: Arc::default(),
        });
        let live = Live::new(&config, &health)?;
        Ok(Producer {
            config,
            health,
            live: RwLock::new(Some(Arc::new(live))),
        })
    }

    pub(crate) fn append(&self, record: Append) -> Result<Delivery, AppendError> {
        if record.partition < 0 {
            // librdkafka would take -1 for "choose one".
            return Err(AppendError::Refused {
                code: "UNKNOWN_PARTITION".into(),
            });
        }
        // Enqueued under the read lock: a producer that is being replaced takes nothing more.
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let broken = match &*live {
            None => return Err(AppendError::Closed),
            Some(live) if !live.state.is_broken() => match live.send(&record) {
                Err(AppendError::Fatal) => Arc::clone(live),
                sent => return sent,
            },
            Some(live) => Arc::clone(live),
        };
        drop(live);
        self.replace(&broken)?;
        match &*self.live.read().unwrap_or_else(PoisonError::into_inner) {
            None => Err(AppendError::Closed),
            Some(live) => live.send(&record),
        }
    }

    /// Puts a new producer in the place of `broken`, unless somebody else did.
    fn replace(&self, broken: &Arc<Live>) -> Result<(), AppendError> {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        match &*live {
            None => return Err(AppendError::Closed),
            Some(current) if !Arc::ptr_eq(current, broken) => return Ok(()),
            Some(_) => {}
        }
        match broken.producer.client().fatal_error() {
            Some(reason) => {
                tracing::error!(?reason, "the kafka producer failed and is replaced");
            }
            None => tracing::warn!("the kafka producer gets no answers and is replaced"),
        }
        let fresh = Live::new(&self.config, &self.health).map_err(|error| {
            tracing::error!(%error, "no new kafka producer");
            AppendError::Fatal
        })?;
        let old = live.replace(Arc::new(fresh));
        drop(live);
        self.health.cure().begin();
        retire(old);
        Ok(())
    }

    pub(crate) async fn flush(&self, deadline: Duration) -> Result<(), BrokerError> {
        let live = self
            .live
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match live {
            Some(live) => flush(live, deadline).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn close(&self, deadline: Duration) -> Result<(), BrokerError> {
        let live = self
            .live
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(live) = live else { return Ok(()) };
        let flushed = flush(Arc::clone(&live), deadline).await;
        // Dropping purges what is left (its deliveries resolve as unknown) and joins a thread.
        let _ = tokio::task::spawn_blocking(move || drop(live)).await;
        flushed
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        retire(
            self.live
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

/// Drops a producer away from async threads and from its own thread: it purges, then joins.
fn retire(live: Option<Arc<Live>>) {
    if let Some(live) = live {
        let _ = std::thread::Builder::new()
            .name("kafka-producer-retire".into())
            .spawn(move || drop(live));
    }
}

async fn flush(live: Arc<Live>, deadline: Duration) -> Result<(), BrokerError> {
    let flushed = tokio::task::spawn_blocking(move || live.producer.flush(deadline)).await;
    match flushed {
        Ok(Ok(())) => Ok(()),
        _ => Err(BrokerError::Unavailable {
            what: "appends were still unanswered when flushing ended".into(),
        }),
    }
}

impl Live {
    fn new(config: &KafkaConfig, health: &Arc<Health>) -> Result<Live, BrokerError> {
        let state = Arc::new(State {
            broken: AtomicBool::new(false),
            health: Arc::clone(health),
        });
        let producer = config
            .producer()
            .create_with_context(Answers(Arc::clone(&state)))
            .map_err(|error| BrokerError::Config(error.to_string()))?;
        Ok(Live {
            producer,
            state,
            delivery_timeout: config.delivery_timeout,
            _alive: Arc::clone(&health.alive),
        })
    }

    fn send(&self, record: &Append) -> Result<Delivery, AppendError> {
        let (deliver, delivery) = delivery();
        let delivery = delivery.limited(Limit {
            at: tokio::time::Instant::now() + self.delivery_timeout + FORGOTTEN,
            topic: Arc::clone(&record.topic),
            partition: record.partition,
            tell: Arc::clone(&self.state) as Arc<dyn Overdue>,
            sleep: None,
        });
        let mut base =
            BaseRecord::<[u8], [u8], _>::with_opaque_to(&record.topic, Box::new(deliver))
                .partition(record.partition);
        base.key = record.key.as_deref();
        base.payload = record.value.as_deref();
        if !record.headers.is_empty() {
            let headers = record.headers.iter().fold(
                OwnedHeaders::new_with_capacity(record.headers.len()),
                |headers, (key, value)| {
                    headers.insert(Header {
                        key,
                        value: Some(value.as_ref()),
                    })
                },
            );
            base = base.headers(headers);
        }
        match self.producer.send(base) {
            Ok(()) => Ok(delivery),
            Err((KafkaError::MessageProduction(code), _)) => {
                if code != RDKafkaErrorCode::QueueFull
                    && self.producer.client().fatal_error().is_some()
                {
                    self.state.broke();
                    return Err(AppendError::Fatal);
                }
                // Nothing was enqueued, so nothing can have been stored.
                Err(append_error(code, false))
            }
            Err((_, _)) => Err(AppendError::Refused {
                code: "INVALID_TOPIC".into(),
            }),
        }
    }
}

impl Health {
    fn cure(&self) -> MutexGuard<'_, Cure> {
        self.cure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Producers that were replaced and have not ended.
    fn lingering(&self) -> usize {
        // Ours and the one in use are not counted.
        Arc::strong_count(&self.alive).saturating_sub(2)
    }
}

impl State {
    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    fn broke(&self) {
        self.broken.store(true, Ordering::Release);
    }

    fn well(&self, topic: &str, partition: i32) {
        if !self.is_broken() {
            self.health.cure().well(topic, partition);
        }
    }

    fn ill(&self, topic: &str, partition: i32, now: Instant) {
        if self.is_broken() {
            return;
        }
        let lingering = self.health.lingering();
        let mut cure = self.health.cure();
        if cure.ill(topic, partition, now, lingering) {
            self.broke();
        }
    }
}

impl Overdue for State {
    fn overdue(&self, topic: &str, partition: i32) {
        self.ill(topic, partition, Instant::now());
    }
}

/// Receives the answers, on the producer's polling thread.
struct Answers(Arc<State>);

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.0.broke();
        }
        tracing::debug!(%error, reason, "kafka producer");
    }
}

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<Deliver>;

    fn delivery(&self, result: &DeliveryResult<'_>, deliver: Box<Deliver>) {
        let answer = match result {
            // Stored, but as a duplicate so old that the broker no longer knows where.
            Ok(message) if message.offset() < 0 => Err(AppendError::Unknown),
            Ok(message) => Ok(Appended {
                offset: message.offset(),
                timestamp_ms: match message.timestamp() {
                    Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => ms,
                    Timestamp::NotAvailable => 0,
                },
            }),
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                Err(append_error(code, native::maybe_stored(message)))
            }
        };
        match (&answer, result) {
            (Err(AppendError::Fatal), _) => self.0.broke(),
            (Err(AppendError::Unknown), Err((_, message))) => {
                self.0
                    .ill(message.topic(), message.partition(), Instant::now());
            }
            (_, Ok(message) | Err((_, message))) => {
                self.0.well(message.topic(), message.partition());
            }
        }
        // Nobody may be waiting any more; that is theirs to decide.
        let _ = deliver.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_whose_answers_are_all_unknown_is_replaced() {
        let producer = Producer::new(KafkaConfig::new("127.0.0.1:1")).unwrap();
        let present = || producer.live.read().unwrap().clone().unwrap();
        let append = || {
            producer.append(Append {
                topic: "t".into(),
                partition: 0,
                key: None,
                headers: Vec::new(),
                value: None,
            })
        };
        let (first, zero) = (present(), Instant::now());
        first.state.ill("t", 0, zero);
        first.state.well("t", 0);
        first.state.ill("t", 0, zero + Duration::from_secs(1));
        first.state.ill("t", 0, zero + PATIENCE);
        append().unwrap();
        assert!(Arc::ptr_eq(&first, &present()), "a success in between");
        let late = zero + PATIENCE + Duration::from_secs(1);
        first.state.ill("t", 0, late);
        append().unwrap();
        let second = present();
        assert!(!Arc::ptr_eq(&first, &second));
        // The last words of the old one are not about the new one.
        first.state.ill("t", 0, late);
        first.state.ill("t", 0, late + PATIENCE);
        append().unwrap();
        assert!(Arc::ptr_eq(&second, &present()));
    }
}
