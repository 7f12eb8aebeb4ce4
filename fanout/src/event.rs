//! An accepted event as it is delivered: framed once, its bytes shared by every subscriber and transport.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use protocol::{Cursors, server};
use schemas::{Channel, Event};
use serde::Deserialize;
use serde_json::value::RawValue;
use state::{Entry, Fold};
use store::EventRow;

use crate::place::{Directory, Place};

/// The offset of events of the ephemeral lane, which have no place in any order.
pub(crate) const NO_OFFSET: i64 = -1;

/// One event, ready for every wire.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// Its offset in the partition; [`NO_OFFSET`] on the ephemeral lane.
    pub(crate) offset: i64,
    pub(crate) at_ms: i64,
    pub(crate) name: Box<str>,
    pub(crate) user: Option<Box<str>>,
    /// The users it is addressed to; `None`: everybody in the channel.
    pub(crate) to: Option<Box<[String]>>,
    /// Cursor of this event; empty on the ephemeral lane.
    pub(crate) cursor: Box<str>,
    /// The JSON of protocol section 3 and a newline: what WebSocket and NDJSON carry.
    line: Bytes,
    sse: OnceLock<Bytes>,
}

impl Delivered {
    /// The JSON object and its newline.
    pub(crate) fn line(&self) -> &Bytes {
        &self.line
    }

    /// Folds a durable event into a state. Its id and data are read back from its JSON: that is rare, and an event that
    /// is delivered to thousands carries nothing for it.
    pub(crate) fn fold_into(&self, fold: &mut Fold) {
        if !fold.is_moved() {
            return;
        }
        let frame: Frame<'_> =
            serde_json::from_slice(self.json()).expect("a frame that was written here");
        fold.apply(&Entry {
            offset: self.offset,
            at_ms: self.at_ms,
            id: &frame.id,
            name: &self.name,
            user: self.user.as_deref(),
            data: frame.data.get().as_bytes(),
        });
    }

    /// The JSON object alone.
    pub(crate) fn json(&self) -> &[u8] {
        &self.line[..self.line.len() - 1]
    }

    /// The block of a server-sent event whose `id` is the event's own cursor, built at first use and shared.
    pub(crate) fn sse(&self) -> &Bytes {
        self.sse
            .get_or_init(|| sse_block(Some(&self.cursor), &self.name, self.json()))
    }

    /// Bytes it occupies in a ring, about, counting both forms: it must not change while the event is there.
    pub(crate) fn weight(&self) -> usize {
        2 * self.line.len() + 192
    }

    pub(crate) fn is_ephemeral(&self) -> bool {
        self.offset == NO_OFFSET
    }

    /// Whether `user` may see it: everybody, or one of the addressed and nobody else.
    pub(crate) fn visible_to(&self, user: &str) -> bool {
        service::planted!("whisper_to_all", { return true });
        self.to
            .as_ref()
            .is_none_or(|to| to.iter().any(|u| u == user))
    }

    /// The same ephemeral event, saying how many older ones it stands for.
    pub(crate) fn replacing(&self, replaced: u64) -> Bytes {
        let mut line = Vec::with_capacity(self.line.len() + 24);
        line.extend_from_slice(&self.line[..self.line.len() - 2]);
        line.extend_from_slice(format!(",\"replaced\":{replaced}}}\n").as_bytes());
        Bytes::from(line)
    }
}

/// What of an event is in its JSON alone.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// A block of the event stream: `id`, `event`, `data` on one line each. The values hold no line breaks:
/// cursors and names by their alphabets, `data` because JSON of ours has no blanks outside strings and escapes inside.
pub(crate) fn sse_block(id: Option<&str>, name: &str, json: &[u8]) -> Bytes {
    let mut block = Vec::with_capacity(json.len() + name.len() + id.map_or(0, str::len) + 32);
    if let Some(id) = id {
        block.extend_from_slice(b"id: ");
        block.extend_from_slice(id.as_bytes());
        block.push(b'\n');
    }
    block.extend_from_slice(b"event: ");
    block.extend_from_slice(name.as_bytes());
    block.extend_from_slice(b"\ndata: ");
    block.extend_from_slice(json);
    block.extend_from_slice(b"\n\n");
    Bytes::from(block)
}

