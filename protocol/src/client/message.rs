//! Reading one message: rules first, then type, then method, then parameters.
#![expect(
    clippy::result_large_err,
    reason = "a message that is understood is larger than a refusal, so boxing the refusal saves nothing"
)]

use schemas::json::Fault;
use schemas::{Channel, EventName};

use super::fields::{self, Fields, Parts};
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
    let parts = match Parts::of(line) {
        Ok(Some(parts)) => parts,
        Ok(None) => {
            let error = ProtocolError::invalid("a message is an object");
            return Err(unreadable(line, error, true));
        }
        Err(fault) => {
            let no_json = matches!(fault.fault, Fault::Syntax | Fault::Utf8 | Fault::Trailing);
            let error = ProtocolError::invalid(fault.to_string());
            return Err(unreadable(line, error, no_json));
        }
    };
    match parts.top.kind.and_then(fields::string).as_deref() {
        Some("request") => request(&parts),
        Some("event") => event(line, &parts.top),
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
    let fields = body_fields(body, "a publish is an object")?;
    let channel = fields::channel(fields.channel)?;
    Publish::read(&fields, channel)
}

/// Reads the body of `POST /api/realtime/ack`: `{"channel","cursor","durable"}`, all three.
///
/// # Errors
/// `INVALID_MESSAGE`, or `MESSAGE_TOO_LARGE` over 65 536 bytes.
pub fn parse_ack(body: &[u8]) -> Result<KeptAck, ProtocolError> {
    let fields = body_fields(body, "an acknowledgement is an object")?;
    let durable = fields::need(fields.durable, "durable")?;
    Ok(KeptAck {
        channel: fields::channel(fields.channel)?,
        cursor: fields::need(fields.cursor, "cursor")?.into_owned(),
        durable: parse_durable(&durable)?,
    })
}

/// The members of a request's body; `rule` is what is said when it has none.
fn body_fields<'a>(body: &'a [u8], rule: &str) -> Result<Fields<'a>, ProtocolError> {
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(ProtocolError::too_large(MESSAGE_BYTES_MAX));
    }
    match Parts::of(body) {
        Ok(Some(parts)) => Ok(parts.top),
        Ok(None) => Err(ProtocolError::invalid(rule)),
        Err(fault) => Err(ProtocolError::invalid(fault.to_string())),
    }
}

fn request(parts: &Parts<'_>) -> Result<Message, Refused> {
    let refused = |id, channel: Option<Channel>, error| Refused {
        id,
        channel: channel.map(|channel| channel.as_str().to_owned()),
        publish_id: None,
        error,
        malformed: false,
    };
    let id = match parts.top.id.map(fields::string) {
        None => None,
        Some(Some(id)) if is_request_id(&id) => Some(id.into_owned()),
        Some(_) => {
            let error = ProtocolError::invalid("id must be a string of at most 64 characters");
            return Err(refused(None, None, error));
        }
    };
    let mut named = None;
    match call(parts, &mut named) {
        Ok(call) if id.is_some() || matches!(call, Call::Ack { .. }) => {
            Ok(Message::Request { id, call })
        }
        Ok(_) => Err(refused(id, named, ProtocolError::invalid("id is missing"))),
        Err(error) => Err(refused(id, named, error)),
    }
}

/// `named` becomes the channel as soon as it is known, for the answer to a call that is refused.
fn call(parts: &Parts<'_>, named: &mut Option<Channel>) -> Result<Call, ProtocolError> {
    let method = fields::need(parts.top.method, "method")?;
    if parts.top.params.is_some_and(|raw| !raw.starts_with('{')) {
        return Err(fields::wrong("params", "an object"));
    }
    let fields = &parts.params;
    let mut channel = || {
        let channel = fields::channel(fields.channel)?;
        *named = Some(channel.clone());
        Ok::<_, ProtocolError>(channel)
    };
    Ok(match &*method {
        "connect" => Call::Connect {
            token: fields::need(fields.token, "token")?.into_owned(),
            name: fields::owned(fields.name, "name")?,
            version: fields::owned(fields.version, "version")?,
        },
        "refresh" => Call::Refresh {
            token: fields::need(fields.token, "token")?.into_owned(),
        },
        "ping" => Call::Ping,
        "subscribe" => Call::Subscribe(Subscribe::read(fields, channel()?)?),
        "subscribe:job" => {
            let channel = alias("jobs", fields.job_id, "jobId", named)?;
            Call::Subscribe(Subscribe::read(fields, channel)?)
        }
        "subscribe:presence" => {
            let channel = alias("presence", fields.document_id, "documentId", named)?;
            Call::Subscribe(Subscribe::read(fields, channel)?)
        }
        "unsubscribe" => Call::Unsubscribe {
            channel: channel()?,
        },
        "publish" => Call::Publish(Publish::read(fields, channel()?)?),
        "ack" => Call::Ack {
            channel: channel()?,
            cursor: fields::need(fields.cursor, "cursor")?.into_owned(),
        },
        "history" => Call::History(History::read(fields, channel()?)?),
        "snapshot" => Call::Snapshot(Snapshot::read(fields, channel()?)?),
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
    raw: Option<&str>,
    name: &str,
    named: &mut Option<Channel>,
) -> Result<Channel, ProtocolError> {
    let id = fields::need(raw, name)?;
    let channel = Channel::of(namespace, &id).map_err(|e| ProtocolError::invalid(e.to_string()))?;
    *named = Some(channel.clone());
    Ok(channel)
}

/// A publish without an answer, or a heartbeat.
fn event(line: &[u8], fields: &Fields<'_>) -> Result<Message, Refused> {
    if fields.channel.is_none() && is_heartbeat(fields.event) {
        return Ok(Message::Heartbeat);
    }
    fields::channel(fields.channel)
        .and_then(|channel| Publish::read(fields, channel))
        .map(Message::Publish)
        .map_err(|error| unreadable(line, error, false))
}

fn is_heartbeat(raw: Option<&str>) -> bool {
    raw.and_then(fields::string)
        .and_then(|name| EventName::parse(&name).ok())
        .is_some_and(|name| name.as_str() == "heartbeat")
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
