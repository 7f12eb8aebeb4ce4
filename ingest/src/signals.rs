//! The ephemeral lane: at most so many records a second from one sender to one channel, the newest wins,
//! and nobody waits for the log.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker::{Append, Delivery, Log};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use protocol::ProtocolError;
use schemas::{Channel, EventName, newest_wins};
use service::Shutdown;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::IngestConfig;
use crate::conflate::{Offered, Pace};
use crate::metrics::IngestMetrics;
use crate::pins::PinGuard;

/// When to come back when the log is busy, ms.
const BUSY_RETRY_MS: u64 = 250;

/// Who sends where.
type Sender = (Channel, Option<String>);
/// What a newer one replaces: the same thing said to the same users.
type Name = (EventName, Option<Vec<String>>);

/// The handle of the ephemeral lane; clones are the same lane.
#[derive(Clone, Debug)]
pub(crate) struct Signals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: Log,
    guard: PinGuard,
    pace: Mutex<Pace<Sender, Name, Append>>,
    planned: Notify,
    deliveries: mpsc::Sender<Delivery>,
    started: Instant,
    metrics: IngestMetrics,
}

impl Signals {
    pub(crate) fn start(
        config: &IngestConfig,
        log: Log,
        guard: PinGuard,
        metrics: IngestMetrics,
        shutdown: &Shutdown,
    ) -> Signals {
        let (deliveries, receiver) = mpsc::channel(config.signals_in_flight_max.max(1));
        let signals = Signals(Arc::new(Inner {
            log,
            guard,
            pace: Mutex::new(Pace::new(config.limits.ephemeral_hz, config.senders_max)),
            planned: Notify::new(),
            deliveries,
            started: Instant::now(),
            metrics,
        }));
        let task = run(
            signals.clone(),
            receiver,
            config.signals_in_flight_max.max(1),
            shutdown.clone(),
        );
        shutdown.spawn("ingest signals", task);
        signals
    }

    /// Takes an event; it is appended now, at its turn, or not at all when a newer one comes first.
    /// Signalling has its turn each time: what is too much of it is refused, never overtaken.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the log is busy, `RATE_LIMIT_EXCEEDED` when too much of the sender waits.
    pub(crate) fn offer(
        &self,
        sender: Sender,
        name: Name,
        record: Append,
    ) -> Result<(), ProtocolError> {
        let inner = &self.0;
        let name = newest_wins(name.0.as_str()).then_some(name);
        let offered = inner.pace().offer(sender, name, record, inner.now_us());
        match offered {
            Offered::Go(record) => inner.append(record),
            Offered::Waits => {
                inner.planned.notify_one();
                Ok(())
            }
            Offered::Replaced => {
                inner.metrics.conflated.inc();
                Ok(())
            }
            Offered::Full(wait_ms) => Err(ProtocolError::rate_limited(wait_ms)),
        }
    }
}

impl Inner {
    fn append(&self, record: Append) -> Result<(), ProtocolError> {
        let busy = || ProtocolError::unavailable("the log is busy", BUSY_RETRY_MS);
        let Ok(permit) = self.deliveries.try_reserve() else {
            self.metrics.signals_lost.inc();
            return Err(busy());
        };
        let appended = self
            .guard
            .open_for(&record.topic)
            .and_then(|()| self.log.append(record));
        match appended {
            Ok(delivery) => {
                permit.send(delivery);
                Ok(())
            }
            Err(error) => {
                self.metrics.signals_lost.inc();
                tracing::debug!(%error, "an ephemeral event was not taken");
                Err(busy())
            }
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace<Sender, Name, Append>> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Sends what waits when its turn comes, and hears what became of what was sent.
async fn run(
    signals: Signals,
    mut receiver: mpsc::Receiver<Delivery>,
    flying_max: usize,
    shutdown: Shutdown,
) {
    let inner = &signals.0;
    let mut flying: FuturesUnordered<Delivery> = FuturesUnordered::new();
    let mut stop = pin!(shutdown.started());
    loop {
        let next_us = inner.pace().next_us();
        tokio::select! {
            delivery = receiver.recv(), if flying.len() < flying_max => {
                // Never closed while this task holds the lane.
                flying.extend(delivery);
            }
            Some(outcome) = flying.next(), if !flying.is_empty() => {
                if outcome.is_err() {
                    inner.metrics.signals_lost.inc();
                }
            }
            () = inner.planned.notified() => {}
            () = at(inner.started, next_us) => {
                let due = inner.pace().due(inner.now_us());
                for record in due {
                    // It has been answered; what is lost is counted.
                    let _ = inner.append(record);
                }
            }
            // Nobody waits for these: what is in flight is flushed with the log.
            () = &mut stop => return,
        }
    }
}

async fn at(started: Instant, us: Option<u64>) {
    match us {
        Some(us) => tokio::time::sleep_until(started + Duration::from_micros(us)).await,
        None => std::future::pending().await,
    }
}
