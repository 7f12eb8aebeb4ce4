//! A record becomes an event, or a reason why not.

use bytes::Bytes;

use crate::{Event, Topics, Undecoded};

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
}

impl Decoder {
    /// A decoder that knows the envelope schema and no other.
    pub fn new(topics: Topics) -> Decoder {
        Decoder { topics }
    }

    /// The topics it decodes for.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Learns a schema of the registry. A schema that is not safe to read with (recursive, too
    /// large, not Avro) is refused and remembered as refused: its records are poison from then on.
    pub fn add_schema(&self, id: u32, json: &str) -> Result<(), String> {
        let _ = (id, json);
        todo!()
    }

    /// Learns that the registry has no schema of this id: its records are poison.
    pub fn mark_absent(&self, id: u32) {
        let _ = id;
        todo!()
    }

    /// Decodes one record. Never panics; see [`Undecoded`] for what the caller does.
    pub fn decode(&self, record: Incoming<'_>) -> Result<Event, Undecoded> {
        let _ = record;
        todo!()
    }
}
