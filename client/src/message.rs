//! What the server says: one message parsed from one line, event object or frame.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Error, Refusal};

/// One event of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `session.42`.
    pub channel: String,
    /// The event's name, `draw`.
    pub name: String,
    /// The event's id, unique in its channel.
    pub id: String,
    /// Who published it; none for backends that did not say.
    pub user_id: Option<String>,
    /// The exact JSON text that was published, blanks outside strings removed; `null` when there was none.
    pub data: String,
    /// Unix milliseconds at which the log took it.
    pub timestamp_ms: i64,
    /// Its place in the channel; none on the ephemeral lane.
    pub cursor: Option<String>,
    /// The cursor of the event before it that every reader may see; none for the first and on the ephemeral lane.
    pub prev: Option<String>,
    /// True for an event with `to`: it is nobody's `prev`.
    pub addressed: bool,
    /// How many ephemeral events this one stands for, when they were conflated.
    pub replaced: Option<u64>,
    /// True when it comes from a `replay`.
    pub replay: bool,
    /// The whole object as it came over the wire, byte for byte.
    pub raw: String,
}

/// The server's first words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connected {
    /// Names this connection in the server's logs.
    pub connection_id: String,
    /// Who the server takes us for.
    pub user_id: String,
    /// Which node answered.
    pub node: String,
    /// `rivermouth.v1`.
    pub protocol: String,
    /// Milliseconds between heartbeats on a quiet connection.
    pub heartbeat_interval: u64,
    /// Milliseconds of silence after which a side is taken for dead.
    pub heartbeat_timeout: u64,
    /// The largest message the server takes, in bytes.
    pub max_message_bytes: usize,
    /// When the credential expires, Unix milliseconds.
    pub expires_at: i64,
}

/// A part of the log that cannot be had any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Gap {
    /// The position after which events are missing; none when unknown.
    pub from: Option<String>,
    /// The position up to which they are missing; none when unknown.
    pub to: Option<String>,
    /// `retention`, `epoch`, `erased` or `truncated`.
    pub reason: String,
}

/// One message of the server (protocol section 3).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServerMessage {
    /// Always the first. `cursor` is the stream cursor of the start, on streams only.
    Connected {
        /// What the server says about the connection.
        connected: Connected,
        /// The stream cursor of the start (NDJSON and SSE).
        cursor: Option<String>,
    },
    /// The answer to a request.
    Response {
        /// The request's id.
        id: String,
        /// The answer's JSON text.
        data: String,
    },
    /// A refusal.
    Error {
        /// The request's id, when it answers one.
        id: Option<String>,
        /// The channel, when it concerns one.
        channel: Option<String>,
        /// The error.
        refusal: Refusal,
    },
    /// An event of a channel.
    Event(Box<Event>),
    /// The subscription that a sugar path made, with the response of `subscribe` as JSON text.
    Subscribed {
        /// The channel.
        channel: String,
        /// The response's JSON text.
        data: String,
    },
    /// The state of a channel, on streams that asked for it.
    Snapshot {
        /// The channel.
        channel: String,
        /// It is the state as of this position; events after it follow.
        cursor: String,
        /// Its JSON text.
        state: String,
    },
    /// Everything up to `cursor` has been sent.
    CaughtUp {
        /// The channel.
        channel: String,
        /// The position reached.
        cursor: String,
    },
    /// History is missing.
    Gap {
        /// The channel.
        channel: String,
        /// What is missing.
        gap: Gap,
    },
    /// The connection fell behind and now reads from the log.
    Lagging {
        /// The channel, when only one is concerned.
        channel: Option<String>,
    },
    /// A sign of life, with a stream cursor on streams.
    Heartbeat {
        /// The stream cursor reached.
        cursor: Option<String>,
    },
    /// The credential expires soon.
    TokenExpiring {
        /// Unix milliseconds, when the server said.
        expires_at: Option<i64>,
    },
    /// Something a newer server says; the whole text.
    Other(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow, default)]
    r#type: Cow<'a, str>,
    id: Option<String>,
    channel: Option<String>,
    event: Option<String>,
    user_id: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    error: Option<Refusal>,
    timestamp: Option<i64>,
    cursor: Option<String>,
    prev: Option<String>,
    #[serde(default)]
    addressed: bool,
    replaced: Option<u64>,
    #[serde(default)]
    replay: bool,
}

impl ServerMessage {
    /// Reads one message; [`Error::Unexpected`] when the text is none.
    pub fn parse(text: &str) -> Result<ServerMessage, Error> {
        let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| {
            Error::Unexpected(format!("a message that cannot be read ({error})"))
        })?;
        Ok(match &*wire.r#type {
            "response" => ServerMessage::Response {
                id: wire.id.unwrap_or_default(),
                data: text_of(wire.data),
            },
            "error" => ServerMessage::Error {
                id: wire.id,
                channel: wire.channel,
                refusal: wire
                    .error
                    .ok_or_else(|| Error::Unexpected("an error without its error".into()))?,
            },
            "event" => event(wire, text)?,
            _ => ServerMessage::Other(text.to_owned()),
        })
    }
}

