//! What the answers of one producer say about it, and how it comes to be replaced.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use rdkafka::{ClientContext, Timestamp};

use super::Shared;
use crate::delivery::{Deliver, Overdue};
use crate::kafka::cure::Cure;
use crate::kafka::error::append_error;
use crate::kafka::{context, native};
use crate::{AppendError, Appended};

/// What is known of one producer.
pub(super) struct State {
    /// Tells it from its predecessors and successors.
    number: u64,
    broken: AtomicBool,
    closed: AtomicBool,
    /// Records that it has given up. Each makes librdkafka begin its numbering anew, and send once more, under other
    /// numbers, what is in flight (L1, L2): brokers do not know that for the same.
    given_up: AtomicU64,
    health: Arc<Health>,
    owner: Weak<Shared>,
}

/// What outlives a producer.
pub(super) struct Health {
    cure: Mutex<Cure>,
    made: AtomicU64,
    /// One clone for each producer that has not ended.
    alive: Arc<()>,
}

impl Health {
    pub(super) fn new(patience: Duration) -> Arc<Health> {
        Arc::new(Health {
            cure: Mutex::new(Cure::new(patience)),
            made: AtomicU64::new(0),
            alive: Arc::default(),
        })
    }

    pub(super) fn cure(&self) -> MutexGuard<'_, Cure> {
        self.cure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Producers that were replaced and have not ended.
    fn lingering(&self) -> usize {
        // Ours and the one in use are not counted.
        Arc::strong_count(&self.alive).saturating_sub(2)
    }
}

impl State {
    pub(super) fn new(health: &Arc<Health>, owner: Weak<Shared>) -> State {
        State {
            number: health.made.fetch_add(1, Ordering::Relaxed),
            broken: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            given_up: AtomicU64::new(0),
            health: Arc::clone(health),
            owner,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// What goes with a record into the producer.
    pub(super) fn sent(&self, deliver: Deliver) -> Sent {
        Sent {
            deliver,
            given_up: self.given_up.load(Ordering::Acquire),
        }
    }

    /// To be held as long as the producer lives.
    pub(super) fn alive(&self) -> Arc<()> {
        Arc::clone(&self.health.alive)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Has the producer replaced, at once: what is in it would wait for its timeout else.
    pub(super) fn broke(&self) {
        if self.broken.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(owner) = self.owner.upgrade() {
            // Not here and now: this is the producer's own thread, or somebody holds it.
            owner.replace_soon(self.number);
        }
    }

    pub(super) fn well(&self, topic: &str, partition: i32) {
        if !self.is_broken() {
            self.health.cure().well(topic, partition);
        }
    }

    pub(super) fn ill(&self, topic: &str, partition: i32, now: Instant) {
        if self.is_broken() {
            return;
        }
        let lingering = self.health.lingering();
        let mut cure = self.health.cure();
        let replace = cure.ill(topic, partition, now, lingering);
        drop(cure);
        if replace {
            self.broke();
        } else if let Some(owner) = self.owner.upgrade() {
            owner.witness.look(&owner.runtime, &self.health);
        }
    }

    /// What is left in a producer that is not replaced any more is unknown for good.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// What goes down with a producer that is replaced may be appended again. librdkafka may also give it up
    /// before it tells that the producer failed.
    fn sort(&self, code: RDKafkaErrorCode, error: AppendError) -> AppendError {
        let given_up = matches!(
            code,
            RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight
        );
        let lost = error == AppendError::Unknown && (given_up || self.is_broken());
        if lost && !self.closed.load(Ordering::Acquire) {
            return AppendError::Fatal;
        }
        error
    }
}

impl Overdue for State {
    fn overdue(&self, topic: &str, partition: i32) {
        self.ill(topic, partition, Instant::now());
    }
}

/// What comes back with a record's answer.
pub(super) struct Sent {
    deliver: Deliver,
    /// How many records had been given up when it was sent.
    given_up: u64,
}

/// Receives the answers, on the producer's polling thread.
pub(super) struct Answers(pub(super) Arc<State>);

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
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let given_up = &self.0.given_up;
        let answer = match result {
            // Stored, but as a duplicate so old that the broker no longer knows where.
            Ok(message) if message.offset() < 0 => Err(AppendError::Unknown),
            Ok(message) => Ok(Appended {
                offset: message.offset(),
                timestamp_ms: match message.timestamp() {
                    Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => ms,
                    Timestamp::NotAvailable => 0,
                },
                again: sent.given_up != given_up.load(Ordering::Acquire),
            }),
            Err((error, message)) => {
                given_up.fetch_add(1, Ordering::AcqRel);
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                let error = append_error(code, native::maybe_stored(message));
                Err(self.0.sort(code, error))
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
        let _ = sent.deliver.send(answer);
    }
}
