//! One connection as its shard keeps it: who it is, what it subscribed to, what is queued for it.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use protocol::{Bucket, Identity};
use schemas::Channel;

use super::{out::Out, ws::Ws};
use crate::{
    event::Delivered,
    guard::Guard,
    pipe::{Form, Pipe},
    sub::{ConnKey, Sub},
};

/// A connection of a shard.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(super) serial: u64,
    pub(super) id: Box<str>,
    /// `None` until the first frame of a WebSocket brought a token.
    pub(super) who: Option<Arc<Identity>>,
    pub(super) wire: Wire,
    pub(super) subs: Vec<Sub>,
    pub(super) out: Out,
    /// Ephemeral events that wait while the socket is full, newest of each sender and name.
    pub(super) conflated: Vec<Conflated>,
    pub(super) opened: Instant,
    /// When the client was last heard of.
    pub(super) heard: Instant,
    /// When something was last written.
    pub(super) spoke: Instant,
    /// When a stream last had a heartbeat.
    pub(super) beat: Instant,
    /// Since when something is owed that the client does not read.
    pub(super) stuck_since: Option<Instant>,
    /// Which subscription may pull next.
    pub(super) turn: usize,
    /// Pulls under way.
    pub(super) pulling: u8,
    /// Requests worked on elsewhere.
    pub(super) waiting: u16,
    /// Subscriptions, also replaced ones, whose kept cursor is being looked up.
    pub(super) asking: u16,
    pub(super) methods: Option<Box<Bucket>>,
    pub(super) malformed: Option<Box<Bucket>>,
    pub(super) phase: Phase,
    /// The client has said goodbye too: the socket goes as soon as everything is written.
    pub(super) answered: bool,
    pub(super) told_expiring: bool,
    /// It waits in the shard's list of connections to flush.
    pub(super) dirty: bool,
    /// It is counted at the node's door until it is dropped.
    pub(super) _guard: Guard,
}

/// How far the connection's life has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// A close was said; the socket is dropped when the client answers, or then.
    Closing(Instant),
}

/// The transport.
#[derive(Debug)]
pub(super) enum Wire {
    Ws(Ws),
    Http { pipe: Arc<Pipe>, form: Form },
}

/// An ephemeral event that stands for itself and those it replaced.
#[derive(Debug)]
pub(super) struct Conflated {
    pub(super) channel: Channel,
    pub(super) event: Arc<Delivered>,
    pub(super) replaced: u64,
}

/// Ephemeral events kept for a connection whose socket is full; more senders than this lose their oldest.
const CONFLATED_MAX: usize = 256;

impl Conn {
    pub(super) fn key(&self, index: usize) -> ConnKey {
        ConnKey {
            index,
            serial: self.serial,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(super) fn sub(&mut self, serial: u64) -> Option<&mut Sub> {
        self.subs.iter_mut().find(|s| s.serial == serial)
    }

    pub(super) fn sub_of(&mut self, asked: &Channel) -> Option<&mut Sub> {
        self.subs.iter_mut().find(|s| s.asked == *asked)
    }

    pub(super) fn form(&self) -> Option<Form> {
        match &self.wire {
            Wire::Ws(_) => None,
            Wire::Http { form, .. } => Some(*form),
        }
    }

    /// From where each channel goes on for whoever reads what has been written so far, and then a close: the lowest, where
    /// several subscriptions read one channel.
    pub(super) fn places(&self) -> Vec<(Channel, i64)> {
        let place = |sub: &Sub| match self.out.unsent(sub.serial) {
            Some(owed) => owed.from,
            None => sub.opening.is_none().then_some(sub.next),
        };
        let subs = self.subs.iter();
        let mut places: Vec<_> = subs
            .filter_map(|sub| Some((sub.channel.clone(), place(sub)?)))
            .collect();
        places.sort();
        places.dedup_by(|next, kept| next.0 == kept.0);
        places
    }

    /// Keeps the newest ephemeral event of each sender and name, and all signalling.
    pub(super) fn conflate(&mut self, channel: &Channel, event: &Arc<Delivered>) {
        let same = |c: &Conflated| {
            schemas::newest_wins(&event.name)
                && c.channel == *channel
                && c.event.user == event.user
                && c.event.name == event.name
                && c.event.to == event.to
        };
        if let Some(kept) = self.conflated.iter_mut().find(|c| same(c)) {
            kept.event = Arc::clone(event);
            kept.replaced += 1;
            return;
        }
        if self.conflated.len() >= CONFLATED_MAX {
            self.conflated.remove(0);
        }
        self.conflated.push(Conflated {
            channel: channel.clone(),
            event: Arc::clone(event),
            replaced: 0,
        });
    }

    /// What was conflated, now that there is room.
    pub(super) fn unconflate(
        &mut self,
    ) -> impl Iterator<Item = (Arc<Delivered>, Option<Bytes>)> + use<> {
        std::mem::take(&mut self.conflated).into_iter().map(|c| {
            let line = (c.replaced > 0).then(|| c.event.replacing(c.replaced));
            (c.event, line)
        })
    }
}
