//! Reading one message: rules first, then type, then method, then parameters.
#![expect(
    clippy::result_large_err,
    reason = "a message that is understood is larger than a refusal, so boxing the refusal saves nothing"
)]

use serde_json::value::RawValue;

use schemas::json::{self, Fault};
use schemas::{Channel, EventName};

use super::fields::{self, Fields, Outside};
use super::rescue::{is_request_id, rescue};
use super::subscribe::parse_durable;
use super::{
    Call, History, KeptAck, MESSAGE_BYTES_MAX, Message, Publish, Refused, Snapshot, Subscribe,
};
use crate::ProtocolError;

/// Reads one message of a client: one JSON text without its newline.
///
/// # Errors
/// [`Refused`] with whatever of id and channel could be read; `INVALID_MESSAGE`, or
/// `MESSAGE_TOO_LARGE` over 65 536 bytes.
pub fn parse(line: &[u8]) -> Result<Message, Refused> {
    if line.len() > MESSAGE_BYTES_MAX {
        return Err(unreadable(
            line,
            ProtocolError::too_large(MESSAGE_BYTES_MAX),
            false,
        ));
    }
    if let Err(fault) = json::check_envelope(line) {
        let no_json = matches!(fault.fault, Fault::Syntax | Fault::Utf8 | Fault::Trailing);
        let error = ProtocolError::invalid(fault.to_string());
        return Err(unreadable(line, error, no_json));
    }
    let Ok(outside) = serde_json::from_slice::<Outside<'_>>(line) else {
        let error = ProtocolError::invalid("a message is an object");
        return Err(unreadable(line, error, true));
    };
    match kind(outside.kind).as_deref() {
        Some("request") => request(&outside),
        Some("event") => event(line, &outside),
        Some("response" | "error") => {
            let error = ProtocolError::invalid("only the server sends responses and errors");
            Err(unreadable(line, error, false))
        }
        _ => {
            let error = ProtocolError::invalid("type must be request, response, error or event");
            Err(unreadable(line, error, true))
        }
    }
}

/// Reads one publish as the body of a request, or one line of a batch: the params of the method.
///
/// # Errors
/// `INVALID_MESSAGE`, or `MESSAGE_TOO_LARGE` over 65 536 bytes.
pub fn parse_publish(body: &[u8]) -> Result<Publish, ProtocolError> {
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(ProtocolError::too_large(MESSAGE_BYTES_MAX));
    }
    json::check_envelope(body).map_err(|fault| ProtocolError::invalid(fault.to_string()))?;
    let fields: Fields<'_> = serde_json::from_slice(body)
        .map_err(|_| ProtocolError::invalid("a publish is an object"))?;
    let channel = fields::channel(fields.channel)?;
    Publish::read(&fields, channel)
}

/// Reads the body of `POST /api/realtime/ack`: `{"channel","cursor","durable"}`, all three.
///
/// # Errors
/// `INVALID_MESSAGE`, or `MESSAGE_TOO_LARGE` over 65 536 bytes.
pub fn parse_ack(body: &[u8]) -> Result<KeptAck, ProtocolError> {
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(ProtocolError::too_large(MESSAGE_BYTES_MAX));
    }
    json::check_envelope(body).map_err(|fault| ProtocolError::invalid(fault.to_string()))?;
    let fields: Fields<'_> = serde_json::from_slice(body)
        .map_err(|_| ProtocolError::invalid("an acknowledgement is an object"))?;
    let durable: String = fields::need(fields.durable, "durable", "a string")?;
    Ok(KeptAck {
        channel: fields::channel(fields.channel)?,
        cursor: fields::need(fields.cursor, "cursor", "a string")?,
        durable: parse_durable(&durable)?,
    })
}

