//! The parameters of `subscribe`, and where a subscription may start.

use serde::Deserialize;

use schemas::{Channel, EventName, valid_id};

use super::fields::{self, Fields};
use crate::ProtocolError;

/// Most names in `types`.
const TYPES_MAX: usize = 64;
/// Most events `last` may ask for.
const LAST_MAX: u32 = 1_000;
/// Largest `window`.
const WINDOW_MAX: u32 = 10_000;

/// What a subscription asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Which channel or view.
    pub channel: Channel,
    /// From where.
    pub since: Since,
    /// Only events of these names, 1 to 64; `None` is all.
    pub types: Option<Vec<EventName>>,
    /// Most durable events delivered and not acknowledged, 1 to 10 000.
    pub window: Option<u32>,
    /// Whether the state comes first.
    pub snapshot: bool,
    /// The name under which the server keeps the acknowledged cursor.
    pub durable: Option<String>,
    /// Whether presence comes with it.
    pub presence: bool,
    /// Most ephemeral events a second, at least 1.
    pub max_rate: Option<u32>,
}

impl Subscribe {
    /// A subscription to `channel` from now on, with nothing special.
    pub fn new(channel: Channel) -> Self {
        Subscribe {
            channel,
            since: Since::Latest,
            types: None,
            window: None,
            snapshot: false,
            durable: None,
            presence: false,
            max_rate: None,
        }
    }

    pub(super) fn read(fields: &Fields<'_>, channel: Channel) -> Result<Self, ProtocolError> {
        let durable = fields::text(fields.durable, "durable")?;
        Ok(Subscribe {
            channel,
            since: since(fields.since)?,
            types: types(fields.types)?,
            window: fields::count(fields.window, "window", 1..=WINDOW_MAX)?,
            snapshot: fields::flag(fields.snapshot, "snapshot")?,
            durable: durable.as_deref().map(parse_durable).transpose()?,
            presence: fields::flag(fields.presence, "presence")?,
            max_rate: fields::count(fields.max_rate, "maxRate", 1..=u32::MAX)?,
        })
    }
}

/// Where a subscription starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// With what comes from now on.
    Latest,
    /// With the first event there still is.
    Earliest,
    /// After this cursor; not checked yet, [`crate::Cursors::decode`] does.
    Cursor(String),
    /// With the first event whose timestamp is this or later, Unix milliseconds.
    Time(i64),
    /// With the last so many events, 1 to 1000.
    Last(u32),
}

impl Since {
    /// Reads a query parameter: `earliest`, `latest`, `time:<ms>`, `last:<n>`, a cursor, or nothing.
    ///
    /// # Errors
    /// `INVALID_MESSAGE` for a malformed time or number; a string that is no cursor is found out
    /// when it is decoded.
    pub fn parse_query(text: &str) -> Result<Since, ProtocolError> {
        if let Some(ms) = text.strip_prefix("time:") {
            let ms = ms
                .parse()
                .map_err(|_| fields::wrong("since", "time:<ms>"))?;
            return Ok(Since::Time(ms));
        }
        if let Some(n) = text.strip_prefix("last:") {
            return n
                .parse()
                .ok()
                .filter(|n| (1..=LAST_MAX).contains(n))
                .map(Since::Last)
                .ok_or_else(|| fields::wrong("since", "last:<n>, n from 1 to 1000"));
        }
        Ok(match text {
            "" => Since::Latest,
            other => Since::of_word(other),
        })
    }

    fn of_word(text: &str) -> Since {
        match text {
            "latest" => Since::Latest,
            "earliest" => Since::Earliest,
            cursor => Since::Cursor(cursor.to_owned()),
        }
    }
}

/// Reads a name under which a cursor is kept.
///
/// # Errors
/// `INVALID_MESSAGE` for what is no name.
pub fn parse_durable(text: &str) -> Result<String, ProtocolError> {
    if !valid_id(text) {
        return Err(fields::wrong(
            "durable",
            "1 to 64 of A-Z a-z 0-9 _ : @ ~ . -",
        ));
    }
    Ok(text.to_owned())
}

/// Reads the query parameter `window`.
///
/// # Errors
/// `INVALID_MESSAGE` for anything but a whole number from 1 to 10 000.
pub fn parse_window(text: &str) -> Result<u32, ProtocolError> {
    text.parse()
        .ok()
        .filter(|n| (1..=WINDOW_MAX).contains(n))
        .ok_or_else(|| fields::wrong("window", "a whole number from 1 to 10000"))
}

/// Reads the query parameter `types`: names joined by commas; empty is absent.
///
/// # Errors
/// `INVALID_MESSAGE` for more than 64 names or one that is none.
pub fn parse_types(text: &str) -> Result<Option<Vec<EventName>>, ProtocolError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.split(',').count() > TYPES_MAX {
        return Err(fields::wrong("types", "1 to 64 event names"));
    }
    let names: Result<Vec<_>, _> = text
        .split(',')
        .map(|n| fields::event_name(n.trim()))
        .collect();
    names.map(Some)
}

pub(super) fn types(raw: Option<&str>) -> Result<Option<Vec<EventName>>, ProtocolError> {
    const WHAT: &str = "a list of 1 to 64 event names";
    let Some(names) = fields::read::<Vec<String>>(raw, "types", WHAT)? else {
        return Ok(None);
    };
    if names.is_empty() || names.len() > TYPES_MAX {
        return Err(fields::wrong("types", WHAT));
    }
    let names: Result<Vec<_>, _> = names.iter().map(|n| fields::event_name(n)).collect();
    names.map(Some)
}

fn since(raw: Option<&str>) -> Result<Since, ProtocolError> {
    #[derive(Deserialize)]
    struct Named {
        time: Option<i64>,
        last: Option<u32>,
    }
    const WHAT: &str = "a cursor, earliest, latest, {time: ms} or {last: 1 to 1000}";
    if let Some(word) = raw.and_then(fields::string) {
        return Ok(Since::of_word(&word));
    }
    let Some(named) = fields::read::<Named>(raw, "since", WHAT)? else {
        return Ok(Since::Latest);
    };
    match (named.time, named.last) {
        (Some(ms), None) => Ok(Since::Time(ms)),
        (None, Some(n)) if (1..=LAST_MAX).contains(&n) => Ok(Since::Last(n)),
        _ => Err(fields::wrong("since", WHAT)),
    }
}
