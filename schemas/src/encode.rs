//! An event becomes a record: the JSON form, which is what we write ourselves.

use bytes::Bytes;

use crate::Event;

/// A record ready to be appended to `topics.of(&event.channel, event.lane)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The channel's id.
    pub key: Bytes,
    /// Names and values.
    pub headers: Vec<(&'static str, Bytes)>,
    /// The JSON form of protocol section 10. At most [`crate::VALUE_BYTES_MAX`] may be appended;
    /// the caller checks.
    pub value: Bytes,
}

/// Encodes an event; decoding the result at the same place gives the same event.
pub fn encode_json(event: &Event) -> Encoded {
    let _ = event;
    todo!()
}
