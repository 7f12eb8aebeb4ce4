//! A hot channel: the acceptance rule's state, the ring, and who listens.

use std::sync::Arc;

use protocol::{ErrorName, ProtocolError};
use schemas::{Channel, Event};
use tokio::time::Instant;

use crate::{
    event::{Delivered, Framer},
    place::Place,
    pull::Pull,
    tier::{Scanned, Warm},
};

/// Bytes of records kept for a channel that is still being warmed; over it the warming goes on from what it came to.
const BUFFER_BYTES_MAX: usize = 4 << 20;

/// A channel that somebody asked for.
#[derive(Debug)]
pub(crate) enum Slot {
    /// Its state is being made; records from `live_from` on wait here, and so do the pulls.
    Warming(Warming),
    Hot(Box<Hot>),
}

#[derive(Debug)]
pub(crate) struct Warming {
    pub(crate) live_from: i64,
    pub(crate) buffered: Vec<Scanned>,
    pub(crate) bytes: usize,
    /// The buffer overflowed: what comes of this warming is where the next one goes on.
    pub(crate) stale: bool,
    pub(crate) pulls: Vec<Pull>,
    /// What an earlier warming came to, before its buffer overflowed.
    pub(crate) begun: Option<Box<Warm>>,
}

impl Warming {
    pub(crate) fn new(live_from: i64) -> Self {
        Self {
            live_from,
            buffered: Vec::new(),
            bytes: 0,
            stale: false,
            pulls: Vec::new(),
            begun: None,
        }
    }

    pub(crate) fn buffer(&mut self, event: Event, offset: i64, at_ms: i64) {
        self.bytes += event.data.len() + 256;
        if self.bytes > BUFFER_BYTES_MAX {
            self.stale = true;
            self.buffered.clear();
            return;
        }
        self.buffered.push(Scanned {
            event,
            offset,
            at_ms,
        });
    }
}

#[derive(Debug)]
pub(crate) struct Hot {
    pub(crate) warm: Warm,
    /// Attached subscriptions, by shard.
    pub(crate) listeners: Vec<u32>,
    /// Long polls that wait for the next event.
    pub(crate) parked: Vec<Pull>,
    pub(crate) used: Instant,
}

impl Hot {
    pub(crate) fn new(warm: Warm, shards: usize, now: Instant) -> Self {
        Self {
            warm,
            listeners: vec![0; shards],
            parked: Vec::new(),
            used: now,
        }
    }

    /// A record of the channel came by: the event to broadcast, if there is one. Records that the state already
    /// covers (a checkpoint can be ahead of this reader) are taken from the ring.
    pub(crate) fn take(&mut self, framer: &Framer, place: &Place, record: &Scanned) -> Taken {
        if record.offset < self.warm.next {
            let known = self.warm.ring.at(record.offset).map(Arc::clone);
            return Taken {
                event: known,
                new: false,
            };
        }
        let event = self.warm.advance(framer, place, record);
        Taken { event, new: true }
    }

    /// Bytes of its ring and its state, about.
    pub(crate) fn weight(&self) -> usize {
        let ring: usize = self.warm.ring.iter().map(|e| e.weight()).sum();
        ring + self.warm.folded.weight()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.parked.iter().all(|p| p.reply.is_gone()) && !self.is_heard()
    }

    pub(crate) fn is_heard(&self) -> bool {
        self.listeners.iter().any(|&n| n > 0)
    }
}

/// A job is read by its owner or with `job.read`; one that nobody has heard of is nobody's (protocol section 2).
pub(super) fn may_read_job(pull: &Pull, hot: &Hot) -> Result<(), ProtocolError> {
    if pull.channel.namespace() != "jobs" {
        return Ok(());
    }
    match &pull.owner {
        Some(user) if hot.warm.folded.job_owner() == Some(user) => Ok(()),
        Some(_) => Err(ProtocolError::new(
            ErrorName::PermissionDenied,
            "no right to this job",
        )),
        None if hot.warm.state.last.is_none() && hot.warm.ring.len() == 0 => {
            Err(ProtocolError::new(ErrorName::NotFound, "no such job"))
        }
        None => Ok(()),
    }
}

/// What a record came to.
pub(crate) struct Taken {
    pub(crate) event: Option<Arc<Delivered>>,
    /// It was pushed to the ring just now.
    pub(crate) new: bool,
}

/// An entry of the node-wide order in which rings grew, oldest first: what to forget when memory runs short.
#[derive(Debug)]
pub(crate) struct Aged {
    pub(crate) place: usize,
    pub(crate) channel: Channel,
    pub(crate) offset: i64,
    pub(crate) at: Instant,
}
