//! What everybody wrote down: the only thing, beside the log and the tables, that the judge looks at.
//!
//! Every actor owns one [`Book`] and gives it back when it ends, so nothing here is shared or locked while the
//! run is on. A run of an hour has millions of entries: payloads are kept as hashes, names as numbers
//! ([`Names`]), times as milliseconds since the start ([`Clock`]), cursors as the 18 bytes they stand for.
//!
//! A reader notes, in the order in which it happened: [`Note::Asked`] for every subscribe, connect or poll, then
//! [`Note::Started`] once it is answered, then everything that comes, then how the session ended. Nothing is
//! left out and nothing is corrected: a reader that drops a repeated event hides a defect.

mod cursor;
mod frame;
mod names;

use std::sync::Arc;

pub use cursor::Cursor;
pub(crate) use frame::fact as frame_fact;
pub use frame::{Frame, data_hash, hash};
pub use names::{Clock, Name, Names};

/// Everything that was written down in one run.
#[derive(Debug, Default)]
pub struct Evidence {
    /// What the numbers stand for.
    pub names: Arc<Names>,
    /// One per actor.
    pub books: Vec<Book>,
    /// What was done to the world, in order of time.
    pub faults: Vec<Fault>,
}

/// What one actor wrote down.
#[derive(Debug, Default)]
pub struct Book {
    /// Who it is, for people: `ws-slow-3`.
    pub actor: Box<str>,
    /// Everything it sent, each attempt by itself, in the order of sending.
    pub publishes: Vec<Publish>,
    /// One per channel that it reads.
    pub readings: Vec<Reading>,
    /// Pages of history.
    pub pages: Vec<Page>,
    /// Snapshots asked for by themselves (those of a subscribe are in [`Note::Started`]).
    pub snapshots: Vec<Snapshot>,
    /// Frames that fit nothing the actor asked for, such as an event of another channel: each is a violation.
    pub strays: Vec<Stray>,
}

/// One attempt to publish.
#[derive(Debug, Clone)]
pub struct Publish {
    /// When it was sent.
    pub at: u32,
    /// When it was answered, or given up.
    pub told_at: u32,
    /// The channel.
    pub channel: Name,
    /// The event's name.
    pub event: Name,
    /// As whom; none for a backend that names nobody.
    pub user: Option<Name>,
    /// Its id, when the publisher gave one.
    pub id: Option<Box<str>>,
    /// [`data_hash`] of what was sent.
    pub data: u64,
    /// Its outbox identity.
    pub outbox: Option<Outbox>,
    /// Whether it names addressees.
    pub addressed: bool,
    /// Whether it is a record that nobody may take (written to Kafka directly).
    pub poison: bool,
    /// What came of it, as far as the publisher knows.
    pub told: Told,
}

/// An outbox's identity within a channel and user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Outbox {
    /// The producer's name.
    pub producer: Name,
    /// Its epoch.
    pub epoch: u64,
    /// Its number.
    pub seq: u64,
}

/// The answer to a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Rivermouth acknowledged it.
    Acked {
        /// With this cursor; a duplicate's may be unknown.
        cursor: Option<Cursor>,
        /// As the duplicate of an earlier one.
        duplicate: bool,
    },
    /// Kafka acknowledged it to a backend that produces by itself.
    Stored {
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
    /// Kafka acknowledged it to a backend that does not say where (kcat).
    Delivered,
    /// Refused, with the name of the error (`TIMEOUT` is [`Told::Unknown`], as is any 5xx without a name).
    Refused(Name),
    /// Nobody knows: no answer, a cut connection, `TIMEOUT`, a delivery error of librdkafka.
    Unknown,
}

/// One actor's reading of one channel, over all its connections.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The channel.
    pub channel: Name,
    /// As whom.
    pub user: Name,
    /// Over what.
    pub transport: Transport,
    /// Only these events, when it asked for a selection.
    pub types: Option<Box<[Name]>>,
    /// Most unacknowledged events, when it asked for a window.
    pub window: Option<u32>,
    /// The name under which its cursor is kept, when it asked for that.
    pub durable: Option<Name>,
    /// Whether it was still reading when the world had healed and the log had been read to its end: then it
    /// must have everything.
    pub finished: bool,
    /// What happened, in order.
    pub notes: Vec<Noted>,
}

/// How events come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket.
    Socket,
    /// Server-sent events.
    Sse,
    /// Newline-delimited JSON.
    Stream,
    /// Polling; each poll is one [`Note::Asked`].
    Poll,
}

