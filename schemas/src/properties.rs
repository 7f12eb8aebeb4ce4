//! Properties of encoding and decoding, beyond the golden vectors.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::json::{Rules, compact};
use crate::*;

const PARTITION: i32 = 5;
const OFFSET: i64 = 77;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>().prop_map(|s| s.replace('\0', "")),
        "[a-z0-9]{1,8}"
    ]
}

fn user() -> impl Strategy<Value = String> {
    text().prop_filter("a user's id", |text| crate::valid_user(text))
}

fn data() -> impl Strategy<Value = Bytes> {
    let leaf = prop_oneof![
        select(vec![
            "null",
            "true",
            "-0",
            "1.50",
            "1E5",
            "\"\\u00e9\\/\"",
            "\" \""
        ])
        .prop_map(str::to_owned),
        text().prop_map(|s| serde_json::to_string(&s).unwrap()),
        any::<i64>().prop_map(|n| n.to_string()),
    ];
    let value = leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(","))),
            prop::collection::vec(inner, 0..4).prop_map(|v| {
                let members: Vec<String> = v
                    .iter()
                    .enumerate()
                    .map(|(i, v)| format!("\"k {i}\":{v}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    });
    value.prop_map(Bytes::from)
}

fn event() -> impl Strategy<Value = Event> {
    let channel = select(vec![
        "session.42",
        "jobs.9f",
        "docs.a:b",
        "broadcast",
        "system",
        "shop.~",
    ]);
    let place = (channel, prop::bool::ANY, "x[a-z]{0,4}(\\.[a-z_0-9]{1,5})?");
    let outbox = prop::option::of(("[A-Za-z0-9_:@~.-]{1,64}", 0..=Outbox::MAX, 0..=Outbox::MAX));
    let who = (
        prop::option::of("[A-Za-z0-9_:@~.-]{1,64}"),
        prop::option::of(user()),
        prop::option::of(prop::collection::vec(user(), 1..4)),
        outbox,
        prop::option::of("[0-9a-f-]{1,60}"),
    );
    (place, data(), who).prop_map(
        |((channel, durable, name), data, (id, user_id, to, outbox, trace))| {
            let channel = Channel::parse(channel).unwrap();
            let lane = if durable {
                Lane::Durable
            } else {
                Lane::Ephemeral
            };
            let topics = Topics::default();
            let topic = topics.of(&channel, lane);
            Event {
                id_given: id.is_some(),
                id: id.unwrap_or_else(|| format!("{topic}:{PARTITION}:{OFFSET}")),
                channel,
                name: EventName::parse(&name).unwrap(),
                user_id,
                data,
                to,
                lane,
                outbox: outbox.map(|(producer, epoch, seq)| Outbox {
                    producer,
                    epoch,
                    seq,
                }),
                traceparent: trace,
            }
        },
    )
}

fn decode(
    topic: &str,
    key: &[u8],
    headers: &[(String, Bytes)],
    value: &Bytes,
) -> Result<Event, Undecoded> {
    let decoder = Decoder::new(Topics::default());
    decoder.add_schema(7, EVENT_AVSC).unwrap();
    decoder.decode(Incoming {
        topic,
        partition: PARTITION,
        offset: OFFSET,
        key: Some(key),
        headers,
        value: Some(value),
    })
}

fn owned(headers: &[(&'static str, Bytes)]) -> Vec<(String, Bytes)> {
    headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

/// The event as a datum of the envelope, by hand, so that the library does not check itself.
fn datum(event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    let long = |out: &mut Vec<u8>, n: usize| {
        let mut zigzag = n << 1;
        while zigzag > 0x7f {
            out.push((zigzag & 0x7f) as u8 | 0x80);
            zigzag >>= 7;
        }
        out.push(zigzag as u8);
    };
    let string = |out: &mut Vec<u8>, s: &[u8]| {
        long(out, s.len());
        out.extend_from_slice(s);
    };
    string(&mut out, event.name.as_str().as_bytes());
    string(&mut out, &event.data);
    for nullable in [event.id_given.then_some(&event.id), event.user_id.as_ref()] {
        long(&mut out, usize::from(nullable.is_some()));
        if let Some(text) = nullable {
            string(&mut out, text.as_bytes());
        }
    }
    long(&mut out, usize::from(event.to.is_some()));
    if let Some(to) = &event.to {
        if !to.is_empty() {
            long(&mut out, to.len());
            to.iter().for_each(|user| string(&mut out, user.as_bytes()));
        }
        long(&mut out, 0);
    }
    long(&mut out, usize::from(event.lane == Lane::Ephemeral));
    out
}

proptest! {
    #[test]
    fn decoding_what_was_encoded_gives_the_same_event(event in event()) {
        let topics = Topics::default();
        let encoded = encode_json(&event);
        let topic = topics.of(&event.channel, event.lane);
        let back = decode(topic, &encoded.key, &owned(&encoded.headers), &encoded.value);
        prop_assert_eq!(back, Ok(event));
    }

    #[test]
    fn every_form_of_an_event_is_the_same_event(event in event()) {
        let topics = Topics::default();
        let topic = topics.of(&event.channel, event.lane);
        let Encoded { key, headers, .. } = encode_json(&event);
        let headers = owned(&headers);
        let datum = datum(&event);

        let framed = [&[0, 0, 0, 0, 7], &datum[..]].concat().into();
        prop_assert_eq!(decode(topic, &key, &headers, &framed), Ok(event.clone()));

        let mut named = headers.clone();
        named.push(("__value_schema_id".into(), Bytes::from_static(&[0, 0, 0, 0, 7])));
        prop_assert_eq!(decode(topic, &key, &named, &datum.into()), Ok(event.clone()));

        if event.to.is_some() || !event.id_given {
            return Ok(()); // CloudEvents have an id and no addressees.
        }
        let mut binary = headers.clone();
        for (name, value) in [("specversion", "1.0"), ("type", event.name.as_str()), ("id", &event.id), ("source", "s")] {
            binary.push((format!("ce_{name}"), Bytes::copy_from_slice(value.as_bytes())));
        }
        if let Some(user_id) = &event.user_id {
            binary.push(("ce_userid".into(), Bytes::copy_from_slice(user_id.as_bytes())));
        }
        prop_assert_eq!(decode(topic, &key, &binary, &event.data), Ok(event.clone()));

        let mut structured = headers;
        structured.push(("content-type".into(), Bytes::from_static(b"application/cloudevents+json")));
        let data: &serde_json::value::RawValue = serde_json::from_slice(&event.data).unwrap();
        #[derive(serde::Serialize)]
        struct Structured<'a> {
            specversion: &'a str,
            r#type: &'a EventName,
            id: &'a str,
            source: &'a str,
            userid: &'a Option<String>,
            data: &'a serde_json::value::RawValue,
        }
        let value = serde_json::to_vec_pretty(&Structured {
            specversion: "1.0",
            r#type: &event.name,
            id: &event.id,
            source: "s",
            userid: &event.user_id,
            data,
        });
        prop_assert_eq!(decode(topic, &key, &structured, &value.unwrap().into()), Ok(event));
    }

    #[test]
    fn data_of_an_event_is_compact_and_within_the_rules(event in event()) {
        prop_assert_eq!(compact(&event.data, Rules::DATA).unwrap(), event.data);
    }

    #[test]
    fn no_value_makes_the_decoder_panic(
        first in prop_oneof![
            Just(vec![]), Just(vec![0, 0, 0, 0, 7]), Just(vec![0, 0, 0, 0, 8]),
            Just(vec![b'{']), Just(b"{\"event\":\"a\",\"data\":".to_vec()),
        ],
        noise in prop::collection::vec(prop_oneof![any::<u8>(), 0..12u8], 0..80),
        structured in any::<bool>(),
    ) {
        let decoder = Decoder::new(Topics::default());
        decoder.add_schema(7, EVENT_AVSC).unwrap();
        decoder.add_schema(8, &everything()).unwrap();
        let value = Bytes::from([first, noise].concat());
        let headers = [("content-type".to_owned(), Bytes::from_static(b"application/cloudevents+json"))];
        let incoming = Incoming {
            topic: "rivermouth.events",
            partition: 0,
            offset: 0,
            key: Some(b"42"),
            headers: if structured { &headers } else { &[] },
            value: Some(&value),
        };
        if let Ok(event) = decoder.decode(incoming) {
            prop_assert!(compact(&event.data, Rules::DATA).is_ok());
        }
    }

    #[test]
    fn a_damaged_datum_never_makes_the_decoder_panic(event in event(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut value = [&[0, 0, 0, 0, 7], &datum(&event)[..]].concat();
        let at = at.index(value.len());
        if cut { value.truncate(at) } else { value[at] = byte }
        let _ = decode("rivermouth.events", b"42", &[], &value.into());
    }
}

/// A schema with every kind of type in it, so that noise meets every reader.
fn everything() -> String {
    let logical = |base: &str, name: &str| json!({"type": base, "logicalType": name});
    let field = |name: &str, kind: serde_json::Value| json!({"name": name, "type": kind});
    let fields = [
        field("n", json!("null")),
        field("b", json!("boolean")),
        field(
            "u",
            json!(["int", "long", "float", "double", "bytes", "string", "null"]),
        ),
        field("f", json!({"type": "fixed", "name": "F", "size": 3})),
        field(
            "d",
            json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
        ),
        field("id", json!(["null", logical("string", "uuid")])),
        field("t", logical("int", "date")),
        field("m", logical("long", "timestamp-micros")),
        field(
            "p",
            json!({"type": "fixed", "name": "P", "size": 12, "logicalType": "duration"}),
        ),
        field("big", logical("bytes", "big-decimal")),
        field("map", json!({"type": "map", "values": "F"})),
        field(
            "list",
            json!({"type": "array", "items": ["null", "string", {"type": "array", "items": "int"}]}),
        ),
        field(
            "event",
            json!({"type": "enum", "name": "E", "symbols": ["a", "b"]}),
        ),
        field("data", json!("string")),
    ];
    json!({"type": "record", "name": "Everything", "fields": fields}).to_string()
}

#[test]
fn data_without_blanks_is_shared_with_the_record() {
    let value = Bytes::from_static(br#"{"event":"draw","data":{"a":[1,2]}}"#);
    let event = decode("rivermouth.events", b"42", &[], &value).unwrap();
    assert_eq!(event.data.as_ptr(), value[23..].as_ptr());
}

#[test]
fn a_schema_is_asked_for_once() {
    let decoder = Decoder::new(Topics::default());
    let value = Bytes::from_static(b"\0\0\0\0\x09\x08draw\x08null\0\0\0\0");
    let incoming = Incoming {
        topic: "rivermouth.events",
        partition: 0,
        offset: 0,
        key: Some(b"42"),
        headers: &[],
        value: Some(&value),
    };
    assert_eq!(decoder.decode(incoming), Err(Undecoded::UnknownSchema(9)));
    decoder.clone().add_schema(9, EVENT_AVSC).unwrap();
    assert_eq!(
        decoder.decode(incoming).map(|event| event.name.to_string()),
        Ok("draw".to_owned())
    );
}

#[test]
fn ids_that_records_make_up_do_not_pile_up() {
    let decoder = Decoder::new(Topics::default());
    decoder.add_schema(7, EVENT_AVSC).unwrap();
    for id in 1000..30_000 {
        decoder.mark_absent(id);
    }
    let framed = Bytes::from_static(b"\0\0\0\0\x07\x08draw\x08null\0\0\0\0");
    let incoming = Incoming {
        topic: "rivermouth.events",
        partition: 0,
        offset: 0,
        key: Some(b"42"),
        headers: &[],
        value: Some(&framed),
    };
    assert!(decoder.decode(incoming).is_ok());
}
