//! One partition as this node reads it: how far, for which channels, and who waits for it to get further.

use std::collections::HashMap;

use schemas::Channel;
use tokio::time::Instant;

use super::{fresh::Freshness, hot::Slot};
use crate::{place::Place, pull::Pull};

/// A durable partition with interest, or the ephemeral one beside it.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) place: Place,
    pub(crate) phase: Phase,
    /// Every record below was handled.
    pub(crate) read_to: i64,
    /// The log was once found to end here, before what had been read or stored of it.
    pub(crate) cut: Option<i64>,
    pub(crate) slots: HashMap<Channel, Slot>,
    /// How many slots want a record key.
    keys: HashMap<Box<[u8]>, u32>,
    pub(crate) barrier: Barrier,
    pub(crate) freshness: Freshness,
    /// Channels whose warming has not begun.
    pub(crate) cold: Vec<Channel>,
    pub(crate) warming: bool,
    pub(crate) used: Instant,
    /// The feed of the ephemeral partition beside it, once there is one.
    pub(crate) signals: Option<usize>,
}

/// Whether records come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Nobody needs it.
    Closed,
    /// The end of the partition is being asked for; pulls wait.
    Opening,
    Reading,
    /// Reading failed; it is tried again at `read_to` at this time.
    Broken {
        retry: Instant,
    },
}

/// Pulls that wait for this node to have read what the log held when they were asked.
#[derive(Debug)]
pub(crate) struct Barrier {
    /// Not asked for yet: they came while a question was under way.
    pub(crate) unasked: Vec<Pull>,
    /// The question under way answers these.
    pub(crate) asked: Vec<Pull>,
    pub(crate) in_flight: bool,
    /// When that question was asked.
    pub(crate) asked_at: Instant,
    /// Answered: they go on when the feed has read to the offset.
    pub(crate) waiting: Vec<(i64, Pull)>,
}

impl Barrier {
    fn new(now: Instant) -> Self {
        Self {
            unasked: Vec::new(),
            asked: Vec::new(),
            in_flight: false,
            asked_at: now,
            waiting: Vec::new(),
        }
    }
}

impl Feed {
    pub(crate) fn new(place: Place, now: Instant) -> Self {
        Self {
            place,
            phase: Phase::Closed,
            read_to: 0,
            cut: None,
            slots: HashMap::new(),
            keys: HashMap::new(),
            barrier: Barrier::new(now),
            freshness: Freshness::new(now),
            cold: Vec::new(),
            warming: false,
            used: now,
            signals: None,
        }
    }

    /// Whether it has a channel, or somebody waits for it.
    pub(crate) fn is_needed(&self) -> bool {
        !self.slots.is_empty() || self.barrier.in_flight || !self.barrier.waiting.is_empty()
    }

    /// Whether a subscription is attached to one of its channels.
    pub(crate) fn is_heard(&self) -> bool {
        self.slots
            .values()
            .any(|slot| matches!(slot, Slot::Hot(hot) if hot.is_heard()))
    }

    /// The log was found to end at `at`, if anywhere, before what was known of it.
    pub(crate) fn was_cut(&mut self, at: Option<i64>) {
        self.cut = match (self.cut, at) {
            (Some(known), Some(at)) => Some(known.min(at)),
            (known, at) => known.or(at),
        };
    }

    /// Reading begins, or begins again, once the partition's end is known.
    pub(crate) fn begins(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Broken { .. })
    }

    pub(crate) fn wants(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    pub(crate) fn insert(&mut self, channel: Channel, slot: Slot) {
        let key: Box<[u8]> = channel.id().as_bytes().into();
        if self.slots.insert(channel, slot).is_none() {
            *self.keys.entry(key).or_insert(0) += 1;
        }
    }

    pub(crate) fn remove(&mut self, channel: &Channel) -> Option<Slot> {
        let slot = self.slots.remove(channel)?;
        let key = channel.id().as_bytes();
        if let Some(count) = self.keys.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(key);
            }
        }
        Some(slot)
    }

    /// The pulls that the feed has now read far enough for.
    pub(crate) fn released(&mut self) -> Vec<Pull> {
        if self.barrier.waiting.is_empty() {
            return Vec::new();
        }
        let read_to = self.read_to;
        let mut ready = Vec::new();
        let mut left = Vec::new();
        for (target, pull) in self.barrier.waiting.drain(..) {
            if target <= read_to {
                ready.push(pull);
            } else {
                left.push((target, pull));
            }
        }
        self.barrier.waiting = left;
        ready
    }
}
