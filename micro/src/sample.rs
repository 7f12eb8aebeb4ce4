//! What the cases work on: one event of a session in the forms it has on its way.

use bytes::Bytes;
use protocol::Position;
use schemas::{Channel, Event, EventName, Incoming, Lane, Outbox};

pub(crate) const TOPIC: &str = "rivermouth.events";
pub(crate) const PARTITIONS: u32 = 12;
pub(crate) const OFFSET: i64 = 120_711;
/// 2025-11-21, Unix milliseconds.
pub(crate) const NOW_MS: i64 = 1_763_683_200_123;

/// 200 bytes: names, short texts and numbers as canvases send them.
pub(crate) const DATA: &str = r##"{"tool":"brush","color":"#3a7bd5","layer":"tokens","width":2.5,"points":[[412.5,231.25],[413.1,232.4],[415.75,233.9],[418,236]],"erase":false,"label":"the river bends here, and the bridge is gone..."}"##;

pub(crate) fn channel() -> Channel {
    Channel::parse("session.42").expect("a channel")
}

pub(crate) fn position() -> Position {
    Position {
        generation: 0,
        partition: schemas::partition_of(b"42", PARTITIONS),
        next: OFFSET + 1,
    }
}

/// The event as ingest writes it, with an id of its publisher.
pub(crate) fn event() -> Event {
    Event {
        channel: channel(),
        name: EventName::parse("draw").expect("a name"),
        id: id(0),
        id_given: true,
        user_id: Some("user-31".into()),
        data: Bytes::from_static(DATA.as_bytes()),
        to: None,
        lane: Lane::Durable,
        outbox: None,
        traceparent: None,
    }
}

/// The same from an outbox, as a backend or a careful client publishes it.
pub(crate) fn event_of_outbox(seq: u64) -> Event {
    Event {
        outbox: Some(Outbox {
            producer: "tab-7f3a".into(),
            epoch: 1,
            seq,
        }),
        ..event()
    }
}

/// An id of the length of a UUID, another for each `n`.
pub(crate) fn id(n: u64) -> String {
    format!("0192f0a1-7e4c-7b62-9d1f-{n:012x}")
}

/// A record as a reader of the log has it.
pub(crate) struct Record {
    partition: i32,
    key: Bytes,
    headers: Vec<(String, Bytes)>,
    value: Bytes,
}

impl Record {
    /// As our own ingest writes it: everything in the JSON value, an outbox's numbers in headers.
    pub(crate) fn of(event: &Event) -> Record {
        let encoded = schemas::encode_json(event);
        let owned = |(name, value): (&str, Bytes)| (name.to_owned(), value);
        Record {
            partition: position().partition,
            key: encoded.key,
            headers: encoded.headers.into_iter().map(owned).collect(),
            value: encoded.value,
        }
    }

    /// As a CloudEvent in binary mode: attributes in headers, the value is the data.
    pub(crate) fn cloudevent() -> Record {
        let id = id(0);
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_type", "draw"),
            ("ce_id", &id),
            ("ce_source", "/workers/7"),
            ("ce_userid", "user-31"),
            ("content-type", "application/json"),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), Bytes::from(value.to_owned()));
        Record {
            partition: position().partition,
            key: Bytes::from_static(b"42"),
            headers: headers.map(owned).into(),
            value: Bytes::from_static(DATA.as_bytes()),
        }
    }

    pub(crate) fn incoming(&self) -> Incoming<'_> {
        Incoming {
            topic: TOPIC,
            partition: self.partition,
            offset: OFFSET,
            key: Some(&self.key),
            headers: &self.headers,
            value: Some(&self.value),
        }
    }
}

/// A publish as a WebSocket client sends it.
pub(crate) fn publish_request() -> String {
    let id = id(0);
    format!(
        r#"{{"type":"request","id":"317","method":"publish","params":{{"channel":"session.42","event":"draw","data":{DATA},"id":"{id}"}}}}"#
    )
}

/// A subscription that resumes, as a WebSocket client sends it.
pub(crate) fn subscribe_request(cursor: &str) -> String {
    format!(
        r#"{{"type":"request","id":"2","method":"subscribe","params":{{"channel":"session.42","since":"{cursor}"}}}}"#
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_data_is_compact_and_has_the_length_of_all_measurements() {
        let compact = schemas::json::compact(super::DATA.as_bytes(), schemas::json::Rules::DATA);
        assert_eq!(compact.as_deref(), Ok(super::DATA.as_bytes()));
        assert_eq!(super::DATA.len(), 200);
    }
}
