//! The event: one thing that happened in one channel, whatever form its record had.

use bytes::Bytes;

use crate::{Channel, EventName};

/// Event names that make up the activity view of a channel.
pub const ACTIVITY_TYPES: &[&str] = &[
    "user.joined",
    "user.left",
    "chat.message",
    "dice.roll",
    "turn.changed",
    "map.updated",
    "note.edited",
];

/// How an event travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Every one, in order, resumable.
    Durable,
    /// The newest wins; never resumed.
    Ephemeral,
}

impl Lane {
    /// `durable` or `ephemeral`.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Durable => "durable",
            Lane::Ephemeral => "ephemeral",
        }
    }

    /// The lane of that name, if it is one.
    pub fn parse(s: &str) -> Option<Lane> {
        match s {
            "durable" => Some(Lane::Durable),
            "ephemeral" => Some(Lane::Ephemeral),
            _ => None,
        }
    }
}

/// A publisher's own numbering of what it published in one channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Outbox {
    /// The outbox's name, an id ([`crate::valid_id`]).
    pub producer: String,
    /// Raised when the outbox is made anew or taken over. At most [`Outbox::MAX`].
    pub epoch: u64,
    /// 0, 1, 2 … within the epoch. At most [`Outbox::MAX`].
    pub seq: u64,
}

impl Outbox {
    /// Largest epoch and seq: what every JSON reader holds exactly.
    pub const MAX: u64 = (1 << 53) - 1;
}

/// Most users one event may be addressed to.
pub const TO_MAX: usize = 256;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it happened.
    pub channel: Channel,
    /// What happened.
    pub name: EventName,
    /// The publisher's id, or `<topic>:<partition>:<offset>` when it gave none.
    pub id: String,
    /// Whether the publisher gave the id. An id made from the position is unique by itself.
    pub id_given: bool,
    /// Who did it; `None` when a backend did not say.
    pub user_id: Option<String>,
    /// Compact JSON text, `null` when absent. Checked by [`crate::json::compact`].
    pub data: Bytes,
    /// The users it is addressed to; `None` is everybody.
    pub to: Option<Vec<String>>,
    /// Which lane, as its topic says.
    pub lane: Lane,
    /// The publisher's numbering, if it keeps one.
    pub outbox: Option<Outbox>,
    /// W3C trace context, carried through.
    pub traceparent: Option<String>,
}
