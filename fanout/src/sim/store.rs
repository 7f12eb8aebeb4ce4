//! The store of a simulated partition: rows, the offset up to which they are complete, and the rule's state there.

use std::collections::{BTreeMap, HashMap};

use schemas::Channel;
use state::{Acceptance, ChannelState, IdState, Judged, ProducerState};
use store::EventRow;

use super::log::Log;
use crate::plan::Stored;

#[derive(Default)]
pub(super) struct Store {
    pub(super) next: i64,
    pub(super) floor: i64,
    rows: BTreeMap<i64, EventRow>,
    states: HashMap<Channel, Known>,
}

/// What the tables say of a channel: not the rule's memory, but what it is made of again.
#[derive(Default)]
struct Known {
    judging: ChannelState,
    producers: HashMap<(Option<String>, String), (u64, u64)>,
    ids: Vec<IdState>,
}

impl Store {
    /// Deals with the next records, at most so many.
    pub(super) fn persist(&mut self, log: &Log, most: usize) {
        for record in log.records[log.index(self.next)..].iter().take(most) {
            self.next = record.offset + 1;
            let event = &record.event;
            let known = self.states.entry(event.channel.clone()).or_default();
            let judged = known.judging.judge(event, record.offset, record.at_ms);
            let Judged::Accepted { prev, log_time_ms } = judged else {
                continue;
            };
            if let Some(outbox) = &event.outbox {
                let key = (event.user_id.clone(), outbox.producer.clone());
                known.producers.insert(key, (outbox.epoch, outbox.seq));
            }
            if event.id_given {
                let id = event.id.clone();
                known.ids.push(IdState { id, log_time_ms });
            }
            let row = EventRow {
                offset: record.offset,
                at_ms: record.at_ms,
                channel: event.channel.clone(),
                name: event.name.as_str().to_owned(),
                id: event.id.clone(),
                user_id: event.user_id.clone(),
                data: event.data.clone(),
                to: event.to.clone(),
                prev,
            };
            self.rows.insert(record.offset, row);
        }
        if log.index(self.next) == log.records.len() {
            self.next = log.end;
        }
    }

    /// Retention drops the oldest rows.
    pub(super) fn forget(&mut self, below: i64) {
        self.floor = self.floor.max(below.min(self.next));
        self.rows = self.rows.split_off(&self.floor);
    }

    pub(super) fn stored(&self) -> Stored {
        Stored {
            floor: self.floor,
            next: self.next,
            lost: Vec::new(),
        }
    }

    pub(super) fn rows<'a>(
        &'a self,
        channel: &'a Channel,
        (from, to): (i64, i64),
    ) -> impl DoubleEndedIterator<Item = &'a EventRow> {
        let rows = self.rows.range(from.min(to)..to).map(|(_, row)| row);
        rows.filter(move |row| row.channel == *channel)
    }

    /// The rule's state as of `next`, made of what the tables say, as every reader makes it.
    pub(super) fn checkpoint(&self, channel: &Channel) -> ChannelState {
        let Some(known) = self.states.get(channel) else {
            return ChannelState::new();
        };
        let producers = known
            .producers
            .iter()
            .map(|(key, (epoch, seq))| ProducerState {
                user: key.0.clone(),
                producer: key.1.clone(),
                epoch: *epoch,
                seq: *seq,
            });
        let time = known.judging.acceptance.log_time_ms();
        let ids = known.ids.iter().cloned();
        ChannelState {
            acceptance: Acceptance::restore(producers, ids, time),
            last: known.judging.last,
        }
    }
}
