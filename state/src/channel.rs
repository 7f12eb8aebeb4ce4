//! The chain of a channel's accepted events: each names the one before it.

use schemas::Event;

use crate::{Acceptance, Void};

/// What a channel's durable records add up to.
#[derive(Debug, Clone, Default)]
pub struct ChannelState {
    /// Which records count.
    pub acceptance: Acceptance,
    /// Offset of the last accepted event that every reader of the channel may see.
    pub last: Option<i64>,
}

/// The verdict on one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It is an event of the channel.
    Accepted {
        /// Offset of the event before it that everybody may see; `None` for the first.
        prev: Option<i64>,
        /// The channel's log time with it.
        log_time_ms: i64,
    },
    /// It counts for nobody.
    Void(Void),
}

impl ChannelState {
    /// The state before the first record.
    pub fn new() -> ChannelState {
        ChannelState::default()
    }

    /// Judges the channel's next durable record and moves on. Offsets must rise.
    pub fn judge(&mut self, event: &Event, offset: i64, at_ms: i64) -> Judged {
        let _ = (event, offset, at_ms);
        todo!()
    }
}
