//! A publish between the door and its answer: the letter a lane takes, and the load a job carries.

use broker::Append;
use schemas::Channel;
use tokio::time::Instant;

use super::job::{Claim, Job};
use super::queue::{Hold, millis};
use crate::Reply;

/// An admitted publish on its way to the log.
pub(crate) struct Letter {
    pub(crate) channel: Channel,
    pub(crate) id: String,
    pub(crate) claim: Option<Claim>,
    pub(crate) record: Append,
    pub(crate) bytes: usize,
    pub(crate) arrived: Instant,
    pub(crate) reply: Reply,
    /// Its part of the queue's room; given by the lane.
    pub(crate) hold: Option<Hold>,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letter")
            .field("channel", &self.channel)
            .field("id", &self.id)
            .field("claim", &self.claim)
            .finish_non_exhaustive()
    }
}

impl Letter {
    /// The letter as a job whose clock began at `started` and which has until `deadline`.
    pub(super) fn into_job(self, started: Instant, deadline: Instant) -> Job<Load> {
        Job {
            channel: self.channel,
            id: self.id,
            claim: self.claim,
            deadline_ms: millis(deadline.saturating_duration_since(started)),
            refreshed: false,
            load: Load {
                record: self.record,
                tried: false,
                arrived: self.arrived,
                reply: ReplyBox(self.reply),
                _hold: self.hold,
            },
        }
    }
}

/// What a job carries through the ledger.
#[derive(Debug)]
pub(super) struct Load {
    /// Kept until the answer: it may have to be appended again.
    pub(super) record: Append,
    /// It was handed to the log.
    pub(super) tried: bool,
    pub(super) arrived: Instant,
    pub(super) reply: ReplyBox,
    /// Held until the publish is answered.
    _hold: Option<Hold>,
}

pub(super) struct ReplyBox(pub(super) Reply);

impl std::fmt::Debug for ReplyBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}