fn kind(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

fn request(outside: &Outside<'_>) -> Result<Message, Refused> {
    let mut refused = Refused {
        id: None,
        channel: None,
        publish_id: None,
        error: ProtocolError::invalid("id must be a string of at most 64 characters"),
        malformed: false,
    };
    let id: Option<String> = match outside.id {
        None => None,
        Some(raw) => match serde_json::from_str::<String>(raw.get()) {
            Ok(id) if is_request_id(&id) => Some(id),
            _ => return Err(refused),
        },
    };
    refused.id.clone_from(&id);
    match call(outside, &mut refused.channel) {
        Ok(call) if id.is_some() || matches!(call, Call::Ack { .. }) => {
            Ok(Message::Request { id, call })
        }
        Ok(_) => {
            refused.error = ProtocolError::invalid("id is missing");
            Err(refused)
        }
        Err(error) => {
            refused.error = error;
            Err(refused)
        }
    }
}

/// `named` becomes the channel as soon as it is known, for the answer to a call that is refused.
fn call(outside: &Outside<'_>, named: &mut Option<String>) -> Result<Call, ProtocolError> {
    let method: String = fields::need(outside.method, "method", "a string")?;
    let fields: Fields<'_> = match outside.params {
        None => Fields::default(),
        Some(raw) if !raw.get().starts_with('{') => {
            return Err(fields::wrong("params", "an object"));
        }
        Some(raw) => {
            serde_json::from_str(raw.get()).map_err(|_| fields::wrong("params", "an object"))?
        }
    };
    let mut channel = || {
        let channel = fields::channel(fields.channel)?;
        *named = Some(channel.as_str().to_owned());
        Ok::<_, ProtocolError>(channel)
    };
    Ok(match method.as_str() {
        "connect" => Call::Connect {
            token: fields::need(fields.token, "token", "a string")?,
            name: fields::text(fields.name, "name")?,
            version: fields::text(fields.version, "version")?,
        },
        "refresh" => Call::Refresh {
            token: fields::need(fields.token, "token", "a string")?,
        },
        "ping" => Call::Ping,
        "subscribe" => Call::Subscribe(Subscribe::read(&fields, channel()?)?),
        "subscribe:job" => {
            let channel = alias("jobs", fields.job_id, "jobId", named)?;
            Call::Subscribe(Subscribe::read(&fields, channel)?)
        }
        "subscribe:presence" => {
            let channel = alias("presence", fields.document_id, "documentId", named)?;
            Call::Subscribe(Subscribe::read(&fields, channel)?)
        }
        "unsubscribe" => Call::Unsubscribe {
            channel: channel()?,
        },
        "publish" => Call::Publish(Publish::read(&fields, channel()?)?),
        "ack" => Call::Ack {
            channel: channel()?,
            cursor: fields::need(fields.cursor, "cursor", "a string")?,
        },
        "history" => Call::History(History::read(&fields, channel()?)?),
        "snapshot" => Call::Snapshot(Snapshot::read(&fields, channel()?)?),
        "presence.get" => Call::Unserved("presence.get"),
        "presence.update" | "presence:update" | "presence_update" => {
            Call::Unserved("presence.update")
        }
        "replay" => Call::Unserved("replay"),
        "replay.control" => Call::Unserved("replay.control"),
        "jobs.get" => Call::Unserved("jobs.get"),
        _ => return Err(ProtocolError::invalid("no such method")),
    })
}

fn alias(
    namespace: &str,
    raw: Option<&RawValue>,
    name: &str,
    named: &mut Option<String>,
) -> Result<Channel, ProtocolError> {
    let id: String = fields::need(raw, name, "a string")?;
    let channel = Channel::of(namespace, &id).map_err(|e| ProtocolError::invalid(e.to_string()))?;
    *named = Some(channel.as_str().to_owned());
    Ok(channel)
}

/// A publish without an answer, or a heartbeat.
fn event(line: &[u8], outside: &Outside<'_>) -> Result<Message, Refused> {
    if outside.channel.is_none() && is_heartbeat(outside.event) {
        return Ok(Message::Heartbeat);
    }
    let read = || {
        let fields: Fields<'_> = serde_json::from_slice(line)
            .map_err(|_| ProtocolError::invalid("a message is an object"))?;
        let channel = fields::channel(fields.channel)?;
        Publish::read(&fields, channel)
    };
    read()
        .map(Message::Publish)
        .map_err(|error| unreadable(line, error, false))
}

fn is_heartbeat(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| {
        serde_json::from_str::<String>(raw.get())
            .ok()
            .and_then(|name| EventName::parse(&name).ok())
            .is_some_and(|name| name.as_str() == "heartbeat")
    })
}

/// A refusal of a message as a whole, with what of it could be read.
fn unreadable(line: &[u8], error: ProtocolError, malformed: bool) -> Refused {
    let rescued = rescue(line);
    let channel = rescued.channel.filter(|name| Channel::parse(name).is_ok());
    if rescued.kind.as_deref() != Some("event") {
        return Refused {
            id: rescued.id,
            channel,
            publish_id: None,
            error,
            malformed,
        };
    }
    let publish_id = rescued.id;
    let error = match &publish_id {
        Some(id) => error.with_details(serde_json::json!({ "publishId": id })),
        None => error,
    };
    Refused {
        id: None,
        channel,
        publish_id,
        error,
        malformed,
    }
}
