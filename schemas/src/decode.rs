//! A record becomes an event, or a reason why not.

use std::sync::Arc;

use bytes::Bytes;

use crate::form::avro::{Avro, Framing};
use crate::form::{Parts, cloudevents, json};
use crate::headers::Headers;
use crate::{
    Channel, Event, Lane, Poison, PoisonReason, TO_MAX, Topics, Undecoded, partition_of, valid_user,
};

/// Most bytes of a record's value.
pub const VALUE_BYTES_MAX: usize = 65_536;
/// Most bytes of a record's key and headers (names and values) together.
pub const HEADERS_BYTES_MAX: usize = 65_536;

/// A record as it was read from the log.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// Headers in the order they were written.
    pub headers: &'a [(String, Bytes)],
    /// The value; `None` is a tombstone.
    pub value: Option<&'a Bytes>,
}

/// Decodes records of the five forms. Cheap to clone; clones share the schemas they learn.
#[derive(Debug, Clone)]
pub struct Decoder {
    topics: Topics,
    /// Of the topics whose number of partitions is known.
    partitions: Arc<[(String, u32)]>,
    avro: Avro,
}

impl Decoder {
    /// A decoder that knows the envelope schema and no other.
    pub fn new(topics: Topics) -> Decoder {
        Decoder {
            topics,
            partitions: Arc::default(),
            avro: Avro::new(),
        }
    }

    /// The same decoder, which knows how many partitions topics have: a record of one of them that
    /// does not lie where its key belongs is poison. Topics not named are not checked.
    #[must_use]
    pub fn with_partitions(self, counts: impl IntoIterator<Item = (String, u32)>) -> Decoder {
        Decoder {
            partitions: counts.into_iter().collect(),
            ..self
        }
    }

    /// The topics it decodes for.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Learns a schema of the registry. A schema that is not safe to read with (recursive, too
    /// large, not Avro) is refused, and remembered as refused: its records are poison from then on.
    pub fn add_schema(&self, id: u32, json: &str) -> Result<(), String> {
        self.avro.add(id, json)
    }

    /// Learns that the registry has no schema of this id: its records are poison.
    pub fn mark_absent(&self, id: u32) {
        self.avro.mark_absent(id);
    }

    /// Decodes one record. Never panics; see [`Undecoded`] for what the caller does.
    pub fn decode(&self, record: Incoming<'_>) -> Result<Event, Undecoded> {
        let key = record
            .key
            .ok_or_else(|| Poison::new(PoisonReason::NoKey, "no key"))?;
        let value = record
            .value
            .ok_or_else(|| Poison::new(PoisonReason::Tombstone, "no value"))?;
        check_size(key, record.headers, value)?;
        let headers = Headers::read(record.headers)?;
        let channel = self.channel(record.topic, key, headers.channel)?;
        self.check_place(record.topic, record.partition, key)?;
        let outbox = headers.outbox()?;

        let parts = self.parts(&headers, value)?;
        let lane = self.topics.lane(record.topic);
        check_meaning(&parts, record.topic, lane)?;
        let id_given = parts.id.is_some();
        Ok(Event {
            channel,
            name: parts.name,
            id: parts.id.unwrap_or_else(|| {
                format!("{}:{}:{}", record.topic, record.partition, record.offset)
            }),
            id_given,
            user_id: parts.user_id,
            data: parts.data,
            to: parts.to,
            lane,
            outbox,
            traceparent: headers.traceparent(),
        })
    }

    /// A channel's records have one order only where all of them lie in one partition.
    fn check_place(&self, topic: &str, partition: i32, key: &[u8]) -> Result<(), Poison> {
        let Some((_, count)) = self.partitions.iter().find(|(name, _)| name == topic) else {
            return Ok(());
        };
        let home = partition_of(key, *count);
        if partition == home {
            return Ok(());
        }
        let detail = format!(
            "the record lies in partition {partition}, its key belongs in {home} of {count}: the \
             producer's partitioner has to be murmur2_random"
        );
        Err(Poison::new(PoisonReason::WrongPartition, detail))
    }

    /// The forms in the order of protocol section 10.
    fn parts(&self, headers: &Headers<'_>, value: &Bytes) -> Result<Parts, Undecoded> {
        if headers.is_structured_cloudevent() {
            return Ok(cloudevents::structured(value)?);
        }
        if headers.ce_specversion.is_some() {
            return Ok(cloudevents::binary(headers, value)?);
        }
        match Framing::of(headers.value_schema_id, value)? {
            Some(framing) => self.avro.read(framing, value),
            None => Ok(json::read(value)?),
        }
    }

    /// The channel a record belongs to. Order holds only where one channel is one key of one topic.
    fn channel(&self, topic: &str, key: &[u8], named: Option<&Bytes>) -> Result<Channel, Poison> {
        let bad = |detail: String| Poison::new(PoisonReason::BadChannel, detail);
        let key = std::str::from_utf8(key).map_err(|_| bad("the key is not UTF-8".into()))?;
        let Some(named) = named else {
            return self
                .topics
                .default_channel(topic, key)
                .map_err(|e| bad(e.to_string()));
        };
        let channel = std::str::from_utf8(named)
            .ok()
            .and_then(|name| Channel::parse(name).ok())
            .ok_or_else(|| bad("rm-channel is not a channel".into()))?;
        if channel.id() != key {
            let detail = format!(
                "rm-channel is {channel}, the key has to be {}",
                channel.id()
            );
            return Err(Poison::new(PoisonReason::ChannelKeyMismatch, detail));
        }
        let home = self.topics.of(&channel, self.topics.lane(topic));
        if home != topic {
            let detail = format!("events of {channel} belong in {home}");
            return Err(Poison::new(PoisonReason::WrongTopic, detail));
        }
        Ok(channel)
    }
}

/// What ingest would refuse to write, nobody takes from the log either.
fn check_meaning(parts: &Parts, topic: &str, lane: Lane) -> Result<(), Poison> {
    let name = &parts.name;
    if name.is_servers() {
        let detail = format!("{name} is said by the server alone, no event may have that name");
        return Err(Poison::new(PoisonReason::BadEvent, detail));
    }
    let users = |to: &Vec<String>| {
        (1..=TO_MAX).contains(&to.len()) && to.iter().all(|user| valid_user(user))
    };
    for (holds, rule) in [
        (
            parts.user_id.as_deref().is_none_or(valid_user),
            "userId is not 1 to 256 bytes without control characters",
        ),
        (
            parts.to.as_ref().is_none_or(users),
            "to is not a list of 1 to 256 user ids",
        ),
    ] {
        if !holds {
            return Err(Poison::new(PoisonReason::BadEvent, rule));
        }
    }
    let contradiction = |detail| Err(Poison::new(PoisonReason::LaneContradiction, detail));
    if parts.lane.is_some_and(|claimed| claimed != lane) {
        return contradiction(format!("the record says another lane than {topic}"));
    }
    match name.only_lane() {
        Some(only) if only != lane => contradiction(format!(
            "{name} travels on the {} lane only, {topic} is the {} one",
            only.as_str(),
            lane.as_str()
        )),
        _ => Ok(()),
    }
}

fn check_size(key: &[u8], headers: &[(String, Bytes)], value: &Bytes) -> Result<(), Poison> {
    let around: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>()
        + key.len();
    if value.len() > VALUE_BYTES_MAX || around > HEADERS_BYTES_MAX {
        let detail = format!(
            "value of {} bytes, key and headers of {around}",
            value.len()
        );
        return Err(Poison::new(PoisonReason::TooLarge, detail));
    }
    Ok(())
}
