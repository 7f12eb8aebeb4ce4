//! Appending: one idempotent producer, replaced when it breaks.
//!
//! `append` hands the record to librdkafka's bounded queue and returns; the answer comes on the
//! producer's own thread and resolves the delivery. rdkafka's `FutureProducer::send` is not used:
//! on a full queue it sleeps and tries again, which swaps records and hides the pressure.
//!
//! Broken is a producer that said so (`answers`), one whose answers were all unknown for a while, and one
//! that cannot get a partition's records through though its leader answers others (`cure`, `witness`). It is
//! replaced at once, and whatever is unanswered in it is [`AppendError::Fatal`]: its owner may append it again.

mod answers;
mod live;
mod polled;
mod witness;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::producer::Producer as _;
use tokio::runtime::Handle;

use self::answers::{Health, State};
use self::live::Live;
use self::witness::Witness;
use super::config::KafkaConfig;
use super::query::Query;
use crate::{Append, AppendError, BrokerError, Delivery};

/// Appends may all end unknown for this long; a shorter outage is librdkafka's own to get over.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct Producer(Arc<Shared>);

/// What producers have in common with their successors.
struct Shared {
    config: KafkaConfig,
    health: Arc<Health>,
    witness: Witness,
    runtime: Handle,
    /// `None` once closed.
    live: RwLock<Option<Arc<Live>>>,
}

impl Producer {
    /// Needs a tokio runtime, to ask `query` in.
    pub(crate) fn new(config: KafkaConfig, query: Query) -> Result<Producer, BrokerError> {
        let shared = Arc::new(Shared {
            health: Health::new(PATIENCE),
            witness: Witness::new(query),
            runtime: Handle::current(),
            config,
            live: RwLock::default(),
        });
        let live = shared.fresh()?;
        *shared.write() = Some(Arc::new(live));
        Ok(Producer(shared))
    }

    pub(crate) fn append(&self, record: Append) -> Result<Delivery, AppendError> {
        if record.partition < 0 {
            // librdkafka would take -1 for "choose one".
            return Err(AppendError::Refused {
                code: "UNKNOWN_PARTITION".into(),
            });
        }
        // Enqueued under the read lock: a producer that is being replaced takes nothing more.
        let live = self.0.read();
        let broken = match &*live {
            None => return Err(AppendError::Closed),
            Some(live) if !live.state.is_broken() => match live.send(&record) {
                Err(AppendError::Fatal) => live.state.number(),
                sent => return sent,
            },
            Some(live) => live.state.number(),
        };
        drop(live);
        self.0.replace(broken)?;
        match &*self.0.read() {
            None => Err(AppendError::Closed),
            Some(live) => live.send(&record),
        }
    }

    pub(crate) async fn flush(&self, deadline: Duration) -> Result<(), BrokerError> {
        let live = self.0.read().clone();
        match live {
            Some(live) => flush(live, deadline).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn close(&self, deadline: Duration) -> Result<(), BrokerError> {
        let live = self.0.write().take();
        let Some(live) = live else { return Ok(()) };
        live.state.close();
        let flushed = flush(Arc::clone(&live), deadline).await;
        // Dropping purges what is left (its deliveries resolve as unknown) and waits for that.
        let _ = tokio::task::spawn_blocking(move || drop(live)).await;
        flushed
    }
}

impl Shared {
    fn fresh(self: &Arc<Self>) -> Result<Live, BrokerError> {
        Live::new(&self.config, State::new(&self.health, Arc::downgrade(self)))
    }

    /// Puts a new producer in the place of the one with this number, unless somebody else did.
    fn replace(self: &Arc<Self>, number: u64) -> Result<(), AppendError> {
        let mut live = self.write();
        let present = match &*live {
            None => return Err(AppendError::Closed),
            Some(present) if present.state.number() != number => return Ok(()),
            Some(present) => present,
        };
        let failed = present.producer.client().fatal_error();
        let now = Instant::now();
        if failed.is_some() && !self.health.cure().pause(now).is_zero() {
            // Nothing was enqueued.
            return Err(AppendError::Full);
        }
        match &failed {
            Some(reason) => {
                tracing::error!(?reason, "the kafka producer failed and is replaced");
            }
            None => tracing::warn!("the kafka producer gets no answers and is replaced"),
        }
        let fresh = self.fresh().map_err(|error| {
            tracing::error!(%error, "no new kafka producer");
            AppendError::Fatal
        })?;
        let old = live.replace(Arc::new(fresh));
        drop(live);
        match failed {
            Some(_) => self.health.cure().broke(now),
            None => self.health.cure().begin(),
        }
        retire(old);
        Ok(())
    }

    /// Replaces the producer with this number as soon as may be, without anybody having to append.
    fn replace_soon(self: &Arc<Self>, number: u64) {
        let (shared, pause) = (
            Arc::downgrade(self),
            self.health.cure().pause(Instant::now()),
        );
        self.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(shared) = shared.upgrade() {
                let _ = shared.replace(number);
            }
        });
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Option<Arc<Live>>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Option<Arc<Live>>> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let live = self.live.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = live {
            live.state.close();
        }
        retire(live.take());
    }
}

/// Drops a producer away from async threads and from its own thread: it purges, and waits for that.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn present(producer: &Producer) -> Arc<State> {
        Arc::clone(&producer.0.read().as_ref().unwrap().state)
    }

    /// Waits until the producer of this state is replaced, which happens by itself.
    fn successor(producer: &Producer, of: &Arc<State>) -> Arc<State> {
        let end = Instant::now() + Duration::from_secs(20);
        while Arc::ptr_eq(&present(producer), of) {
            assert!(Instant::now() < end, "it is never replaced");
            std::thread::yield_now();
        }
        present(producer)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_producer_whose_answers_are_all_unknown_is_replaced_without_another_append() {
        let config = KafkaConfig::new("127.0.0.1:1");
        let query = Query::new(&config).unwrap();
        let producer = Producer::new(config, query).unwrap();
        let (first, zero) = (present(&producer), Instant::now());
        first.ill("t", 0, zero);
        first.well("t", 0);
        first.ill("t", 0, zero + Duration::from_secs(1));
        first.ill("t", 0, zero + PATIENCE);
        assert!(!first.is_broken(), "a success in between");
        let late = zero + PATIENCE + Duration::from_secs(1);
        first.ill("t", 0, late);
        assert!(first.is_broken());
        let second = successor(&producer, &first);
        // The last words of the old one are not about the new one.
        first.ill("t", 0, late);
        first.ill("t", 0, late + PATIENCE);
        assert!(!second.is_broken());
        assert!(Arc::ptr_eq(&second, &present(&producer)));
    }
}
