//! An event becomes a record: the JSON form, which is what we write ourselves.

use bytes::Bytes;

use crate::json::plain;
use crate::{Event, Lane};

/// A record ready to be appended to `topics.of(&event.channel, event.lane)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The channel's id.
    pub key: Bytes,
    /// Names and values.
    pub headers: Vec<(&'static str, Bytes)>,
    /// The JSON form of protocol section 10. At most [`crate::VALUE_BYTES_MAX`] may be appended;
    /// the caller checks.
    pub value: Bytes,
}

/// Encodes an event; decoding the result at the same place gives the same event.
pub fn encode_json(event: &Event) -> Encoded {
    Encoded {
        key: Bytes::copy_from_slice(event.channel.id().as_bytes()),
        headers: headers(event),
        value: value(event),
    }
}

fn headers(event: &Event) -> Vec<(&'static str, Bytes)> {
    let mut headers = Vec::new();
    let mut add =
        |name, value: &str| headers.push((name, Bytes::copy_from_slice(value.as_bytes())));
    // The topic's own reading of the key, as `Topics::default_channel` has it.
    let told_by_key = match event.channel.namespace() {
        "session" => true,
        "jobs" => event.lane == Lane::Durable,
        _ => false,
    };
    if !told_by_key {
        add("rm-channel", event.channel.as_str());
    }
    if let Some(outbox) = &event.outbox {
        add("rm-producer", &outbox.producer);
        add("rm-epoch", &outbox.epoch.to_string());
        add("rm-seq", &outbox.seq.to_string());
    }
    if let Some(traceparent) = &event.traceparent {
        add("traceparent", traceparent);
    }
    headers
}

fn value(event: &Event) -> Bytes {
    let mut out = Vec::with_capacity(event.data.len() + 128);
    out.extend_from_slice(b"{\"event\":");
    text(&mut out, event.name.as_str());
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(&event.data);
    if event.id_given {
        out.extend_from_slice(b",\"id\":");
        text(&mut out, &event.id);
    }
    if let Some(user_id) = &event.user_id {
        out.extend_from_slice(b",\"userId\":");
        text(&mut out, user_id);
    }
    if let Some(to) = &event.to {
        out.extend_from_slice(b",\"to\":[");
        for (i, user_id) in to.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            text(&mut out, user_id);
        }
        out.push(b']');
    }
    out.push(b'}');
    out.into()
}

fn text(out: &mut Vec<u8>, text: &str) {
    // Most texts are names, which need no escapes.
    if plain(text.as_bytes(), 0) == text.len() {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    serde_json::to_writer(out, text).expect("a string always has a JSON text, a Vec always room");
}
