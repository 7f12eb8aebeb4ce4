//! What the server says: one function per message, each giving the bytes of one message without a
//! newline.
//!
//! Bytes are written straight into one buffer. An event's frame is made once and shared by all its
//! readers, and `data` goes through untouched, so every transport, node and tier says the same bytes.

mod state;
mod text;

use serde_json::Value;

use crate::ProtocolError;
use text::Object;

pub use state::{Subscription, snapshot, snapshot_event, subscription};

/// The name of this protocol, as offered and answered in `Sec-WebSocket-Protocol`.
pub const PROTOCOL: &str = "rivermouth.v1";

/// One event for its readers.
#[derive(Debug, Clone, Copy)]
pub struct EventFrame<'a> {
    /// Where it happened.
    pub channel: &'a str,
    /// What happened.
    pub event: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Who did it; null on the wire when unknown.
    pub user_id: Option<&'a str>,
    /// Compact JSON text, copied as it is.
    pub data: &'a [u8],
    /// Its time in the log, Unix milliseconds.
    pub timestamp_ms: i64,
    /// Its cursor; `None` on the ephemeral lane, which then has no `prev` either.
    pub cursor: Option<&'a str>,
    /// The cursor of the event before it that every reader may see; null for the first.
    pub prev: Option<&'a str>,
    /// Whether it was sent to some users only.
    pub addressed: bool,
    /// How many ephemeral events it stands for besides itself.
    pub replaced: Option<u64>,
    /// Whether it is part of a replay.
    pub replay: bool,
}

impl EventFrame<'_> {
    /// How many bytes it becomes when nothing needs escaping, so that the buffer is neither grown
    /// nor left half empty: the frame stays in memory as long as its event does.
    fn size(&self) -> usize {
        let quoted = |text: Option<&str>| text.map_or(4, |t| t.len() + 2);
        let mut size =
            r#"{"type":"event","channel":"","event":"","id":"","userId":,"data":,"timestamp":}"#
                .len()
                + self.channel.len()
                + self.event.len()
                + self.id.len()
                + quoted(self.user_id)
                + self.data.len()
                + text::digits(self.timestamp_ms.unsigned_abs())
                + usize::from(self.timestamp_ms < 0);
        if self.cursor.is_some() {
            size += r#","cursor":,"prev":"#.len() + quoted(self.cursor) + quoted(self.prev);
        }
        if self.addressed {
            size += r#","addressed":true"#.len();
        }
        if let Some(n) = self.replaced {
            size += r#","replaced":"#.len() + text::digits(n);
        }
        if self.replay {
            size += r#","replay":true"#.len();
        }
        size
    }
}

/// `{"type":"event","channel","event","id","userId","data","timestamp","cursor"?,"prev"?,
/// "addressed"?,"replaced"?,"replay"?}`.
pub fn event(frame: &EventFrame<'_>) -> Vec<u8> {
    let mut out = Object::with_capacity(frame.size());
    out.text("type", "event");
    out.text("channel", frame.channel);
    out.text("event", frame.event);
    out.text("id", frame.id);
    out.maybe_text("userId", frame.user_id);
    out.raw("data", frame.data);
    out.number("timestamp", frame.timestamp_ms);
    if let Some(cursor) = frame.cursor {
        out.text("cursor", cursor);
        out.maybe_text("prev", frame.prev);
    }
    if frame.addressed {
        out.raw("addressed", b"true");
    }
    if let Some(n) = frame.replaced {
        out.raw("replaced", n.to_string().as_bytes());
    }
    if frame.replay {
        out.raw("replay", b"true");
    }
    out.end()
}

/// What a connection is told first.
#[derive(Debug, Clone, Copy)]
pub struct Connected<'a> {
    /// This connection's id.
    pub connection_id: &'a str,
    /// Whose connection it is.
    pub user_id: &'a str,
    /// Which node answers.
    pub node: &'a str,
    /// Silence in milliseconds after which the server pings.
    pub heartbeat_interval_ms: u64,
    /// Silence in milliseconds after which a connection is dead.
    pub heartbeat_timeout_ms: u64,
    /// Largest message in bytes.
    pub message_bytes_max: usize,
    /// When the token expires, Unix milliseconds.
    pub expires_at_ms: i64,
    /// Now, Unix milliseconds.
    pub now_ms: i64,
    /// On streams: the stream cursor of the start.
    pub cursor: Option<&'a str>,
}

