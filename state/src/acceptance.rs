//! Which records of a channel count (D3): a pure function of the channel's prefix of the log.

use schemas::Event;

/// How long an id is remembered, in ms of log time.
pub const HORIZON_MS: i64 = 600_000;

/// What a record is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Accepted {
        /// The channel's log time with this record: never steps back.
        log_time_ms: i64,
    },
    /// It counts for nobody and changes nothing.
    Void(Void),
}

/// Why a record is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Void {
    /// An accepted record is the same publish.
    Duplicate,
    /// The outbox skipped a number.
    Gap {
        /// The number that would have been accepted.
        next: u64,
    },
    /// The outbox was taken over.
    StaleEpoch {
        /// The epoch that holds.
        epoch: u64,
    },
}

/// The state of one outbox in one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    /// The user; `None` for backends that name none.
    pub user: Option<String>,
    /// The outbox's name.
    pub producer: String,
    /// Its epoch.
    pub epoch: u64,
    /// The last accepted number.
    pub seq: u64,
}

/// An id that was given by a publisher and accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdState {
    /// The id.
    pub id: String,
    /// The log time of its (latest) accepted record.
    pub log_time_ms: i64,
}

/// The acceptance rule of one channel.
#[derive(Debug, Clone, Default)]
pub struct Acceptance {
    log_time_ms: i64,
}

impl Acceptance {
    /// The state before the first record.
    pub fn new() -> Acceptance {
        Acceptance::default()
    }

    /// Judges the next record of the channel, `at_ms` being its time in the log, and moves on.
    pub fn apply(&mut self, event: &Event, at_ms: i64) -> Verdict {
        let _ = (event, at_ms);
        todo!()
    }

    /// Epoch and last accepted number of an outbox.
    pub fn producer(&self, user: Option<&str>, producer: &str) -> Option<(u64, u64)> {
        let _ = (user, producer);
        todo!()
    }

    /// Whether an accepted record has this id and is still remembered.
    pub fn known_id(&self, id: &str) -> bool {
        let _ = id;
        todo!()
    }

    /// The state as of a checkpoint: all outboxes, all ids that publishers gave (outbox records
    /// included, ids made from positions excluded) of the last horizon, and the channel's log time.
    pub fn restore(
        producers: impl Iterator<Item = ProducerState>,
        ids: impl Iterator<Item = IdState>,
        log_time_ms: i64,
    ) -> Acceptance {
        let _ = (producers.count(), ids.count());
        Acceptance { log_time_ms }
    }

    /// The greatest log time of an accepted record; 0 before the first.
    pub fn log_time_ms(&self) -> i64 {
        self.log_time_ms
    }

    /// Bytes it holds, roughly.
    pub fn weight(&self) -> usize {
        todo!()
    }
}
