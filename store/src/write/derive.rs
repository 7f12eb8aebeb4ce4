//! What follows from a batch's events: where its channels and outboxes stand, and which days it touches.
//!
//! Derived here and not given by the caller, so that rows and checkpoints cannot disagree. Pure.

use std::collections::BTreeMap;

use crate::NewEvent;
use crate::days::storable;

#[derive(Debug, Default)]
pub(super) struct Derived<'a> {
    /// By channel.
    pub(super) channels: BTreeMap<&'a str, ChannelMove>,
    /// By channel, user and outbox.
    pub(super) producers: BTreeMap<(&'a str, Option<&'a str>, &'a str), OutboxMove>,
    /// By day.
    pub(super) days: BTreeMap<i64, DayMove>,
    /// Small numbers of the topics of the batch's kept cursors, in order; looked up by the writer.
    pub(super) delivery_topics: Vec<i16>,
}

/// Where an outbox has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutboxMove {
    pub(super) epoch: u64,
    pub(super) seq: u64,
    /// Of that record.
    pub(super) offset: i64,
}

/// What a batch adds to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChannelMove {
    pub(super) log_time_ms: i64,
    pub(super) step_back_ms: i64,
    /// `None`: the batch had only addressed events, the stored one stays.
    pub(super) last: Option<i64>,
    pub(super) newest: i64,
    pub(super) first_at_ms: i64,
    pub(super) events: i64,
}

/// What a batch adds to a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DayMove {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) events: i64,
}

impl<'a> Derived<'a> {
    /// `events` ascend by offset.
    pub(super) fn of(events: &'a [NewEvent]) -> Derived<'a> {
        let mut derived = Derived::default();
        for event in events {
            derived.add(event);
        }
        derived
    }

    fn add(&mut self, event: &'a NewEvent) {
        let at_ms = storable(event.at_ms);
        let channel = self
            .channels
            .entry(event.channel.as_str())
            .or_insert(ChannelMove {
                log_time_ms: event.log_time_ms,
                step_back_ms: 0,
                last: None,
                newest: event.offset,
                first_at_ms: at_ms,
                events: 0,
            });
        channel.log_time_ms = event.log_time_ms;
        channel.step_back_ms = channel
            .step_back_ms
            .max(event.log_time_ms.saturating_sub(at_ms));
        channel.newest = event.offset;
        channel.first_at_ms = channel.first_at_ms.min(at_ms);
        channel.events += 1;
        if event.to.is_none() {
            channel.last = Some(event.offset);
        }

        if let Some(outbox) = &event.outbox {
            let key = (
                event.channel.as_str(),
                event.user_id.as_deref(),
                outbox.producer.as_str(),
            );
            let moved = OutboxMove {
                epoch: outbox.epoch,
                seq: outbox.seq,
                offset: event.offset,
            };
            self.producers.insert(key, moved);
        }

        let day = self.days.entry(super::day(event)).or_insert(DayMove {
            first: event.offset,
            last: event.offset,
            events: 0,
        });
        day.first = day.first.min(event.offset);
        day.last = day.last.max(event.offset);
        day.events += 1;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use schemas::{Channel, Outbox};

    use super::*;
    use crate::DAY_MS;

    fn event(offset: i64, at_ms: i64, log_time_ms: i64, to: Option<Vec<String>>) -> NewEvent {
        NewEvent {
            offset,
            at_ms,
            log_time_ms,
            prev: None,
            channel: Channel::parse("session.1").unwrap(),
            name: "draw".into(),
            id: format!("e{offset}"),
            id_given: true,
            user_id: None,
            data: Bytes::from_static(b"null"),
            to,
            outbox: Some(Outbox {
                producer: "p".into(),
                epoch: 1,
                seq: offset.unsigned_abs(),
            }),
            cursor: format!("c{offset}"),
        }
    }

    #[test]
    fn a_clock_that_steps_back_over_midnight_widens_what_is_remembered() {
        let events = [
            event(5, DAY_MS + 10, DAY_MS + 10, None),
            event(6, DAY_MS - 90, DAY_MS + 10, Some(vec!["u".into()])),
        ];
        let derived = Derived::of(&events);
        assert_eq!(
            derived.channels["session.1"],
            ChannelMove {
                log_time_ms: DAY_MS + 10,
                step_back_ms: 100,
                last: Some(5),
                newest: 6,
                first_at_ms: DAY_MS - 90,
                events: 2,
            }
        );
        assert_eq!(derived.days.len(), 2);
        let moved = derived.producers[&("session.1", None, "p")];
        assert_eq!((moved.epoch, moved.seq), (1, 6));
    }
}
