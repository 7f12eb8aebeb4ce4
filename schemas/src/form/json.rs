//! The JSON form, `{"event":…,"data":…,"id"?,"userId"?,"to"?}`, in one pass.

use bytes::Bytes;

use super::{Parts, bad_event, event_name, id, lane, null, shared};
use crate::Poison;
use crate::json::{DATA_DEPTH_MAX, ENVELOPE_DEPTH_MAX, FaultAt, Scanner, Text};

/// Reads a record's value. Unknown members are ignored, but checked.
pub(crate) fn read(value: &Bytes) -> Result<Parts, Poison> {
    let mut scanner = Scanner::new(value)?;
    if !scanner.at_object() {
        scanner.value(ENVELOPE_DEPTH_MAX)?;
        scanner.finish()?;
        return Err(bad_event("the value is not a JSON object"));
    }

    let mut data = None;
    let [mut event, mut given_id, mut user_id, mut to, mut given_lane] =
        [const { Member::Absent }; 5];
    scanner.open();
    while let Some(key) = scanner.next_key()? {
        let member = match &*key {
            "data" => {
                data = Some(scanner.compact(DATA_DEPTH_MAX)?);
                continue;
            }
            "event" => &mut event,
            "id" => &mut given_id,
            "userId" => &mut user_id,
            "to" => &mut to,
            "lane" => &mut given_lane,
            _ => {
                scanner.value(ENVELOPE_DEPTH_MAX - 1)?;
                continue;
            }
        };
        *member = Member::read(&mut scanner)?;
    }
    scanner.finish()?;

    let Some(event) = event.text("event")? else {
        return Err(bad_event("event is missing"));
    };
    Ok(Parts {
        name: event_name(&event)?,
        data: data.map_or_else(null, |data| shared(data, value)),
        id: match given_id {
            Member::Other(_) => Some(id("")?),
            member => member.text("id")?.map(|text| id(&text)).transpose()?,
        },
        user_id: user_id.text("userId")?.map(Text::into_string),
        to: to.texts("to")?,
        lane: given_lane
            .text("lane")?
            .map(|text| lane(&text))
            .transpose()?,
    })
}

/// A member of the envelope. Absent and null are the same to us.
pub(super) enum Member<'t> {
    Absent,
    Text(Text<'t>),
    Other(&'t str),
}

impl<'t> Member<'t> {
    /// Takes the value at which the scanner stands.
    pub(super) fn read(scanner: &mut Scanner<'t>) -> Result<Member<'t>, FaultAt> {
        if let Some(text) = scanner.text()? {
            return Ok(Member::Text(text));
        }
        let range = scanner.value(ENVELOPE_DEPTH_MAX - 1)?;
        let raw = scanner.slice(range);
        Ok(if raw == "null" {
            Member::Absent
        } else {
            Member::Other(raw)
        })
    }

    pub(super) fn text(self, name: &str) -> Result<Option<Text<'t>>, Poison> {
        match self {
            Member::Absent => Ok(None),
            Member::Text(text) => Ok(Some(text)),
            Member::Other(_) => Err(bad_event(&format!("{name} is not a string"))),
        }
    }

    fn texts(self, name: &str) -> Result<Option<Vec<String>>, Poison> {
        let bad = || bad_event(&format!("{name} is not a list of strings"));
        match self {
            Member::Absent => Ok(None),
            Member::Text(_) => Err(bad()),
            // Addressed events are few; the scanner has checked what serde reads here.
            Member::Other(raw) => serde_json::from_str(raw).map(Some).map_err(|_| bad()),
        }
    }
}
