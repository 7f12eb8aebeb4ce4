//! The golden vectors of `schemas/golden/`, which clients in other languages read too.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::json::{self, Rules};
use crate::*;

#[derive(Deserialize)]
struct Vectors<T> {
    vectors: Vec<T>,
}

fn read<T: DeserializeOwned>(text: &str) -> Vec<T> {
    let Vectors { vectors } = serde_json::from_str(text).unwrap();
    assert!(vectors.len() > 10);
    vectors
}

/// Bytes as the files spell them.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Spelled {
    Text(String),
    Hex { hex: String },
    Repeat { repeat: Vec<(String, usize)> },
}

impl Spelled {
    fn bytes(&self) -> Bytes {
        match self {
            Spelled::Text(text) => text.clone().into(),
            Spelled::Hex { hex } => {
                let digits: Vec<u32> = hex.chars().map(|c| c.to_digit(16).unwrap()).collect();
                digits
                    .chunks_exact(2)
                    .map(|pair| (pair[0] * 16 + pair[1]) as u8)
                    .collect()
            }
            Spelled::Repeat { repeat } => repeat
                .iter()
                .map(|(text, times)| text.repeat(*times))
                .collect::<String>()
                .into(),
        }
    }
}

/// A record and what the registry knows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    topic: String,
    #[serde(default)]
    partition: i32,
    #[serde(default)]
    offset: i64,
    key: Option<Spelled>,
    headers: Vec<(String, Spelled)>,
    value: Option<Spelled>,
    #[serde(default)]
    schemas: BTreeMap<u32, String>,
    #[serde(default)]
    partitions: BTreeMap<String, u32>,
    #[serde(default)]
    absent: Vec<u32>,
    event: Option<Expected>,
    reason: Option<String>,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
struct Expected {
    channel: Channel,
    event: EventName,
    id: String,
    id_given: bool,
    user_id: Option<String>,
    data: String,
    to: Option<Vec<String>>,
    lane: Lane,
    outbox: Option<Numbered>,
    traceparent: Option<String>,
}

#[derive(Deserialize, PartialEq, Debug)]
struct Numbered {
    producer: String,
    epoch: u64,
    seq: u64,
}

impl From<Event> for Expected {
    fn from(event: Event) -> Expected {
        Expected {
            channel: event.channel,
            event: event.name,
            id: event.id,
            id_given: event.id_given,
            user_id: event.user_id,
            data: String::from_utf8(event.data.to_vec()).unwrap(),
            to: event.to,
            lane: event.lane,
            outbox: event.outbox.map(|o| Numbered {
                producer: o.producer,
                epoch: o.epoch,
                seq: o.seq,
            }),
            traceparent: event.traceparent,
        }
    }
}

impl Case {
    /// Decodes as a service does: a schema not known is asked for, then the record again.
    fn decode(&self) -> Result<Event, Poison> {
        let decoder = Decoder::new(Topics::default()).with_partitions(self.partitions.clone());
        let key = self.key.as_ref().map(Spelled::bytes);
        let value = self.value.as_ref().map(Spelled::bytes);
        let headers: Vec<(String, Bytes)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.bytes()))
            .collect();
        for _ in 0..2 {
            let incoming = Incoming {
                topic: &self.topic,
                partition: self.partition,
                offset: self.offset,
                key: key.as_deref(),
                headers: &headers,
                value: value.as_ref(),
            };
            match decoder.decode(incoming) {
                Ok(event) => return Ok(event),
                Err(Undecoded::Poison(poison)) => return Err(poison),
                Err(Undecoded::UnknownSchema(id)) => match self.schemas.get(&id) {
                    Some(schema) => {
                        let refused = decoder.add_schema(id, schema).is_err();
                        let expected = self.reason.as_deref() == Some("refused_schema");
                        assert_eq!(refused, expected, "{}", self.name);
                    }
                    None => {
                        assert!(self.absent.contains(&id), "{}: asks for {id}", self.name);
                        decoder.mark_absent(id);
                    }
                },
            }
        }
        panic!("{}: asks for the same schema again", self.name);
    }
}

#[test]
fn records_of_all_forms_are_the_events_they_should_be() {
    for case in read::<Case>(include_str!("../golden/records.json")) {
        let event = case
            .decode()
            .unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!(Some(Expected::from(event)), case.event, "{}", case.name);
    }
}

