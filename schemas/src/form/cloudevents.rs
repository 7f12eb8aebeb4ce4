//! CloudEvents 1.0 on Kafka: attributes in headers (binary) or around the data (structured).

use bytes::Bytes;

use super::json::Member;
use super::{Parts, data, event_name, id, null, shared, without_nul};
use crate::headers::Headers;
use crate::json::{DATA_DEPTH_MAX, ENVELOPE_DEPTH_MAX, Scanner, Text};
use crate::{Poison, PoisonReason};

/// Attributes in `ce_` headers, the value is `data`.
pub(crate) fn binary(headers: &Headers<'_>, value: &Bytes) -> Result<Parts, Poison> {
    let attribute = |value: Option<&Bytes>, name: &str| match value {
        None => Ok(None),
        Some(value) => match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(without_nul(text)?.to_owned())),
            Err(_) => Err(bad(format!("ce_{name} is not UTF-8"))),
        },
    };
    let attributes = Attributes {
        specversion: attribute(headers.ce_specversion, "specversion")?,
        name: attribute(headers.ce_type, "type")?,
        id: attribute(headers.ce_id, "id")?,
        source: attribute(headers.ce_source, "source")?,
        user_id: attribute(headers.ce_userid, "userid")?,
    };
    let data = if value.is_empty() {
        null()
    } else {
        data(value)?
    };
    attributes.with(data)
}

/// Attributes and `data` are members of one JSON object.
pub(crate) fn structured(value: &Bytes) -> Result<Parts, Poison> {
    let mut scanner = Scanner::new(value)?;
    if !scanner.at_object() {
        scanner.value(ENVELOPE_DEPTH_MAX)?;
        scanner.finish()?;
        return Err(bad("the value is not a JSON object"));
    }

    let mut data = None;
    let mut base64 = false;
    let [mut specversion, mut name, mut id, mut source, mut user_id] =
        [const { Member::Absent }; 5];
    scanner.open();
    while let Some(key) = scanner.next_key()? {
        let member = match &*key {
            "data" => {
                data = Some(scanner.compact(DATA_DEPTH_MAX)?);
                continue;
            }
            "specversion" => &mut specversion,
            "type" => &mut name,
            "id" => &mut id,
            "source" => &mut source,
            "userid" => &mut user_id,
            other => {
                base64 |= other == "data_base64";
                scanner.value(ENVELOPE_DEPTH_MAX - 1)?;
                continue;
            }
        };
        *member = Member::read(&mut scanner)?;
    }
    scanner.finish()?;

    if base64 {
        return Err(bad("data_base64 is not JSON data"));
    }
    let attribute = |member: Member<'_>, name: &str| match member.text(name) {
        Ok(text) => Ok(text.map(Text::into_string)),
        Err(e) => Err(bad(e.detail)),
    };
    let attributes = Attributes {
        specversion: attribute(specversion, "specversion")?,
        name: attribute(name, "type")?,
        id: attribute(id, "id")?,
        source: attribute(source, "source")?,
        user_id: attribute(user_id, "userid")?,
    };
    attributes.with(data.map_or_else(null, |data| shared(data, value)))
}

struct Attributes {
    specversion: Option<String>,
    name: Option<String>,
    id: Option<String>,
    source: Option<String>,
    user_id: Option<String>,
}

impl Attributes {
    /// Checks what CloudEvents requires, then what we require of an event.
    fn with(self, data: Bytes) -> Result<Parts, Poison> {
        if self.specversion.as_deref() != Some("1.0") {
            return Err(bad("specversion is not 1.0"));
        }
        if self.source.is_none_or(|source| source.is_empty()) {
            return Err(bad("source is missing"));
        }
        let name = self
            .name
            .filter(|name| !name.is_empty())
            .ok_or_else(|| bad("type is missing"))?;
        let given_id = self
            .id
            .filter(|id| !id.is_empty())
            .ok_or_else(|| bad("id is missing"))?;
        Ok(Parts {
            name: event_name(&name)?,
            data,
            id: Some(id(&given_id)?),
            user_id: self.user_id,
            to: None,
            lane: None,
        })
    }
}

fn bad(what: impl Into<String>) -> Poison {
    Poison::new(PoisonReason::BadCloudEvent, what)
}
