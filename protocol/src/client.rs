//! What clients say: from the bytes of one message to a typed [`Message`], or a [`Refused`] that says
//! why and to which request it belongs.
//!
//! The whole text is checked against the JSON rules, and its members are picked by name on the way
//! (one pass, no recursion); then each is read as the type it should have. Members nobody knows are
//! ignored; a member of the wrong type is refused. `null` for an optional member means absent.

mod fields;
mod history;
mod message;
mod publish;
mod rescue;
mod snapshot;
mod subscribe;

use schemas::Channel;

use crate::ProtocolError;

pub use history::{History, Order};
pub use message::{parse, parse_ack, parse_publish};
pub use publish::Publish;
pub use snapshot::Snapshot;
pub use subscribe::{Since, Subscribe, parse_durable, parse_types, parse_window};

/// Largest message in bytes.
pub const MESSAGE_BYTES_MAX: usize = 65_536;

/// One message of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Wants an answer; `id` is absent for `ack` only.
    Request {
        /// What the answer will carry, at most 64 characters.
        id: Option<String>,
        /// What is asked.
        call: Call,
    },
    /// A publish that wants no answer.
    Publish(Publish),
    /// A sign of life, answered by one.
    Heartbeat,
}

/// A method and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Authenticate this connection.
    Connect {
        /// The JWT.
        token: String,
        /// What the client calls itself.
        name: Option<String>,
        /// Its version.
        version: Option<String>,
    },
    /// Go on with a newer token.
    Refresh {
        /// The JWT.
        token: String,
    },
    /// What time is it.
    Ping,
    /// Deliver a channel.
    Subscribe(Subscribe),
    /// Deliver it no longer.
    Unsubscribe {
        /// Which.
        channel: Channel,
    },
    /// Put an event into a channel.
    Publish(Publish),
    /// Everything up to here has been handled.
    Ack {
        /// In which channel.
        channel: Channel,
        /// Up to where.
        cursor: String,
    },
    /// A page of the past.
    History(History),
    /// The state of a channel.
    Snapshot(Snapshot),
    /// A method of the protocol that this version does not serve: its name.
    Unserved(&'static str),
}

/// An acknowledgement over HTTP, which needs no subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAck {
    /// Which channel or view.
    pub channel: Channel,
    /// Everything up to it is acknowledged; not checked yet.
    pub cursor: String,
    /// The name under which it is kept.
    pub durable: String,
}

/// A message that was not understood, with whatever of it could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The request's id: the answer carries it.
    pub id: Option<String>,
    /// The channel it was about.
    pub channel: Option<String>,
    /// The id of the publish, when the message was one that wants no answer.
    pub publish_id: Option<String>,
    /// What to answer. Carries `details.publishId` already.
    pub error: ProtocolError,
    /// Whether it was not JSON or none of the four types: the hundredth in a minute ends the
    /// connection.
    pub malformed: bool,
}

#[cfg(test)]
mod tests;