impl Connected<'_> {
    /// The member `data`, which is also the response of `connect`.
    pub fn data(&self) -> Vec<u8> {
        let mut out = Object::with_capacity(256);
        out.text("connectionId", self.connection_id);
        out.text("userId", self.user_id);
        out.text("node", self.node);
        out.text("protocol", PROTOCOL);
        out.raw(
            "heartbeatInterval",
            self.heartbeat_interval_ms.to_string().as_bytes(),
        );
        out.raw(
            "heartbeatTimeout",
            self.heartbeat_timeout_ms.to_string().as_bytes(),
        );
        out.raw(
            "maxMessageBytes",
            self.message_bytes_max.to_string().as_bytes(),
        );
        out.number("expiresAt", self.expires_at_ms);
        out.end()
    }
}

/// The event `connected`; with a cursor on streams.
pub fn connected(hello: &Connected<'_>) -> Vec<u8> {
    let mut out = control("connected");
    out.raw("data", &hello.data());
    out.number("timestamp", hello.now_ms);
    if let Some(cursor) = hello.cursor {
        out.text("cursor", cursor);
    }
    out.end()
}

/// `{"type":"response","id","data"}`.
pub fn response(id: &str, data: &Value) -> Vec<u8> {
    let mut out = Object::with_capacity(256);
    out.text("type", "response");
    out.text("id", id);
    out.value("data", data);
    out.end()
}

/// A response whose data is JSON text already: what [`history`], [`snapshot`], [`subscription`] and
/// [`Connected::data`] give.
pub fn response_raw(id: &str, data: &[u8]) -> Vec<u8> {
    let mut out = Object::with_capacity(64 + id.len() + data.len());
    out.text("type", "response");
    out.text("id", id);
    out.raw("data", data);
    out.end()
}

/// `{"type":"error","id"?,"channel"?,"error","timestamp"}`.
pub fn error(
    id: Option<&str>,
    channel: Option<&str>,
    error: &ProtocolError,
    now_ms: i64,
) -> Vec<u8> {
    let mut out = Object::with_capacity(256);
    out.text("type", "error");
    if let Some(id) = id {
        out.text("id", id);
    }
    if let Some(channel) = channel {
        out.text("channel", channel);
    }
    out.raw("error", &error_text(error));
    out.number("timestamp", now_ms);
    out.end()
}

/// The body of an HTTP refusal: `{"error","channel"?,"timestamp"}`.
pub fn error_body(error: &ProtocolError, channel: Option<&str>, now_ms: i64) -> Vec<u8> {
    let mut out = Object::with_capacity(256);
    out.raw("error", &error_text(error));
    if let Some(channel) = channel {
        out.text("channel", channel);
    }
    out.number("timestamp", now_ms);
    out.end()
}

/// One answer line of an HTTP batch that failed: `{"error","id"?}`.
pub fn error_line(error: &ProtocolError, id: Option<&str>) -> Vec<u8> {
    let mut out = Object::with_capacity(256);
    out.raw("error", &error_text(error));
    if let Some(id) = id {
        out.text("id", id);
    }
    out.end()
}

/// Everything since `since` has been sent: the position reached.
pub fn caught_up(channel: &str, cursor: &str) -> Vec<u8> {
    let mut out = control_in("caught_up", channel);
    out.text("cursor", cursor);
    out.end()
}

/// Why a part of the history is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// Every tier's retention has passed it.
    Retention,
    /// The topic was made anew.
    Epoch,
    /// It was erased on purpose.
    Erased,
    /// The log was cut.
    Truncated,
}

impl GapReason {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            GapReason::Retention => "retention",
            GapReason::Epoch => "epoch",
            GapReason::Erased => "erased",
            GapReason::Truncated => "truncated",
        }
    }
}

/// A range that cannot be had: after `from` (null: from the beginning) up to and including `to`
/// (null: unknown).
pub fn gap(channel: &str, from: Option<&str>, to: Option<&str>, reason: GapReason) -> Vec<u8> {
    let mut out = control_in("gap", channel);
    out.raw("data", &gap_data(from, to, reason));
    out.end()
}

/// `{"from","to","reason"}`: the data of [`gap`], and the member `gap` of history and poll.
pub fn gap_data(from: Option<&str>, to: Option<&str>, reason: GapReason) -> Vec<u8> {
    let mut out = Object::with_capacity(96);
    out.maybe_text("from", from);
    out.maybe_text("to", to);
    out.text("reason", reason.as_str());
    out.end()
}

