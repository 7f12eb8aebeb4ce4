//! The members of a message, picked by name and still unread, and how each type is read.

use std::borrow::Cow;

use serde::Deserialize;

use schemas::json::{self, FaultAt, Member, Place};
use schemas::{Channel, EventName};

use crate::ProtocolError;

/// Every member that means something, of a message or of its `params`: its JSON. Which of them
/// count depends on type and method.
macro_rules! fields {
    ($($field:ident = $name:literal,)*) => {
        #[derive(Debug, Default)]
        pub(super) struct Fields<'a> {
            $(pub(super) $field: Option<&'a str>,)*
            /// Compact already.
            pub(super) data: Option<Cow<'a, [u8]>>,
        }

        impl<'a> Fields<'a> {
            fn slot(&mut self, name: &str) -> Option<&mut Option<&'a str>> {
                Some(match name {
                    $($name => &mut self.$field,)*
                    _ => return None,
                })
            }
        }
    };
}

fields! {
    kind = "type",
    id = "id",
    method = "method",
    params = "params",
    channel = "channel",
    event = "event",
    since = "since",
    types = "types",
    token = "token",
    name = "name",
    version = "version",
    snapshot = "snapshot",
    window = "window",
    max_rate = "maxRate",
    durable = "durable",
    presence = "presence",
    lane = "lane",
    to = "to",
    producer = "producer",
    epoch = "epoch",
    seq = "seq",
    user_id = "userId",
    cursor = "cursor",
    at = "at",
    after = "after",
    before = "before",
    from = "from",
    limit = "limit",
    order = "order",
    job_id = "jobId",
    document_id = "documentId",
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str, value: Member<'a>) {
        match value {
            Member::Data(data) => self.data = Some(data),
            // Null is absent. Only of `userId` it is a statement: nobody.
            Member::Other("null") if name != "userId" => {}
            Member::Other(value) => {
                if let Some(slot) = self.slot(name) {
                    *slot = Some(value);
                }
            }
        }
    }
}

/// A message that passed all JSON rules, taken apart.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    /// What stands in the message itself.
    pub(super) top: Fields<'a>,
    /// What stands in its member `params`.
    pub(super) params: Fields<'a>,
}

impl<'a> Parts<'a> {
    /// Checks `text` and takes it apart in one pass; `None` when it is no object.
    pub(super) fn of(text: &'a [u8]) -> Result<Option<Parts<'a>>, FaultAt> {
        let mut parts = Parts::default();
        let is_object = json::read_envelope(text, |place, name, value| match place {
            Place::Top => parts.top.take(name, value),
            Place::Params => parts.params.take(name, value),
        })?;
        Ok(is_object.then_some(parts))
    }
}

/// A member of the wrong type or out of its range.
pub(super) fn wrong(name: &str, what: &str) -> ProtocolError {
    ProtocolError::invalid(format!("{name} must be {what}"))
}

/// A member read as `T`, if it is there.
pub(super) fn read<'a, T: Deserialize<'a>>(
    raw: Option<&'a str>,
    name: &str,
    what: &str,
) -> Result<Option<T>, ProtocolError> {
    raw.map(|raw| serde_json::from_str(raw).map_err(|_| wrong(name, what)))
        .transpose()
}

/// The string that `raw` is; `None` when it is something else. Its rules were checked with the whole.
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// An optional text.
pub(super) fn text<'a>(
    raw: Option<&'a str>,
    name: &str,
) -> Result<Option<Cow<'a, str>>, ProtocolError> {
    raw.map(|raw| string(raw).ok_or_else(|| wrong(name, "a string")))
        .transpose()
}

/// An optional text, to keep.
pub(super) fn owned(raw: Option<&str>, name: &str) -> Result<Option<String>, ProtocolError> {
    Ok(text(raw, name)?.map(Cow::into_owned))
}

/// A text, which has to be there.
pub(super) fn need<'a>(raw: Option<&'a str>, name: &str) -> Result<Cow<'a, str>, ProtocolError> {
    text(raw, name)?.ok_or_else(|| ProtocolError::invalid(format!("{name} is missing")))
}

/// An optional flag; absent is false.
pub(super) fn flag(raw: Option<&str>, name: &str) -> Result<bool, ProtocolError> {
    Ok(read(raw, name, "true or false")?.unwrap_or(false))
}

/// An optional whole number between two others, both included.
pub(super) fn count(
    raw: Option<&str>,
    name: &str,
    range: std::ops::RangeInclusive<u32>,
) -> Result<Option<u32>, ProtocolError> {
    let Some(raw) = raw else {
        return Ok(None);
    };
    serde_json::from_str(raw)
        .ok()
        .filter(|n| range.contains(n))
        .map(Some)
        .ok_or_else(|| {
            let what = format!("a whole number from {} to {}", range.start(), range.end());
            wrong(name, &what)
        })
}

/// The channel, which has to be there.
pub(super) fn channel(raw: Option<&str>) -> Result<Channel, ProtocolError> {
    Channel::parse(&need(raw, "channel")?).map_err(|e| ProtocolError::invalid(e.to_string()))
}

/// An event name.
pub(super) fn event_name(name: &str) -> Result<EventName, ProtocolError> {
    EventName::parse(name).map_err(|e| ProtocolError::invalid(e.to_string()))
}
