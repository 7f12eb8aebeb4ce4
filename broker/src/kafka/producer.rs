//! Appending: one idempotent producer, replaced when it breaks.
//!
//! `append` hands the record to librdkafka's bounded queue and returns; the answer comes on the
//! producer's own thread and resolves the delivery. rdkafka's `FutureProducer::send` is not used:
//! on a full queue it sleeps and tries again, which swaps records and hides the pressure.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Timestamp};

use super::config::KafkaConfig;
use super::error::append_error;
use super::{context, native};
use crate::delivery::{Deliver, delivery};
use crate::{Append, AppendError, Appended, BrokerError, Delivery};

pub(crate) struct Producer {
    config: KafkaConfig,
    /// `None` once closed.
    live: RwLock<Option<Arc<Live>>>,
}

/// One producer of librdkafka, from its making to its first fatal error.
struct Live {
    producer: ThreadedProducer<Answers>,
    broken: Arc<AtomicBool>,
}

impl Producer {
    pub(crate) fn new(config: KafkaConfig) -> Result<Producer, BrokerError> {
        let live = Live::new(&config)?;
        Ok(Producer {
            config,
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
            Some(live) if !live.broken.load(Ordering::Acquire) => match live.send(&record) {
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
        let reason = broken.producer.client().fatal_error();
        tracing::error!(?reason, "the kafka producer failed and is replaced");
        let fresh = Live::new(&self.config).map_err(|error| {
            tracing::error!(%error, "no new kafka producer");
            AppendError::Fatal
        })?;
        let old = live.replace(Arc::new(fresh));
        drop(live);
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
    fn new(config: &KafkaConfig) -> Result<Live, BrokerError> {
        let broken = Arc::new(AtomicBool::new(false));
        let producer = config
            .producer()
            .create_with_context(Answers {
                broken: Arc::clone(&broken),
            })
            .map_err(|error| BrokerError::Config(error.to_string()))?;
        Ok(Live { producer, broken })
    }

    fn send(&self, record: &Append) -> Result<Delivery, AppendError> {
        let (deliver, delivery) = delivery();
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
                    self.broken.store(true, Ordering::Release);
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

/// Receives the answers, on the producer's polling thread.
struct Answers {
    broken: Arc<AtomicBool>,
}

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.broken.store(true, Ordering::Release);
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
        if answer == Err(AppendError::Fatal) {
            self.broken.store(true, Ordering::Release);
        }
        // Nobody may be waiting any more; that is theirs to decide.
        let _ = deliver.send(answer);
    }
}
