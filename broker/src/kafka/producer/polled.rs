//! A producer whose answers are taken on a thread of its own.
//!
//! rdkafka's `ThreadedProducer` does the same in turns of 100 ms, and its `poll` spins through the last millisecond of
//! every turn: one percent of a processor for nothing. A turn here is fifty times as long.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, Producer as _, PurgeConfig};

use super::answers::Answers;
use crate::BrokerError;

/// How long the thread goes on after the producer was given up; answers do not wait for it.
const TURN: Duration = Duration::from_secs(5);
/// How long what was purged may take to be answered.
const PURGE: Duration = Duration::from_millis(500);

/// Derefs to the producer it polls.
pub(super) struct Polled {
    inner: Arc<BaseProducer<Answers>>,
    stop: Arc<AtomicBool>,
}

impl Polled {
    /// `alive` is held until the producer has ended.
    pub(super) fn start(
        inner: BaseProducer<Answers>,
        alive: Arc<()>,
    ) -> Result<Polled, BrokerError> {
        let polled = Polled {
            inner: Arc::new(inner),
            stop: Arc::default(),
        };
        let (producer, stop) = (Arc::clone(&polled.inner), Arc::clone(&polled.stop));
        thread::Builder::new()
            .name("kafka-answers".into())
            .spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    producer.poll(TURN);
                }
                drop((producer, alive));
            })
            .map_err(|error| BrokerError::Config(format!("no thread for the producer: {error}")))?;
        Ok(polled)
    }
}

impl Deref for Polled {
    type Target = BaseProducer<Answers>;

    fn deref(&self) -> &BaseProducer<Answers> {
        &self.inner
    }
}

impl Drop for Polled {
    /// Resolves what is unanswered, which blocks for a moment; the thread ends the producer when its turn is over.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.inner.purge(PurgeConfig::default().queue().inflight());
        let _ = self.inner.flush(PURGE);
    }
}