/// The reader has fallen behind and now reads the log at its own pace.
pub fn lagging(channel: &str) -> Vec<u8> {
    control_in("lagging", channel).end()
}

/// The node cannot tell whether it has everything: what the log held at `since_ms` (Unix ms) was the last that is known
/// to have been read. The subscription stands, and nothing is lost.
pub fn stale(channel: &str, since_ms: i64, now_ms: i64) -> Vec<u8> {
    let mut data = Object::with_capacity(32);
    data.number("since", since_ms);
    let mut out = control_in("stale", channel);
    out.raw("data", &data.end());
    out.number("timestamp", now_ms);
    out.end()
}

/// The end of [`stale`]: the log is read as it grows again.
pub fn fresh(channel: &str, now_ms: i64) -> Vec<u8> {
    let mut out = control_in("fresh", channel);
    out.number("timestamp", now_ms);
    out.end()
}

/// A sign of life; on streams with the stream cursor, so that quiet streams advance.
pub fn heartbeat(now_ms: i64, cursor: Option<&str>) -> Vec<u8> {
    let mut out = control("heartbeat");
    out.number("timestamp", now_ms);
    if let Some(cursor) = cursor {
        out.text("cursor", cursor);
    }
    out.end()
}

/// The subscription a path like `/ws/session/{id}` made; `data` is [`subscription`].
pub fn subscribed(channel: &str, data: &[u8]) -> Vec<u8> {
    let mut out = control_in("subscribed", channel);
    out.raw("data", data);
    out.end()
}

/// The token runs out at `expires_at_ms`.
pub fn token_expiring(expires_at_ms: i64) -> Vec<u8> {
    let mut data = Object::with_capacity(32);
    data.number("expiresAt", expires_at_ms);
    let mut out = control("token_expiring");
    out.raw("data", &data.end());
    out.end()
}

/// A page of history, `{"events","next","complete","gap"?}`: the body over HTTP, the data of a
/// response. `events` are frames of [`event`], `gap` is [`gap_data`].
pub fn history<E: AsRef<[u8]>>(
    events: &[E],
    next: Option<&str>,
    complete: bool,
    gap: Option<&[u8]>,
) -> Vec<u8> {
    let mut out = Object::with_capacity(96 + list_len(events));
    out.list("events", events);
    out.maybe_text("next", next);
    out.raw("complete", if complete { b"true" } else { b"false" });
    if let Some(gap) = gap {
        out.raw("gap", gap);
    }
    out.end()
}

/// The answer of a poll, `{"events","cursor","gap"?}`. `gap` is [`gap_data`].
pub fn poll<E: AsRef<[u8]>>(events: &[E], cursor: &str, gap: Option<&[u8]>) -> Vec<u8> {
    let mut out = Object::with_capacity(96 + cursor.len() + list_len(events));
    out.list("events", events);
    out.text("cursor", cursor);
    if let Some(gap) = gap {
        out.raw("gap", gap);
    }
    out.end()
}

/// As [`ProtocolError::to_value`], with its members in the order of the protocol.
fn error_text(error: &ProtocolError) -> Vec<u8> {
    let mut out = Object::with_capacity(160 + error.message.len());
    out.number("code", i64::from(error.name.code()));
    out.text("name", error.name.as_str());
    out.text("message", &error.message);
    if let Some(legacy) = error.name.legacy() {
        out.text("legacy", legacy);
    }
    out.raw(
        "retryable",
        if error.name.retryable() {
            b"true"
        } else {
            b"false"
        },
    );
    if let Some(ms) = error.retry_after_ms {
        out.raw("retryAfterMs", ms.to_string().as_bytes());
    }
    if let Some(details) = &error.details {
        out.value("details", details);
    }
    out.end()
}

fn list_len<E: AsRef<[u8]>>(items: &[E]) -> usize {
    items.iter().map(|i| i.as_ref().len() + 1).sum()
}

fn control(event: &str) -> Object {
    let mut out = Object::with_capacity(128);
    out.text("type", "event");
    out.text("event", event);
    out
}

fn control_in(event: &str, channel: &str) -> Object {
    let mut out = Object::with_capacity(128 + channel.len());
    out.text("type", "event");
    out.text("channel", channel);
    out.text("event", event);
    out
}

#[cfg(test)]
mod tests;
