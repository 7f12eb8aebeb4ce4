//! What is written on Kafka: the event, its five spellings, topics, keys and the JSON rules.
//!
//! Everything here is pure. Records come in as [`Incoming`], leave as an [`Event`] or as an
//! [`Undecoded`] value with a reason; events leave through [`encode_json`]. Nothing panics on bytes
//! from outside.
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod decode;
mod encode;
mod event;
mod form;
#[cfg(test)]
mod golden;
mod headers;
pub mod json;
mod kept;
mod names;
mod partition;
mod poison;
#[cfg(test)]
mod properties;
mod reserved;
mod topics;

pub use decode::{Decoder, HEADERS_BYTES_MAX, Incoming, VALUE_BYTES_MAX};
pub use encode::{Encoded, encode_json};
pub use event::{ACTIVITY_TYPES, Event, Lane, Outbox, TO_MAX};
pub use form::avro::EVENT_AVSC;
pub use kept::{BadKept, Kept, KeptKey};
pub use names::{Channel, EVENT_ALIASES, EventName, NameError, valid_id, valid_user};
pub use partition::partition_of;
pub use poison::{Poison, PoisonReason, Undecoded};
pub use reserved::{PRESENCE_TYPES, SERVER_NAMES, newest_wins};
pub use topics::Topics;
