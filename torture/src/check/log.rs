//! The log of a run as the recorder saw it, reduced to what is compared.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use testbed::checker::{Acceptor, LogRecord, Taken, partition_of};

use super::tide::Tide;
use crate::evidence::{Name, Names, Outbox, frame_fact, hash};

/// Header by which a backend of the tool says that its record is one that nobody may take.
pub const POISON_HEADER: &str = "torture-poison";

/// A place in the log: number of the topic in [`Log::topics`], partition, offset.
pub(crate) type Place = (u8, i32, i64);

/// Everything that was ever in the durable topics.
#[derive(Debug, Default)]
pub struct Log {
    /// Names of the topics.
    pub topics: Vec<String>,
    /// How many partitions each has.
    pub partitions: Vec<i32>,
    /// What counts, by channel, in order.
    pub channels: BTreeMap<Name, Channel>,
    /// Records that count for nobody, and why.
    pub void: HashMap<Place, Void>,
    /// How far each partition was read: its end.
    pub ends: BTreeMap<(u8, i32), i64>,
    /// What retention took and the tables held, and when.
    pub tide: Tide,
    /// How many records there were.
    pub records: u64,
}

/// A record that is no event.
#[derive(Debug, Clone)]
pub struct Void {
    /// Why.
    pub why: Why,
    /// Its channel, when it has one.
    pub channel: Option<Name>,
    /// Its id, when it has one.
    pub id: Option<Box<str>>,
    /// Its outbox identity.
    pub outbox: Option<Outbox>,
    /// The log's time.
    pub at_ms: i64,
}

/// Why a record is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The acceptance rule: a duplicate, a number skipped, a stale epoch.
    Rule,
    /// It says that it is poison.
    Poison,
    /// Nobody can read it, and nobody said that it would be so.
    Unreadable,
    /// It does not lie in the partition of its key.
    Misplaced,
}

/// The events of one channel.
#[derive(Debug, Clone, Default)]
pub struct Channel {
    /// Its topic.
    pub topic: u8,
    /// Its partition.
    pub partition: i32,
    /// In order.
    pub events: Vec<Event>,
    /// The payloads, kept of jobs only.
    pub data: Vec<Box<str>>,
}

/// An event that counts.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its offset.
    pub offset: i64,
    /// The offset of the event before it that everybody may see.
    pub prev: Option<i64>,
    /// The hash of what it says.
    pub fact: u64,
    /// The hash of its payload.
    pub data: u64,
    /// Its id.
    pub id: Box<str>,
    /// Whether its publisher gave the id.
    pub id_given: bool,
    /// Its name.
    pub name: Name,
    /// Who published it.
    pub user: Option<Name>,
    /// To whom.
    pub to: Option<Box<[Name]>>,
    /// Its outbox identity.
    pub outbox: Option<Outbox>,
    /// The log's time.
    pub at_ms: i64,
}

impl Channel {
    /// Where in `events` the first one lies whose offset is at least this.
    pub fn index_from(&self, offset: i64) -> usize {
        self.events.partition_point(|event| event.offset < offset)
    }

    /// The event at an offset.
    pub fn at(&self, offset: i64) -> Option<&Event> {
        self.events
            .get(self.index_from(offset))
            .filter(|event| event.offset == offset)
    }
}

impl Event {
    /// Whether this user may see it.
    pub fn is_for(&self, user: Name) -> bool {
        self.to.as_ref().is_none_or(|to| to.contains(&user))
    }
}

/// Builds a [`Log`] record by record.
#[derive(Debug)]
pub(crate) struct LogBuilder {
    log: Log,
    rule: Acceptor,
    names: Arc<Names>,
}

impl LogBuilder {
    pub(crate) fn new(prefix: &str, topics: &[(String, i32)], names: Arc<Names>) -> LogBuilder {
        let log = Log {
            topics: topics.iter().map(|(topic, _)| topic.clone()).collect(),
            partitions: topics.iter().map(|(_, partitions)| *partitions).collect(),
            ..Log::default()
        };
        LogBuilder {
            log,
            rule: Acceptor::new(prefix),
            names,
        }
    }

    pub(crate) fn tide(&mut self) -> &mut Tide {
        &mut self.log.tide
    }

    pub(crate) fn topic(&self, name: &str) -> u8 {
        let at = self.log.topics.iter().position(|topic| topic == name);
        u8::try_from(at.expect("only these topics are read")).expect("a handful of topics")
    }

    /// The next record of its partition.
    pub(crate) fn take(&mut self, record: &LogRecord) {
        let topic = self.topic(&record.topic);
        let place = (topic, record.partition, record.offset);
        self.log.records += 1;
        self.log
            .ends
            .insert((topic, record.partition), record.offset + 1);
        if let Some(why) = self.unfit(topic, record) {
            self.void(place, record, why);
            return;
        }
        match self.rule.take(record) {
            Taken::Unreadable => self.void(place, record, Why::Unreadable),
            Taken::Void(said) => {
                let void = Void {
                    why: Why::Rule,
                    channel: Some(self.names.number(&said.channel)),
                    id: said.id.map(Into::into),
                    outbox: self.outbox(said.outbox),
                    at_ms: record.timestamp_ms,
                };
                self.log.void.insert(place, void);
            }
            Taken::Counts(accepted, said) => {
                let name = self.names.number(&said.channel);
                let fact = &accepted.fact;
                let event = Event {
                    offset: record.offset,
                    prev: accepted.prev_offset,
                    fact: frame_fact(
                        &fact.event,
                        &fact.id,
                        fact.user_id.as_deref(),
                        &fact.data,
                        fact.timestamp_ms,
                    ),
                    data: hash(fact.data.as_bytes()),
                    id: fact.id.as_str().into(),
                    id_given: said.id.is_some(),
                    name: self.names.number(&fact.event),
                    user: fact.user_id.as_deref().map(|user| self.names.number(user)),
                    to: accepted
                        .to
                        .as_ref()
                        .map(|to| to.iter().map(|user| self.names.number(user)).collect()),
                    outbox: self.outbox(said.outbox),
                    at_ms: fact.timestamp_ms,
                };
                let channel = self.log.channels.entry(name).or_default();
                channel.topic = topic;
                channel.partition = record.partition;
                channel.events.push(event);
                if said.channel.starts_with("jobs.") {
                    channel.data.push(fact.data.as_str().into());
                }
            }
        }
    }

    fn unfit(&self, topic: u8, record: &LogRecord) -> Option<Why> {
        if record.header(POISON_HEADER).is_some() {
            return Some(Why::Poison);
        }
        let partitions = self.log.partitions[usize::from(topic)];
        let own = partition_of(record.key.as_deref()?, partitions);
        (own != record.partition).then_some(Why::Misplaced)
    }

    fn void(&mut self, place: Place, record: &LogRecord, why: Why) {
        let void = Void {
            why,
            channel: record
                .header("rm-channel")
                .map(|channel| self.names.number(channel)),
            id: None,
            outbox: None,
            at_ms: record.timestamp_ms,
        };
        self.log.void.insert(place, void);
    }

    fn outbox(&self, said: Option<(String, u64, u64)>) -> Option<Outbox> {
        said.map(|(producer, epoch, seq)| Outbox {
            producer: self.names.number(&producer),
            epoch,
            seq,
        })
    }

    /// The log, whose partitions end where `ends` says.
    pub(crate) fn finish(mut self, ends: BTreeMap<(u8, i32), i64>) -> Log {
        self.log.ends = ends;
        self.log
    }
}
