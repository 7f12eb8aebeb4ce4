//! The way into a lane: bounded by records and by bytes, and a full one says so at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::ProtocolError;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::letter::Letter;
use crate::breaker::Breaker;
use crate::metrics::IngestMetrics;
use crate::{BreakerConfig, IngestConfig};

/// When to come back to a full queue, ms.
const FULL_RETRY_MS: u64 = 250;

/// The handle of one partition's lane.
#[derive(Debug)]
pub(crate) struct Lane {
    letters: mpsc::Sender<Letter>,
    room: Arc<Room>,
    breaker: Arc<LaneBreaker>,
}

/// Why a letter was not taken; the letter comes back with it.
pub(crate) type Refused = (Letter, ProtocolError);

impl Lane {
    /// A lane and the end its sender takes letters from.
    pub(crate) fn new(
        config: &IngestConfig,
        breaker: Arc<LaneBreaker>,
        metrics: &IngestMetrics,
    ) -> (Lane, mpsc::Receiver<Letter>) {
        let count_max = config.queue_count_max.max(1);
        // Letters hold their room until they are answered, so the channel is never fuller than the room.
        let (letters, receiver) = mpsc::channel(count_max);
        let room = Arc::new(Room {
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            count_max,
            bytes_max: config.queue_bytes_max,
            metrics: metrics.clone(),
        });
        let lane = Lane {
            letters,
            room,
            breaker,
        };
        (lane, receiver)
    }

    /// Whether a record of this size would be taken now; says so before anybody pays for it.
    ///
    /// # Errors
    /// `UNAVAILABLE` with `retryAfterMs`.
    pub(crate) fn check(&self, bytes: usize) -> Result<(), ProtocolError> {
        self.breaker.peek()?;
        if self.room.is_full(bytes) {
            return Err(full());
        }
        Ok(())
    }

    /// Takes a letter, in the order of the calls. Never waits.
    pub(crate) fn offer(&self, mut letter: Letter) -> Result<(), Box<Refused>> {
        let Some(hold) = Hold::take(&self.room, letter.bytes) else {
            return Err(Box::new((letter, full())));
        };
        if let Err(error) = self.breaker.admit() {
            return Err(Box::new((letter, error)));
        }
        letter.hold = Some(hold);
        self.letters.try_send(letter).map_err(|error| match error {
            mpsc::error::TrySendError::Full(letter) => Box::new((letter, full())),
            mpsc::error::TrySendError::Closed(letter) => Box::new((letter, leaving())),
        })
    }
}

/// `UNAVAILABLE`: this process is on its way out.
pub(crate) fn leaving() -> ProtocolError {
    ProtocolError::unavailable("this node is leaving, use another", 1_000)
}

fn full() -> ProtocolError {
    ProtocolError::unavailable("too much is waiting for the log", FULL_RETRY_MS)
}

/// The breaker of one lane, shared by the door and the sender, with the clock it runs on.
#[derive(Debug)]
pub(crate) struct LaneBreaker {
    breaker: Mutex<Breaker>,
    started: Instant,
    probe: Duration,
    metrics: IngestMetrics,
}

impl LaneBreaker {
    pub(crate) fn new(
        config: BreakerConfig,
        probe: Duration,
        metrics: &IngestMetrics,
    ) -> LaneBreaker {
        LaneBreaker {
            breaker: Mutex::new(Breaker::new(config)),
            started: Instant::now(),
            probe,
            metrics: metrics.clone(),
        }
    }

    /// What became of a record.
    pub(crate) fn record(&self, good: bool) {
        let now_ms = self.now_ms();
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.is_open();
        breaker.record(good, now_ms);
        match (before, breaker.is_open()) {
            (false, true) => {
                self.metrics.breakers_open.inc();
                tracing::warn!(
                    "the log answers too little, publishes to this partition are refused for now"
                );
            }
            (true, false) => {
                self.metrics.breakers_open.dec();
                tracing::info!("the log answers again");
            }
            _ => {}
        }
    }

    /// A record was answered without being tried.
    pub(crate) fn untried(&self) {
        let now_ms = self.now_ms();
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker.untried(now_ms);
    }

    fn peek(&self) -> Result<(), ProtocolError> {
        let now_ms = self.now_ms();
        let breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker.peek(now_ms, millis(self.probe)).map_err(broken)
    }

    fn admit(&self) -> Result<(), ProtocolError> {
        let now_ms = self.now_ms();
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker.admit(now_ms, millis(self.probe)).map_err(broken)
    }

    fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

fn broken(wait_ms: u64) -> ProtocolError {
    ProtocolError::unavailable("the log does not answer at present", wait_ms)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How much waits or is in flight.
#[derive(Debug)]
struct Room {
    count: AtomicUsize,
    bytes: AtomicUsize,
    count_max: usize,
    bytes_max: usize,
    metrics: IngestMetrics,
}

impl Room {
    fn is_full(&self, bytes: usize) -> bool {
        self.count.load(Ordering::Relaxed) >= self.count_max
            || self.bytes.load(Ordering::Relaxed).saturating_add(bytes) > self.bytes_max
    }
}

/// A letter's part of the room; given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    room: Arc<Room>,
    bytes: usize,
}

impl Hold {
    fn take(room: &Arc<Room>, bytes: usize) -> Option<Hold> {
        let count = room.count.fetch_add(1, Ordering::Relaxed);
        let before = room.bytes.fetch_add(bytes, Ordering::Relaxed);
        room.metrics.queued.inc();
        room.metrics
            .queued_bytes
            .inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
        let hold = Hold {
            room: Arc::clone(room),
            bytes,
        };
        // What does not fit gives its part back as it is dropped.
        (count < room.count_max && before.saturating_add(bytes) <= room.bytes_max).then_some(hold)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.room.count.fetch_sub(1, Ordering::Relaxed);
        self.room.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.room.metrics.queued.dec();
        let bytes = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        self.room.metrics.queued_bytes.dec_by(bytes);
    }
}
