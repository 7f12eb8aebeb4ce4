//! Everything there is, with what is needed to find something in it.

use std::collections::{HashMap, HashSet};
use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::log::{Channel, Event, Log, Place};
use super::tables::Tables;
use crate::evidence::{Cursor, Evidence, Name, Outbox, Publish, Told};

/// The evidence, the log and the tables of one run.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) log: &'a Log,
    pub(super) tables: &'a Tables,
    /// By hash of an identity: the offset of the first event that has it.
    counted: HashMap<u64, i64>,
    /// Hashes of identity and payload of everything that was sent.
    sent: HashSet<u64>,
    /// What was known to be in the log, and when.
    known: HashMap<Name, Known>,
    /// What a channel is that has no events.
    empty: Channel,
}

/// What publishers knew of a channel.
#[derive(Debug, Default)]
struct Known {
    /// By the time of the answer: the largest offset acknowledged by then.
    by_answer: Vec<(u32, i64)>,
    /// By the time of sending: the smallest offset sent then or later.
    by_sending: Vec<(u32, i64)>,
}

impl<'a> Case<'a> {
    pub(super) fn new(evidence: &'a Evidence, log: &'a Log, tables: &'a Tables) -> Case<'a> {
        let mut counted = HashMap::new();
        for (name, channel) in &log.channels {
            for event in &channel.events {
                counted
                    .entry(identity_of(*name, event))
                    .or_insert(event.offset);
            }
        }
        let mut sent = HashSet::new();
        let mut known: HashMap<Name, Known> = HashMap::new();
        let mut tried = HashSet::new();
        for publish in evidence.books.iter().flat_map(|book| &book.publishes) {
            let identity = identity(publish);
            sent.insert(with_payload(identity, publish.event, publish.data));
            let named = publish.id.is_some() || publish.outbox.is_some();
            // What a retry is told may lie in the log since an earlier attempt.
            let again = named && !tried.insert(identity);
            if let Some(offset) = told_offset(publish) {
                let known = known.entry(publish.channel).or_default();
                known.by_answer.push((publish.told_at, offset));
                if !again {
                    known.by_sending.push((publish.at, offset));
                }
            }
        }
        for known in known.values_mut() {
            known.order();
        }
        Case {
            evidence,
            log,
            tables,
            counted,
            sent,
            known,
            empty: Channel::default(),
        }
    }

    /// The events of a channel, which may be none.
    pub(super) fn events(&self, name: Name) -> &Channel {
        self.log.channels.get(&name).unwrap_or(&self.empty)
    }

    pub(super) fn channel(&self, name: Name) -> Option<&'a Channel> {
        self.log.channels.get(&name)
    }

    pub(super) fn text(&self, name: Name) -> std::sync::Arc<str> {
        self.evidence.names.text(name)
    }

    /// The first offset at which a reader may start that asked for the head at this time.
    pub(super) fn floor(&self, channel: Name, asked_at: u32) -> i64 {
        self.known.get(&channel).map_or(0, |known| {
            let before = known
                .by_answer
                .partition_point(|(told, _)| *told < asked_at);
            known.by_answer[..before]
                .last()
                .map_or(0, |(_, offset)| offset + 1)
        })
    }

    /// The last offset at which it may start that was answered at this time.
    pub(super) fn ceiling(&self, channel: Name, told_at: u32) -> i64 {
        self.known.get(&channel).map_or(i64::MAX, |known| {
            let from = known
                .by_sending
                .partition_point(|(sent, _)| *sent <= told_at);
            known
                .by_sending
                .get(from)
                .map_or(i64::MAX, |(_, offset)| *offset)
        })
    }

    /// The offset of the event that has this publish's identity.
    pub(super) fn counted(&self, publish: &Publish) -> Option<i64> {
        self.counted.get(&identity(publish)).copied()
    }

    /// Whether somebody sent this event.
    pub(super) fn was_sent(&self, channel: Name, event: &Event) -> bool {
        let sent = |identity| {
            let with_payload = with_payload(identity, event.name, event.data);
            self.sent.contains(&with_payload)
        };
        // Somebody who gave it no id gets one from the gateway.
        sent(identity_of(channel, event))
            || (event.outbox.is_none() && sent(hash_of(&(channel, 0u8))))
    }

    /// The cursor that the tables give an event.
    pub(super) fn stored_cursor(&self, place: Place) -> Option<Cursor> {
        self.tables.rows.get(&place).and_then(|row| row.cursor)
    }

    /// Whether a place may have been gone from log and tables at this time.
    pub(super) fn may_be_gone(&self, partition: (u8, i32), at: u32, offset: i64) -> bool {
        let lost = || {
            let lost = self.tables.lost.get(&partition);
            lost.is_some_and(|lost| lost.iter().any(|(from, to)| (*from..*to).contains(&offset)))
        };
        self.log.tide.may_be_erased(partition, at, offset)
            && (lost() || !self.log.tide.was_stored(partition, at, offset))
    }

    /// Whether something was erased before it could be stored, from the event before this one to this one. Who had
    /// read it names what came before; everybody else, and the tables, cannot know of it.
    pub(super) fn prev_is_lost(&self, channel: &Channel, event: &Event) -> bool {
        let lost = self.tables.lost.get(&(channel.topic, channel.partition));
        let between = |prev: i64| {
            let mut lost = lost.into_iter().flatten();
            lost.any(|(from, to)| *from <= event.offset && prev < *to)
        };
        event.prev.is_some_and(between)
    }

    pub(super) fn place(&self, channel: &Channel, offset: i64) -> Place {
        (channel.topic, channel.partition, offset)
    }
}

impl Known {
    /// Running maximum by answer, running minimum from the end by sending.
    fn order(&mut self) {
        self.by_answer.sort_unstable();
        let mut most = i64::MIN;
        for (_, offset) in &mut self.by_answer {
            most = most.max(*offset);
            *offset = most;
        }
        self.by_sending.sort_unstable();
        let mut least = i64::MAX;
        for (_, offset) in self.by_sending.iter_mut().rev() {
            least = least.min(*offset);
            *offset = least;
        }
    }
}

/// The offset that the publisher was told of its own record.
fn told_offset(publish: &Publish) -> Option<i64> {
    match publish.told {
        Told::Acked {
            cursor: Some(cursor),
            duplicate: false,
        } => Some(cursor.next() - 1),
        Told::Stored { offset, .. } if !publish.poison => Some(offset),
        _ => None,
    }
}

fn identity(publish: &Publish) -> u64 {
    match (&publish.outbox, &publish.id) {
        (Some(outbox), _) => of_outbox(publish.channel, publish.user, outbox),
        (None, Some(id)) => hash_of(&(publish.channel, 1u8, id)),
        (None, None) => hash_of(&(publish.channel, 0u8)),
    }
}

fn identity_of(channel: Name, event: &Event) -> u64 {
    match &event.outbox {
        Some(outbox) => of_outbox(channel, event.user, outbox),
        None => hash_of(&(channel, 1u8, &event.id)),
    }
}

fn of_outbox(channel: Name, user: Option<Name>, outbox: &Outbox) -> u64 {
    hash_of(&(channel, 2u8, user, outbox))
}

fn with_payload(identity: u64, event: Name, data: u64) -> u64 {
    hash_of(&(identity, event, data))
}

fn hash_of(what: &impl std::hash::Hash) -> u64 {
    let mut hasher = SipHasher13::new();
    what.hash(&mut hasher);
    hasher.finish()
}
