//! The members of a message, picked by name and still unread, and how each type is read.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use schemas::{Channel, EventName};

use crate::ProtocolError;

/// The outside of a message.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Outside<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) method: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) params: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) channel: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) event: Option<&'a RawValue>,
}

/// Every parameter of every method. Which of them count depends on the method.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Fields<'a> {
    #[serde(borrow)]
    pub(super) token: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) version: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) channel: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) since: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) types: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) snapshot: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) window: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) max_rate: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) durable: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) presence: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) event: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) lane: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) to: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) producer: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) epoch: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) seq: Option<&'a RawValue>,
    /// Present and null is a statement here: nobody.
    #[serde(borrow, deserialize_with = "even_null")]
    pub(super) user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) cursor: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) at: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) after: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) before: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) from: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) limit: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) order: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) job_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) document_id: Option<&'a RawValue>,
}

fn even_null<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(deserializer).map(Some)
}

/// A member of the wrong type or out of its range.
pub(super) fn wrong(name: &str, what: &str) -> ProtocolError {
    ProtocolError::invalid(format!("{name} must be {what}"))
}

/// A member read as `T`, if it is there.
pub(super) fn read<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    name: &str,
    what: &str,
) -> Result<Option<T>, ProtocolError> {
    raw.map(|raw| serde_json::from_str(raw.get()).map_err(|_| wrong(name, what)))
        .transpose()
}

/// A member read as `T`, which has to be there.
pub(super) fn need<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    name: &str,
    what: &str,
) -> Result<T, ProtocolError> {
    read(raw, name, what)?.ok_or_else(|| ProtocolError::invalid(format!("{name} is missing")))
}

/// An optional text.
pub(super) fn text(raw: Option<&RawValue>, name: &str) -> Result<Option<String>, ProtocolError> {
    read(raw, name, "a string")
}

/// An optional flag; absent is false.
pub(super) fn flag(raw: Option<&RawValue>, name: &str) -> Result<bool, ProtocolError> {
    Ok(read(raw, name, "true or false")?.unwrap_or(false))
}

/// An optional whole number between two others, both included.
pub(super) fn count(
    raw: Option<&RawValue>,
    name: &str,
    range: std::ops::RangeInclusive<u32>,
) -> Result<Option<u32>, ProtocolError> {
    let what = format!("a whole number from {} to {}", range.start(), range.end());
    match read::<u32>(raw, name, &what)? {
        Some(n) if !range.contains(&n) => Err(wrong(name, &what)),
        other => Ok(other),
    }
}

/// The channel, which has to be there.
pub(super) fn channel(raw: Option<&RawValue>) -> Result<Channel, ProtocolError> {
    let name: String = need(raw, "channel", "a string")?;
    Channel::parse(&name).map_err(|e| ProtocolError::invalid(e.to_string()))
}

/// An event name.
pub(super) fn event_name(name: &str) -> Result<EventName, ProtocolError> {
    EventName::parse(name).map_err(|e| ProtocolError::invalid(e.to_string()))
}
