//! What a pull brings, for whom, and what is said when nothing can be had.

use std::sync::Arc;

use protocol::{ProtocolError, server::GapReason};
use schemas::Channel;

use crate::event::Delivered;

/// What one pull of a channel's events brought.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) channel: Channel,
    /// The position it begins at: what was asked for, made definite.
    pub(crate) start: i64,
    /// A range before the events that nothing holds any more.
    pub(crate) gap: Option<Gap>,
    /// In order, without a hole, all at or after `start`.
    pub(crate) events: Vec<Arc<Delivered>>,
    /// The position after them.
    pub(crate) next: i64,
    /// The asker is attached: what follows `next` will be broadcast to its shard.
    pub(crate) live: bool,
    /// Nothing follows `next` for now.
    pub(crate) reached_end: bool,
}

/// A range of the log that is gone, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) reason: GapReason,
}

/// A chunk, or why there is none.
pub(crate) type Pulled = Result<Chunk, ProtocolError>;

/// Which events of a channel a reader wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Only these names; `None`: all.
    pub(crate) types: Option<Arc<[String]>>,
    /// Who reads: events addressed to others are left out.
    pub(crate) user: Arc<str>,
}

impl Wanted {
    pub(crate) fn passes(&self, event: &Delivered) -> bool {
        self.types
            .as_ref()
            .is_none_or(|types| types.iter().any(|t| **t == *event.name))
            && event.visible_to(&self.user)
    }
}

/// A topic is another one than was pinned: nothing of it is read before an operator has acted.
pub(crate) fn moved() -> ProtocolError {
    ProtocolError::unavailable(
        "the log is not the one this installation began with, an operator has to act",
        30_000,
    )
}

/// The log, or what stands before it, is away for now.
pub(crate) fn away() -> ProtocolError {
    ProtocolError::unavailable("the log cannot be read just now", 1_000)
}