/// Only a published event has an `id`: that is what tells a control event from an event that somebody
/// published under the same name.
fn event(wire: Wire<'_>, text: &str) -> Result<ServerMessage, Error> {
    if let (Some(id), Some(channel), Some(name)) = (&wire.id, &wire.channel, &wire.event) {
        return Ok(ServerMessage::Event(Box::new(Event {
            channel: channel.clone(),
            name: name.clone(),
            id: id.clone(),
            user_id: wire.user_id,
            data: text_of(wire.data),
            timestamp_ms: wire.timestamp.unwrap_or_default(),
            cursor: wire.cursor,
            prev: wire.prev,
            addressed: wire.addressed,
            replaced: wire.replaced,
            replay: wire.replay,
            raw: text.to_owned(),
        })));
    }
    let channel = || {
        wire.channel
            .clone()
            .ok_or_else(|| Error::Unexpected(format!("no channel in {text}")))
    };
    Ok(match wire.event.as_deref() {
        Some("connected") => ServerMessage::Connected {
            connected: typed(wire.data)?,
            cursor: wire.cursor,
        },
        Some("subscribed") => ServerMessage::Subscribed {
            channel: channel()?,
            data: text_of(wire.data),
        },
        Some("snapshot") => ServerMessage::Snapshot {
            channel: channel()?,
            cursor: wire
                .cursor
                .ok_or_else(|| Error::Unexpected("snapshot without cursor".into()))?,
            state: text_of(wire.data),
        },
        Some("caught_up") => ServerMessage::CaughtUp {
            channel: channel()?,
            cursor: wire
                .cursor
                .ok_or_else(|| Error::Unexpected("caught_up without cursor".into()))?,
        },
        Some("gap") => ServerMessage::Gap {
            channel: channel()?,
            gap: typed(wire.data)?,
        },
        Some("lagging") => ServerMessage::Lagging {
            channel: wire.channel,
        },
        Some("heartbeat") => ServerMessage::Heartbeat {
            cursor: wire.cursor,
        },
        Some("token_expiring") => {
            let data: serde_json::Value = typed(wire.data)?;
            ServerMessage::TokenExpiring {
                expires_at: data.get("expiresAt").and_then(serde_json::Value::as_i64),
            }
        }
        _ => ServerMessage::Other(text.to_owned()),
    })
}

fn text_of(data: Option<&RawValue>) -> String {
    data.map_or("null", RawValue::get).to_owned()
}

fn typed<T: for<'d> Deserialize<'d> + Default>(data: Option<&RawValue>) -> Result<T, Error> {
    match data {
        Some(data) => serde_json::from_str(data.get()).map_err(|error| {
            Error::Unexpected(format!("a control event that cannot be read ({error})"))
        }),
        None => Ok(T::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_bytes() {
        let text = r#"{"type":"event","channel":"session.1","event":"draw","id":"i","userId":null,"data":{"b":1.50,"a":[]},"timestamp":7,"cursor":"c","prev":null}"#;
        let ServerMessage::Event(event) = ServerMessage::parse(text).unwrap() else {
            panic!("no event")
        };
        assert_eq!(event.data, r#"{"b":1.50,"a":[]}"#);
        assert_eq!(event.raw, text);
        assert_eq!(
            (event.cursor.as_deref(), event.prev, event.user_id),
            (Some("c"), None, None)
        );
    }

    #[test]
    fn a_published_event_named_gap_is_an_event() {
        let text = r#"{"type":"event","channel":"session.1","event":"gap","id":"i","userId":"u","timestamp":7}"#;
        let ServerMessage::Event(event) = ServerMessage::parse(text).unwrap() else {
            panic!("no event")
        };
        assert_eq!((event.name.as_str(), event.data.as_str()), ("gap", "null"));
    }

    #[test]
    fn control_events_are_told_apart() {
        let parse = |text| ServerMessage::parse(text).unwrap();
        assert!(matches!(
            parse(
                r#"{"type":"event","event":"connected","data":{"connectionId":"x","expiresAt":5,"new":1}}"#
            ),
            ServerMessage::Connected {
                connected: Connected { expires_at: 5, .. },
                cursor: None
            }
        ));
        assert!(matches!(
            parse(
                r#"{"type":"event","channel":"a.b","event":"gap","data":{"from":null,"to":"x","reason":"retention"}}"#
            ),
            ServerMessage::Gap {
                gap: Gap { from: None, .. },
                ..
            }
        ));
        assert!(matches!(
            parse(r#"{"type":"event","event":"later"}"#),
            ServerMessage::Other(_)
        ));
        assert!(matches!(
            parse(r#"{"type":"later"}"#),
            ServerMessage::Other(_)
        ));
        assert!(ServerMessage::parse("{").is_err());
    }
}