/// A note and when it was made.
#[derive(Debug, Clone)]
pub struct Noted {
    /// Milliseconds since the start.
    pub at: u32,
    /// What happened.
    pub note: Note,
}

/// What can happen to a reader.
#[derive(Debug, Clone)]
pub enum Note {
    /// It asked (for the first time, again, or elsewhere).
    Asked(Since),
    /// It was answered. Streams: at `connected`; polls: with the page, before its events.
    Started(Box<Started>),
    /// An event of the durable lane.
    Event(Seen),
    /// A gap was told.
    Gap {
        /// The first place that is gone; none: the channel's beginning.
        from: Option<Cursor>,
        /// Where it ends; none when it was not said.
        to: Option<Cursor>,
        /// The reason.
        reason: Name,
    },
    /// `caught_up`, with its cursor when the frame has one of this channel.
    CaughtUp(Option<Cursor>),
    /// `lagging`.
    Lagging,
    /// It sent an acknowledgement.
    AckSent(Cursor),
    /// An acknowledgement was answered: it is kept.
    AckKept(Cursor),
    /// The session ended with an answer: a close code, a status, an error's name; and the reason's cursor.
    Closed {
        /// A WebSocket close code or HTTP status; 0 without.
        code: u16,
        /// The error's name or the reason.
        reason: Name,
        /// The cursor that a 3008 names.
        cursor: Option<Cursor>,
    },
    /// The session ended without a word, or the reader ended it.
    Cut,
}

/// From where a reader asked to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The head.
    Latest,
    /// The beginning.
    Earliest,
    /// Exactly after this cursor of the channel.
    Cursor(Cursor),
    /// After what this reading has received last, by a cursor (of a stream, of a poll) that cannot be read here.
    /// In a reading that has nothing yet: where it asked from before.
    Continue,
    /// The first event with this time or later.
    Time(i64),
    /// The last n events.
    Last(u32),
    /// Where the kept cursor of [`Reading::durable`] stands (`since` was `earliest` in case there is none).
    Kept,
}

/// The answer to a subscribe.
#[derive(Debug, Clone, Default)]
pub struct Started {
    /// The position of the start; none when it cannot be read (a stream of several channels).
    pub cursor: Option<Cursor>,
    /// `recovered`, where the transport says it.
    pub recovered: Option<bool>,
    /// `wasRecovering`, where the transport says it.
    pub was_recovering: Option<bool>,
    /// The state's JSON, when a snapshot came with it.
    pub snapshot: Option<Box<str>>,
}

/// An event as it came.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Its cursor.
    pub cursor: Cursor,
    /// The cursor of the event before it.
    pub prev: Option<Cursor>,
    /// Hash of its bytes as they came.
    pub raw: u64,
    /// Hash of what it says: see [`Frame::fact`].
    pub fact: u64,
    /// Whether it says that it is addressed.
    pub addressed: bool,
}

/// A page of history.
#[derive(Debug, Clone)]
pub struct Page {
    /// When it was asked for.
    pub at: u32,
    /// The channel.
    pub channel: Name,
    /// As whom.
    pub user: Name,
    /// The cursor given as `after`.
    pub after: Option<Cursor>,
    /// The cursor given as `before`.
    pub before: Option<Cursor>,
    /// The limit asked for.
    pub limit: u32,
    /// Newest first.
    pub descending: bool,
    /// What came, in the order of the page.
    pub events: Vec<Seen>,
    /// The answer's `next`.
    pub next: Option<Cursor>,
    /// The answer's `complete`.
    pub complete: bool,
    /// Whether it told a gap.
    pub gap: bool,
}

/// A snapshot asked for by itself.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was asked for.
    pub at: u32,
    /// The channel.
    pub channel: Name,
    /// The cursor it was asked for; none: the present.
    pub asked: Option<Cursor>,
    /// The cursor of the answer.
    pub cursor: Cursor,
    /// The state's JSON.
    pub state: Box<str>,
}

/// A frame that should not have come.
#[derive(Debug, Clone)]
pub struct Stray {
    /// When it came.
    pub at: u32,
    /// What is wrong with it.
    pub why: Box<str>,
    /// The frame, cut to some hundred characters.
    pub frame: Box<str>,
}

/// Something that was done to the world.
#[derive(Debug, Clone)]
pub struct Fault {
    /// From when.
    pub at: u32,
    /// Until when.
    pub until: u32,
    /// What, for people: `kill -9 fanout-2`.
    pub what: Box<str>,
}
