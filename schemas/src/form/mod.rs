//! The forms a record's value may have; each reads to the same [`Parts`].

use bytes::Bytes;

use crate::json::{Compact, DATA_DEPTH_MAX, Scanner};
use crate::{EventName, Lane, Poison, PoisonReason, valid_id};

pub(crate) mod avro;
mod avro_schema;
mod avro_value;
pub(crate) mod cloudevents;
pub(crate) mod json;

/// What every form says of an event; place, headers and topic say the rest.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) name: EventName,
    pub(crate) data: Bytes,
    pub(crate) id: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) to: Option<Vec<String>>,
    /// The lane the record claims, where its form has one.
    pub(crate) lane: Option<Lane>,
}

fn event_name(text: &str) -> Result<EventName, Poison> {
    EventName::parse(text).map_err(|e| Poison::new(PoisonReason::BadEvent, e.to_string()))
}

fn id(text: &str) -> Result<String, Poison> {
    if valid_id(text) {
        Ok(text.to_owned())
    } else {
        Err(Poison::new(
            PoisonReason::BadId,
            "the id is not [A-Za-z0-9_:@~.-]{1,64}",
        ))
    }
}

fn lane(text: &str) -> Result<Lane, Poison> {
    Lane::parse(text).ok_or_else(|| bad_event("lane is neither durable nor ephemeral"))
}

fn bad_event(what: &str) -> Poison {
    Poison::new(PoisonReason::BadEvent, what)
}

/// A text that did not pass the JSON scanner, which would have refused U+0000.
fn without_nul(text: &str) -> Result<&str, Poison> {
    if text.contains('\0') {
        Err(Poison::new(PoisonReason::DataNul, "U+0000 is not allowed"))
    } else {
        Ok(text)
    }
}

/// A value that is `data` and nothing else.
fn data(text: &Bytes) -> Result<Bytes, Poison> {
    let mut scanner = Scanner::new(text)?;
    let compact = scanner.compact(DATA_DEPTH_MAX)?;
    scanner.finish()?;
    Ok(shared(compact, text))
}

/// Compact data as shared bytes: a part of the record's own when it had no blanks.
fn shared(compact: Compact, text: &Bytes) -> Bytes {
    match compact {
        Compact::Same(range) => text.slice(range),
        Compact::Squeezed(bytes) => bytes.into(),
    }
}

fn null() -> Bytes {
    Bytes::from_static(b"null")
}
