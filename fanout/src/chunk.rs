//! What a pull brings, for whom, and what is said when nothing can be had.

use std::sync::Arc;

use bytes::Bytes;
use protocol::{ErrorName, ProtocolError, server::GapReason};
use schemas::Channel;
use serde_json::json;

use crate::{
    event::{Delivered, Framer},
    place::Spot,
};

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
    /// The channel's state, where it was asked for.
    pub(crate) state: Option<State>,
}

impl Chunk {
    /// Events from `start` on, with more to come after `next`.
    pub(crate) fn of(
        channel: Channel,
        start: i64,
        gap: Option<Gap>,
        events: Vec<Arc<Delivered>>,
        next: i64,
    ) -> Chunk {
        Chunk {
            channel,
            start,
            gap,
            events,
            next,
            live: false,
            reached_end: false,
            state: None,
        }
    }

    /// For a true cursor beyond the end: the log was cut after it was given out. What came since is there.
    pub(crate) fn beyond(channel: Channel, next: i64, (read_to, cut): (i64, Option<i64>)) -> Chunk {
        let to = cut.map_or(read_to, |cut| cut.min(read_to));
        let gap = Gap {
            from: next,
            to,
            reason: GapReason::Truncated,
        };
        Chunk::of(channel, next, Some(gap), Vec::new(), to)
    }
}

/// The state of a channel.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// It is that of all events below this offset.
    pub(crate) at: i64,
    /// As clients are told it: JSON text.
    pub(crate) json: Bytes,
}

/// How much an answer may hold. A page shared by several goes by the most of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Events at most, where they have to be fetched.
    pub(crate) events: u32,
    /// No more once this is reached; there is always one.
    pub(crate) bytes: usize,
}

impl Room {
    /// Events fetched at once at most.
    pub(crate) const EVENTS_MAX: u32 = 512;

    /// Limited by its bytes.
    pub(crate) fn of(bytes: usize) -> Room {
        Room {
            events: Self::EVENTS_MAX,
            bytes,
        }
    }

    /// What holds as much as either.
    pub(crate) fn max(self, other: Room) -> Room {
        Room {
            events: self.events.max(other.events),
            bytes: self.bytes.max(other.bytes),
        }
    }

    pub(crate) fn is_filled(self, events: usize, bytes: usize) -> bool {
        events >= self.events as usize || bytes >= self.bytes.max(1)
    }
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

/// What led to a state is gone everywhere, the range between two cursors: it cannot be told, and none is made up.
pub(crate) fn erased(from: &str, to: &str, reason: GapReason) -> ProtocolError {
    let gap = json!({ "from": from, "to": to, "reason": reason.as_str() });
    let message = "events that led to this state are erased";
    ProtocolError::new(ErrorName::NotFound, message).with_details(json!({ "gap": gap }))
}

impl Gap {
    /// The same as the answer to who asks for a state.
    pub(crate) fn erased(self, framer: &Framer, spot: &Spot) -> ProtocolError {
        let cursor = |next| framer.cursor(&spot.channel, &spot.place, next);
        erased(&cursor(self.from), &cursor(self.to), self.reason)
    }
}

/// The log, or what stands before it, is away for now.
pub(crate) fn away() -> ProtocolError {
    ProtocolError::unavailable("the log cannot be read just now", 1_000)
}
