//! The log of a simulated partition, and the naive rule that says what counts in it.

use std::sync::Arc;

use bytes::Bytes;
use schemas::{Channel, Event, EventName, Lane, Outbox};
use state::HORIZON_MS;

use crate::{
    event::{Delivered, Framer},
    place::Place,
    tier::Scanned,
};

pub(super) const CHANNELS: [&str; 3] = ["session.a", "session.b", "docs.a"];

/// One record; `counts` is the model's word on it.
pub(super) struct Record {
    pub(super) event: Event,
    pub(super) offset: i64,
    pub(super) at_ms: i64,
    /// The frame that every reader must get, when it counts.
    pub(super) counts: Option<Arc<Delivered>>,
}

impl Record {
    pub(super) fn scanned(&self) -> Scanned {
        Scanned {
            event: self.event.clone(),
            offset: self.offset,
            at_ms: self.at_ms,
        }
    }
}

/// What a random number makes of the next record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draft(pub(super) u64);

#[derive(Default)]
pub(super) struct Log {
    pub(super) records: Vec<Record>,
    pub(super) low: i64,
    pub(super) end: i64,
    now_ms: i64,
    pub(super) void: usize,
}

impl Log {
    pub(super) fn append(&mut self, draft: Draft, framer: &Framer, place: &Place) {
        let mut bits = draft.0;
        let mut pick = |bound: u64| {
            let picked = bits % bound;
            bits /= bound;
            picked
        };
        // Offsets that only the log uses, as those of transactions.
        self.end += i64::from(pick(8) == 0);
        self.now_ms += match pick(64) {
            0 => HORIZON_MS / 2,
            1 => -50,
            _ => 10,
        };
        let channel = Channel::parse(CHANNELS[pick(CHANNELS.len() as u64) as usize]).unwrap();
        let name = ["draw", "erase", "chat.message"][pick(3) as usize];
        let mut event = Event {
            channel,
            name: EventName::parse(name).unwrap(),
            id: format!("p{}", self.end),
            id_given: false,
            user_id: (pick(2) == 0).then(|| format!("u{}", pick(2))),
            data: Bytes::from(format!("{{\"n\":{}}}", self.end)),
            to: (pick(8) == 0).then(|| vec![format!("u{}", pick(3))]),
            lane: Lane::Durable,
            outbox: None,
            traceparent: None,
        };
        match pick(3) {
            // Ids of which some come again.
            0 => {
                event.id = format!("id-{}", pick(40));
                event.id_given = true;
            }
            // Outboxes that go on, skip, repeat, and are taken over.
            1 => {
                let producer = format!("p{}", pick(2));
                let known = self.outbox(&event, &producer);
                let (epoch, next) = known.map_or((0, 0), |(epoch, seq)| (epoch, seq + 1));
                let (epoch, seq) = match pick(8) {
                    0 => (epoch + 1, 0),
                    1 => (epoch.saturating_sub(1), 0),
                    2 => (epoch, next + 1),
                    3 => (epoch, next.saturating_sub(1)),
                    _ => (epoch, next),
                };
                event.outbox = Some(Outbox {
                    producer,
                    epoch,
                    seq,
                });
            }
            _ => {}
        }
        let accepted = self.accepts(&event);
        let offset = self.end;
        let prev = self.prev(&event.channel);
        let counts = accepted.then(|| framer.accepted(place, &event, offset, self.now_ms, prev));
        self.void += usize::from(!accepted);
        self.records.push(Record {
            event,
            offset,
            at_ms: self.now_ms,
            counts,
        });
        self.end += 1;
    }

    fn counted<'a>(&'a self, channel: &'a Channel) -> impl DoubleEndedIterator<Item = &'a Record> {
        let counted = self.records.iter().filter(|record| record.counts.is_some());
        counted.filter(move |record| record.event.channel == *channel)
    }

    fn prev(&self, channel: &Channel) -> Option<i64> {
        let seen = self
            .counted(channel)
            .rev()
            .find(|record| record.event.to.is_none());
        seen.map(|record| record.offset)
    }

    /// Epoch and number of the outbox' last record that counts.
    fn outbox(&self, event: &Event, producer: &str) -> Option<(u64, u64)> {
        self.counted(&event.channel).rev().find_map(|record| {
            let outbox = record.event.outbox.as_ref()?;
            let same = outbox.producer == producer && record.event.user_id == event.user_id;
            same.then_some((outbox.epoch, outbox.seq))
        })
    }

    /// The rule as the protocol has it, with no memory but the log itself.
    fn accepts(&self, event: &Event) -> bool {
        if let Some(outbox) = &event.outbox {
            return match self.outbox(event, &outbox.producer) {
                Some((epoch, _)) if outbox.epoch < epoch => false,
                Some((epoch, last)) if outbox.epoch == epoch => outbox.seq == last + 1,
                _ => outbox.seq == 0,
            };
        }
        if !event.id_given {
            return true;
        }
        // The channel's time never steps back; an id is known by the latest record that counts.
        let mut times = Vec::new();
        let mut greatest = 0;
        for record in self.counted(&event.channel) {
            greatest = greatest.max(record.at_ms);
            if record.event.id_given && record.event.id == event.id {
                times.push(greatest);
            }
        }
        let now = greatest.max(self.now_ms);
        times.last().is_none_or(|at| now - at >= HORIZON_MS)
    }

    /// The first record at `offset` or later.
    pub(super) fn index(&self, offset: i64) -> usize {
        self.records
            .partition_point(|record| record.offset < offset)
    }

    /// The frames of a channel at `from` and later, below `to`.
    pub(super) fn frames<'a>(
        &'a self,
        channel: &'a Channel,
        (from, to): (i64, i64),
    ) -> impl Iterator<Item = &'a Arc<Delivered>> {
        self.records[self.index(from)..]
            .iter()
            .take_while(move |record| record.offset < to)
            .filter(move |record| record.event.channel == *channel)
            .filter_map(|record| record.counts.as_ref())
    }
}
