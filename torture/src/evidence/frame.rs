//! A delivered event's JSON, read once when it comes and reduced to what is kept.

use std::hash::Hasher as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use siphasher::sip::SipHasher13;
use testbed::checker::compact;

use super::{Cursor, Seen};

/// The hash of bytes.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The hash of a payload: its JSON without blanks outside strings.
pub fn data_hash(json: &str) -> u64 {
    hash(compact(json).as_bytes())
}

/// An event's frame.
#[derive(Debug, Deserialize)]
pub struct Frame<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The event's name.
    pub event: &'a str,
    /// The event's id; `gap`, `lagging` and the like have none.
    pub id: Option<&'a str>,
    /// Who published it.
    #[serde(rename = "userId")]
    pub user_id: Option<std::borrow::Cow<'a, str>>,
    /// The payload as it came.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
    /// The log's time.
    pub timestamp: Option<i64>,
    /// The cursor; none on the ephemeral lane.
    pub cursor: Option<&'a str>,
    /// The cursor of the event before.
    pub prev: Option<&'a str>,
    /// Whether it is addressed.
    #[serde(default)]
    pub addressed: bool,
}

impl<'a> Frame<'a> {
    /// None for what is no event of a channel. Takes the JSON object alone, without line break.
    pub fn parse(json: &'a str) -> Option<Frame<'a>> {
        serde_json::from_str(json).ok()
    }

    /// What a reader keeps of it. None for an event without id or without a readable cursor: of the ephemeral
    /// lane, or a [`super::Stray`] when it should have had one. `json` is what was parsed.
    pub fn seen(&self, json: &str) -> Option<Seen> {
        Some(Seen {
            cursor: Cursor::parse(self.cursor?)?,
            prev: match self.prev {
                Some(prev) => Some(Cursor::parse(prev)?),
                None => None,
            },
            raw: hash(json.as_bytes()),
            fact: fact(
                self.event,
                self.id?,
                self.user_id.as_deref(),
                self.data.map_or("null", RawValue::get),
                self.timestamp?,
            ),
            addressed: self.addressed,
        })
    }
}

/// The hash of what an event says: name, id, user, payload byte for byte, time.
pub(crate) fn fact(
    event: &str,
    id: &str,
    user: Option<&str>,
    data: &str,
    timestamp_ms: i64,
) -> u64 {
    let mut hasher = SipHasher13::new();
    for part in [event, id, user.unwrap_or("\u{0}"), data] {
        hasher.write_usize(part.len());
        hasher.write(part.as_bytes());
    }
    hasher.write_i64(timestamp_ms);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_kept_as_what_it_says_and_where_it_lies() {
        let cursor = Cursor::made_up(1, 5);
        let json = format!(
            r#"{{"type":"event","channel":"session.1","event":"draw","id":"a","userId":"u","data":{{"x": 1}},"timestamp":7,"cursor":"{cursor}","prev":null}}"#
        );
        let frame = Frame::parse(&json).unwrap();
        let seen = frame.seen(&json).unwrap();
        assert_eq!(
            (seen.cursor, seen.prev, seen.addressed),
            (cursor, None, false)
        );
        assert_eq!(seen.fact, fact("draw", "a", Some("u"), r#"{"x": 1}"#, 7));
        assert_ne!(seen.fact, fact("draw", "a", None, r#"{"x": 1}"#, 7));
        assert_eq!(seen.raw, hash(json.as_bytes()));
    }
}