/// Builds the bytes of events, the same on every node and from every tier.
#[derive(Debug)]
pub(crate) struct Framer {
    pub(crate) cursors: Cursors,
    pub(crate) directory: Arc<Directory>,
}

impl Framer {
    /// An accepted record read from the log.
    pub(crate) fn accepted(
        &self,
        place: &Place,
        event: &Event,
        offset: i64,
        at_ms: i64,
        prev: Option<i64>,
    ) -> Arc<Delivered> {
        self.durable(
            place,
            Durable {
                channel: &event.channel,
                name: event.name.as_str(),
                id: &event.id,
                user: event.user_id.as_deref(),
                data: &event.data,
                to: event.to.as_deref(),
                offset,
                at_ms,
                prev,
            },
        )
    }

    /// A row of the store: the same bytes as when it was live.
    pub(crate) fn stored(&self, place: &Place, row: &EventRow) -> Arc<Delivered> {
        self.durable(
            place,
            Durable {
                channel: &row.channel,
                name: &row.name,
                id: &row.id,
                user: row.user_id.as_deref(),
                data: row.data.as_ref(),
                to: row.to.as_deref(),
                offset: row.offset,
                at_ms: row.at_ms,
                prev: service::planted!("store_forgets_prev", None => row.prev),
            },
        )
    }

    /// An event of the ephemeral lane: neither cursor nor prev.
    pub(crate) fn ephemeral(&self, event: &Event, at_ms: i64) -> Arc<Delivered> {
        let line = line_of(server::EventFrame {
            channel: event.channel.as_str(),
            event: event.name.as_str(),
            id: &event.id,
            user_id: event.user_id.as_deref(),
            data: &event.data,
            timestamp_ms: at_ms,
            cursor: None,
            prev: None,
            addressed: event.to.is_some(),
            replaced: None,
            replay: false,
        });
        Arc::new(Delivered {
            offset: NO_OFFSET,
            at_ms,
            name: event.name.as_str().into(),
            user: event.user_id.as_deref().map(Into::into),
            to: event.to.as_deref().map(Into::into),
            cursor: "".into(),
            line,
            sse: OnceLock::new(),
        })
    }

    /// The cursor of a position in a channel.
    pub(crate) fn cursor(&self, channel: &Channel, place: &Place, next: i64) -> String {
        self.cursors
            .encode(channel, self.directory.position(place, next))
    }

    fn durable(&self, place: &Place, event: Durable<'_>) -> Arc<Delivered> {
        let cursor = self.cursor(event.channel, place, event.offset + 1);
        let prev = event
            .prev
            .map(|offset| self.cursor(event.channel, place, offset + 1));
        let line = line_of(server::EventFrame {
            channel: event.channel.as_str(),
            event: event.name,
            id: event.id,
            user_id: event.user,
            data: event.data,
            timestamp_ms: event.at_ms,
            cursor: Some(&cursor),
            prev: prev.as_deref(),
            addressed: event.to.is_some(),
            replaced: None,
            replay: false,
        });
        Arc::new(Delivered {
            offset: event.offset,
            at_ms: event.at_ms,
            name: event.name.into(),
            user: event.user.map(Into::into),
            to: event.to.map(Into::into),
            cursor: cursor.into(),
            line,
            sse: OnceLock::new(),
        })
    }
}

/// What the two sources of durable events have in common.
struct Durable<'a> {
    channel: &'a Channel,
    name: &'a str,
    id: &'a str,
    user: Option<&'a str>,
    data: &'a [u8],
    to: Option<&'a [String]>,
    offset: i64,
    at_ms: i64,
    prev: Option<i64>,
}

fn line_of(frame: server::EventFrame<'_>) -> Bytes {
    let mut line = server::event(&frame);
    line.push(b'\n');
    Bytes::from(line)
}

#[cfg(test)]
impl Delivered {
    /// An event for tests of rings and subscriptions.
    pub(crate) fn sample(offset: i64, name: &str, to: Option<&[&str]>) -> Arc<Self> {
        Arc::new(Self {
            offset,
            at_ms: offset,
            name: name.into(),
            user: None,
            to: to.map(|to| to.iter().map(|u| (*u).to_owned()).collect()),
            cursor: "".into(),
            line: Bytes::from(format!("{{\"n\":{offset}}}\n")),
            sse: OnceLock::new(),
        })
    }
}
