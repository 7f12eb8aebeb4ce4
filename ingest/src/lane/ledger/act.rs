//! What a ledger wants done, and what it is told.

use schemas::Channel;
use state::Acceptance;

use crate::lane::job::{Answer, Entry, Job};
#[cfg(doc)]
use crate::lane::ledger::Ledger;

/// What the shell has to do.
#[derive(Debug)]
pub(crate) enum Act<T> {
    /// Append it, then report [`Ledger::delivered`] or [`Ledger::lost`] in the order of these acts; when it
    /// cannot even be enqueued, [`Ledger::not_enqueued`] at once and [`Ledger::lost`] in order.
    Append(Entry<T>),
    /// Nothing to append, but its answer has its turn: report [`Ledger::settle`] in order.
    Settle(Entry<T>),
    /// Tell the publisher.
    Answer(Job<T>, Answer),
    /// Find out where the channel's outboxes stand: report [`Ledger::looked`].
    Look(Question),
    /// Find out where the log ends: report [`Ledger::headed`].
    Head(Question),
    /// Read the partition from this offset; report [`Ledger::saw`] and [`Ledger::advanced`].
    Follow { session: u64, from: i64 },
    /// Stop reading.
    Leave,
}

/// What is asked about, and the number that its answer must carry: an answer to a question that was
/// overtaken by events is nobody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) channel: Channel,
    pub(crate) ask: u64,
}

/// Where a channel's outboxes stand.
#[derive(Debug)]
pub(crate) struct Looked {
    /// As of `from`.
    pub(crate) acceptance: Acceptance,
    /// The first offset that is not in `acceptance`.
    pub(crate) from: i64,
    /// The log's end, asked for after the question came.
    pub(crate) head: i64,
}

/// Now, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Since the lane started, ms; never steps back.
    pub(crate) ms: u64,
    /// Unix ms.
    pub(crate) wall_ms: i64,
}

/// Bounds of a ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) channels_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) ids_max: usize,
}