#[test]
fn poison_has_the_reason_it_should_have() {
    for case in read::<Case>(include_str!("../golden/poison.json")) {
        match case.decode() {
            Ok(event) => panic!("{}: decodes to {event:?}", case.name),
            Err(poison) => {
                let reason = poison.reason.as_str();
                assert_eq!(
                    Some(reason),
                    case.reason.as_deref(),
                    "{}: {poison}",
                    case.name
                );
                assert!(poison.detail.len() < 500, "{}: {poison}", case.name);
                // What lies in quarantine is read by analysts, not by those who built this.
                let internal = ["::", "apache_avro", "serde", "Schema", "{ "];
                assert!(
                    !internal.iter().any(|word| poison.detail.contains(word)),
                    "{}: {poison}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn every_reason_has_a_vector() {
    let cases = read::<Case>(include_str!("../golden/poison.json"));
    for reason in PoisonReason::ALL {
        let text = reason.as_str();
        assert!(
            cases
                .iter()
                .any(|case| case.reason.as_deref() == Some(text)),
            "{text}"
        );
    }
}

#[derive(Deserialize)]
struct JsonText {
    what: String,
    text: Option<String>,
    hex: Option<String>,
    compact: Option<String>,
    fault: Option<String>,
    offset: Option<usize>,
}

#[test]
fn json_texts_are_judged_as_they_should_be() {
    for case in read::<JsonText>(include_str!("../golden/json.json")) {
        let text = match (&case.text, &case.hex) {
            (Some(text), None) => Bytes::from(text.clone()),
            (None, Some(hex)) => Spelled::Hex { hex: hex.clone() }.bytes(),
            _ => panic!("a vector has text or hex"),
        };
        let shown = String::from_utf8_lossy(&text);
        let result = match case.what.as_str() {
            "data" => {
                let compact = json::compact(&text, Rules::DATA);
                assert_eq!(
                    json::check(&text, Rules::DATA).err(),
                    compact.as_ref().err().copied()
                );
                compact.map(|bytes| String::from_utf8(bytes).unwrap())
            }
            "envelope" => {
                json::read_envelope(&text, |_, _, _| ()).map(|_| shown.clone().into_owned())
            }
            other => panic!("no such thing: {other}"),
        };
        match result {
            Ok(compact) => assert_eq!(Some(compact), case.compact, "{shown}"),
            Err(fault) => {
                let is = (Some(fault.fault.as_str()), Some(fault.offset));
                assert_eq!(is, (case.fault.as_deref(), case.offset), "{shown}");
            }
        }
    }
}

#[derive(Deserialize)]
struct Key {
    key: String,
    partitions: BTreeMap<u32, i32>,
}

#[test]
fn keys_belong_to_the_partitions_java_gives_them() {
    for case in read::<Key>(include_str!("../golden/partitions.json")) {
        for (partitions, partition) in case.partitions {
            assert_eq!(
                partition_of(case.key.as_bytes(), partitions),
                partition,
                "{}",
                case.key
            );
        }
    }
}

#[derive(Deserialize)]
struct Name {
    kind: String,
    text: String,
    namespace: Option<String>,
    id: Option<String>,
    name: Option<String>,
    valid: Option<bool>,
}

#[test]
fn names_read_as_they_should() {
    for case in read::<Name>(include_str!("../golden/names.json")) {
        let text = case.text.as_str();
        match case.kind.as_str() {
            "channel" => {
                let channel = Channel::parse(text).ok();
                let namespace = channel.as_ref().map(Channel::namespace);
                assert_eq!(namespace, case.namespace.as_deref(), "{text}");
                assert_eq!(
                    channel.as_ref().map(Channel::id),
                    case.id.as_deref(),
                    "{text}"
                );
                if let (Some(namespace), Some(id)) = (&case.namespace, &case.id) {
                    assert_eq!(Channel::of(namespace, id).ok(), channel, "{text}");
                }
                let quoted = serde_json::to_string(text).unwrap();
                assert_eq!(
                    serde_json::from_str::<Channel>(&quoted).ok(),
                    channel,
                    "{text}"
                );
            }
            "event" => {
                let name = EventName::parse(text).ok();
                assert_eq!(
                    name.as_ref().map(EventName::as_str),
                    case.name.as_deref(),
                    "{text}"
                );
            }
            "id" => assert_eq!(Some(valid_id(text)), case.valid, "{text}"),
            other => panic!("no such thing: {other}"),
        }
    }
}

/// A record of the state topic.
#[derive(Deserialize)]
struct StateRecord {
    key: Option<String>,
    value: Option<String>,
    kept: Option<KeptAs>,
    #[serde(default)]
    bad: bool,
    /// It is what we write, byte for byte.
    #[serde(default)]
    written: bool,
    #[serde(default)]
    partitions: BTreeMap<u32, i32>,
}

#[derive(Deserialize)]
struct KeptAs {
    channel: Channel,
    user: String,
    durable: String,
    cursor: String,
    at: i64,
}

#[test]
fn records_of_the_state_topic_are_the_kept_cursors_they_should_be() {
    for case in read::<StateRecord>(include_str!("../golden/kept.json")) {
        let (key, value) = (case.key.as_deref(), case.value.as_deref());
        let read = Kept::decode(key.map(str::as_bytes), value.map(str::as_bytes));
        assert_eq!(read.is_err(), case.bad, "{key:?} {value:?}");
        let kept = case.kept.map(|kept| Kept {
            key: KeptKey {
                channel: kept.channel,
                user: kept.user,
                durable: kept.durable,
            },
            cursor: kept.cursor,
            at_ms: kept.at,
        });
        assert_eq!(read.ok().flatten(), kept, "{key:?} {value:?}");
        if let Some(kept) = kept.filter(|_| case.written) {
            assert_eq!(Some(&*kept.key.encode()), key.map(str::as_bytes));
            assert_eq!(Some(&*kept.encode()), value.map(str::as_bytes));
            for (partitions, partition) in case.partitions {
                assert_eq!(kept.key.partition(partitions), partition);
            }
        }
    }
}
