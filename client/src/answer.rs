//! What HTTP calls ask for and give back.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Error, Refusal};
use crate::message::{Event, Gap, ServerMessage};

/// A whole answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The coded error in the body, when there is one.
    pub fn refusal(&self) -> Option<Refusal> {
        refusal_of(&self.body)
    }

    /// The body as JSON; [`Error::Unexpected`] when it is none.
    pub fn json(&self) -> Result<serde_json::Value, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::Unexpected(format!("{}: no JSON ({error})", self.status)))
    }

    /// Errors as [`Error`]: a coded one, or [`Error::Lost`] for a 5xx and [`Error::Unexpected`] for the rest.
    pub fn success(self) -> Result<Answer, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        match self.refusal() {
            Some(refusal) => Err(Error::from(refusal)),
            None if self.status.is_server_error() => {
                Err(Error::Lost(format!("answered with {}", self.status)))
            }
            None => Err(Error::Unexpected(format!("answered with {}", self.status))),
        }
    }
}

/// What to read of a channel's history (protocol section 3).
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The channel.
    pub channel: String,
    /// Only events after this cursor.
    pub after: Option<String>,
    /// Only events before this cursor.
    pub before: Option<String>,
    /// Only events at or after this Unix millisecond.
    pub from_ms: Option<i64>,
    /// Only events before this Unix millisecond.
    pub to_ms: Option<i64>,
    /// Only these event names; empty means all.
    pub types: Vec<String>,
    /// At most so many (1–1000); none leaves it to the server (100).
    pub limit: Option<u32>,
    /// `asc` or `desc`; none leaves it to the server.
    pub order: Option<&'static str>,
}

/// A page of history.
#[derive(Debug, Clone)]
pub struct Page {
    /// The events in the order asked for.
    pub events: Vec<Event>,
    /// Goes into `after` (asc) or `before` (desc) of the next call; none when complete.
    pub next: Option<String>,
    /// Nothing more in the range asked for.
    pub complete: bool,
    /// A part of the range is erased.
    pub gap: Option<Gap>,
}

/// The answer to a poll.
#[derive(Debug, Clone)]
pub struct Poll {
    /// The events of all channels asked for.
    pub events: Vec<Event>,
    /// The stream cursor to poll with next.
    pub cursor: String,
    /// What is missing, as the server wrote it.
    pub gap: Option<serde_json::Value>,
}

#[derive(Deserialize)]
pub(crate) struct WirePage<'a> {
    #[serde(borrow)]
    pub(crate) events: Vec<&'a RawValue>,
    pub(crate) next: Option<String>,
    pub(crate) complete: bool,
    pub(crate) gap: Option<Gap>,
}

#[derive(Deserialize)]
pub(crate) struct WirePoll<'a> {
    #[serde(borrow)]
    pub(crate) events: Vec<&'a RawValue>,
    pub(crate) cursor: String,
    pub(crate) gap: Option<serde_json::Value>,
}

/// The coded error in an HTTP body.
pub(crate) fn refusal_of(body: &[u8]) -> Option<Refusal> {
    #[derive(Deserialize)]
    struct Body {
        error: Refusal,
    }
    serde_json::from_slice::<Body>(body)
        .ok()
        .map(|body| body.error)
}

pub(crate) fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|error| Error::Unexpected(format!("an answer that cannot be read ({error})")))
}

/// Event objects of a page are what the frames hold, byte for byte.
pub(crate) fn events(raw: &[&RawValue]) -> Result<Vec<Event>, Error> {
    raw.iter()
        .map(|text| match ServerMessage::parse(text.get())? {
            ServerMessage::Event(event) => Ok(*event),
            other => Err(Error::Unexpected(format!("{other:?} among events"))),
        })
        .collect()
}
