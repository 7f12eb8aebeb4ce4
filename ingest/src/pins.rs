//! Watches the pinned topics (D2): when one is no longer what it was, nothing is appended any more.
//!
//! A topic that was created anew, or got more partitions, would split channels and their order. An operator
//! has to act; this process refuses publishes until it is started again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker::{BrokerError, Log, Pin, TopicFacts};
use protocol::ProtocolError;
use service::{Component, Health, Shutdown};

use crate::metrics::IngestMetrics;

/// How long one topic may take to tell what it is.
const ANSWER: Duration = Duration::from_secs(2);
/// When to come back, ms: not soon, a human has to act.
const RETRY_MS: u64 = 30_000;

/// Whether the topics are the pinned ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct PinGuard(Arc<AtomicBool>);

impl PinGuard {
    /// # Errors
    /// `UNAVAILABLE` once a topic has changed.
    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(ProtocolError::unavailable(
                "the log is not the one this installation began with, an operator has to act",
                RETRY_MS,
            ));
        }
        Ok(())
    }
}

/// Compares the log with the pins.
pub(crate) struct PinWatch {
    pub(crate) log: Log,
    pub(crate) pins: BTreeMap<String, Pin>,
    pub(crate) interval: Duration,
    pub(crate) metrics: IngestMetrics,
    guard: PinGuard,
    topics: Component,
}

impl PinWatch {
    pub(crate) fn new(
        log: Log,
        pins: BTreeMap<String, Pin>,
        interval: Duration,
        metrics: IngestMetrics,
        health: &Health,
    ) -> PinWatch {
        // A log that is away takes a while to fail; that alone must not look like silence.
        let topics = u32::try_from(pins.len()).unwrap_or(u32::MAX);
        let silence = interval * 2 + ANSWER.saturating_mul(topics);
        PinWatch {
            log,
            pins,
            interval,
            metrics,
            guard: PinGuard::default(),
            topics: health.component("ingest topics", silence),
        }
    }

    pub(crate) fn guard(&self) -> PinGuard {
        self.guard.clone()
    }

    /// Compares once.
    pub(crate) async fn check(&self) {
        for (topic, pin) in &self.pins {
            let found = tokio::time::timeout(ANSWER, self.log.describe(topic)).await;
            if let Ok(found) = found
                && let Some(what) = differs(pin, &found)
            {
                return self.alarm(topic, &what);
            }
        }
        // A log that is away says nothing about its topics: what was known of them stands. That it is away is for
        // the process to tell.
        self.topics.ok();
    }

    /// Compares until the signal to stop, or until there is nothing left to protect.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut turns = tokio::time::interval(self.interval);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        turns.tick().await;
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                () = shutdown.started() => return,
            }
            if self.guard.check().is_err() {
                self.topics.failing("a pinned topic has changed");
            } else {
                self.check().await;
            }
        }
    }

    fn alarm(&self, topic: &str, what: &str) {
        self.guard.0.store(true, Ordering::Relaxed);
        self.metrics.pins_changed.set(1);
        self.topics.failing("a pinned topic has changed");
        tracing::error!(
            code = "PINS_CHANGED",
            topic,
            what,
            "a topic is not the one this installation began with: nothing is appended any more"
        );
    }
}

/// What is different, if it is known to be.
fn differs(pin: &Pin, found: &Result<TopicFacts, BrokerError>) -> Option<String> {
    match found {
        Ok(facts) if facts.id != pin.id => Some(format!("its id is {}, not {}", facts.id, pin.id)),
        Ok(facts) if facts.partitions != pin.partitions => Some(format!(
            "it has {} partitions, not {}",
            facts.partitions, pin.partitions
        )),
        Err(BrokerError::Unknown { .. }) => Some("it is gone".to_owned()),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_known_difference_counts() {
        let pin = Pin {
            id: "a".to_owned(),
            partitions: 4,
            generation: 0,
        };
        let facts = |id: &str, partitions: u32| {
            Ok(TopicFacts {
                id: id.to_owned(),
                partitions,
            })
        };
        let away = Err(BrokerError::Unavailable {
            what: "x".to_owned(),
        });
        let gone = Err(BrokerError::Unknown {
            topic: "t".to_owned(),
            partition: -1,
        });
        assert!(differs(&pin, &facts("a", 4)).is_none());
        assert!(differs(&pin, &away).is_none());
        assert!(differs(&pin, &facts("b", 4)).is_some());
        assert!(differs(&pin, &facts("a", 5)).is_some());
        assert!(differs(&pin, &gone).is_some());
    }
}
