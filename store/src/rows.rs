//! The rows that go in and out: events and quarantined records.

use bytes::Bytes;
use schemas::{Channel, Outbox};

/// An accepted event as history gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Offset of the record in its partition.
    pub offset: i64,
    /// The record's time in the log, Unix milliseconds.
    pub at_ms: i64,
    /// The channel the event belongs to.
    pub channel: Channel,
    /// The event's name, for example `draw`.
    pub name: String,
    /// The event's id; `<topic>:<partition>:<offset>` when the record had none.
    pub id: String,
    /// Who published it; `None` for a backend that named nobody.
    pub user_id: Option<String>,
    /// The published JSON text, byte for byte.
    pub data: Bytes,
    /// The users an addressed event is for; `None` for everybody.
    pub to: Option<Vec<String>>,
    /// Offset of the accepted event before it in this channel that everybody may see; `None` for the first.
    pub prev: Option<i64>,
}

/// An accepted event as the persister writes it.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Offset of the record in its partition.
    pub offset: i64,
    /// The record's time in the log, Unix milliseconds. Times PostgreSQL cannot hold are moved to the nearest it can.
    pub at_ms: i64,
    /// The channel's log time after this event: the largest time accepted so far.
    pub log_time_ms: i64,
    /// As [`EventRow::prev`].
    pub prev: Option<i64>,
    /// The channel.
    pub channel: Channel,
    /// The event's canonical name.
    pub name: String,
    /// The event's id.
    pub id: String,
    /// Whether the publisher gave the id; one made from the position is not remembered by the acceptance rule.
    pub id_given: bool,
    /// Who published it.
    pub user_id: Option<String>,
    /// The exact JSON text.
    pub data: Bytes,
    /// Addressees; `None` for everybody.
    pub to: Option<Vec<String>>,
    /// The outbox identity the record carried.
    pub outbox: Option<Outbox>,
    /// The event's cursor, as clients see it.
    pub cursor: String,
}

/// A record that could not be read, kept as it was.
#[derive(Clone, Debug)]
pub struct QuarantineRow {
    /// Offset of the record in its partition.
    pub offset: i64,
    /// The record's time in the log, Unix milliseconds.
    pub at_ms: i64,
    /// A word of the poison vocabulary, for example `not_json`.
    pub reason: String,
    /// A sentence for a person.
    pub detail: String,
    /// The record's key.
    pub key: Option<Bytes>,
    /// The record's value.
    pub value: Option<Bytes>,
    /// The record's headers in order; names may repeat.
    pub headers: Vec<(String, Bytes)>,
}
