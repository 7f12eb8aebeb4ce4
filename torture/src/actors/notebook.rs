//! What a reader writes down, in the order in which it comes.

use std::collections::HashMap;

use client::{Error, Event, Gap, ServerMessage};

use super::Desk;
use crate::evidence::{
    Book, Cursor, Frame, Note, Noted, Reading, Since, Started, Stray, Transport,
};
use crate::workload::END;

/// Frames that fit nothing are kept up to here; one is a defect already.
const STRAYS_MAX: usize = 100;

/// A reader's book in the making.
#[derive(Debug)]
pub(super) struct Notebook {
    desk: Desk,
    book: Book,
    transport: Transport,
    user: String,
    /// What is being read now, by channel.
    open: HashMap<String, Place>,
}

/// Where one reading stands.
#[derive(Debug, Clone)]
struct Place {
    reading: usize,
    position: Option<String>,
    asked: bool,
    ended: bool,
}

/// What a reader wants of a channel.
#[derive(Debug, Clone)]
pub(super) struct Want {
    pub(super) channel: String,
    pub(super) since: Since,
    pub(super) types: Vec<String>,
    pub(super) window: Option<u32>,
    pub(super) durable: Option<String>,
    pub(super) snapshot: bool,
}

impl Want {
    /// Everything of a channel from `since`.
    pub(super) fn all(channel: impl Into<String>, since: Since) -> Want {
        Want {
            channel: channel.into(),
            since,
            types: Vec::new(),
            window: None,
            durable: None,
            snapshot: false,
        }
    }
}

impl Notebook {
    pub(super) fn new(desk: &Desk, actor: &str, user: &str, transport: Transport) -> Notebook {
        Notebook {
            desk: desk.clone(),
            book: Book {
                actor: actor.into(),
                ..Book::default()
            },
            transport,
            user: user.to_owned(),
            open: HashMap::new(),
        }
    }

    /// Begins a new reading of a channel; an older one of the same channel gets nothing any more.
    pub(super) fn begin(&mut self, want: &Want) {
        let number = |text: &str| self.desk.names.number(text);
        let types = want
            .types
            .iter()
            .map(|name| number(name))
            .collect::<Vec<_>>();
        self.book.readings.push(Reading {
            channel: number(&want.channel),
            user: number(&self.user),
            transport: self.transport,
            types: (!types.is_empty()).then(|| types.into_boxed_slice()),
            window: want.window,
            durable: want.durable.as_deref().map(number),
            finished: false,
            notes: Vec::new(),
        });
        let place = Place {
            reading: self.book.readings.len() - 1,
            position: None,
            asked: false,
            ended: false,
        };
        self.open.insert(want.channel.clone(), place);
    }

    /// The cursor to go on from, when there is one.
    pub(super) fn position(&self, channel: &str) -> Option<&str> {
        self.open.get(channel)?.position.as_deref()
    }

    /// Whether the last event has come.
    pub(super) fn ended(&self, channel: &str) -> bool {
        self.open.get(channel).is_some_and(|place| place.ended)
    }

    /// Whether it has come everywhere.
    pub(super) fn all_ended(&self) -> bool {
        self.open.values().all(|place| place.ended)
    }

    pub(super) fn asked(&mut self, channel: &str, since: Since) {
        if let Some(place) = self.open.get_mut(channel) {
            place.asked = true;
        }
        self.note(channel, Note::Asked(since));
    }

    pub(super) fn started(&mut self, channel: &str, started: Started) {
        if let (Some(cursor), Some(place)) = (started.cursor, self.open.get_mut(channel)) {
            place.position = Some(cursor.to_string());
        }
        self.note(channel, Note::Started(Box::new(started)));
    }

    /// The session of every channel that was asked for has ended.
    pub(super) fn session_over(&mut self, note: &Note) {
        let asked: Vec<String> = self
            .open
            .iter()
            .filter(|(_, place)| place.asked && !place.ended)
            .map(|(channel, _)| channel.clone())
            .collect();
        for channel in asked {
            self.channel_over(&channel, note.clone());
        }
    }

    /// The session of one channel has ended.
    pub(super) fn channel_over(&mut self, channel: &str, note: Note) {
        if let Some(place) = self.open.get_mut(channel) {
            place.asked = false;
        }
        self.note(channel, note);
    }

    /// How a session ended, from the client's error.
    pub(super) fn end_of(&self, error: &Error, close: Option<(u16, &str)>) -> Note {
        let number = |text: &str| self.desk.names.number(text);
        match (close, error) {
            (Some((code, reason)), _) => Note::Closed {
                code,
                reason: number(reason.split(':').next().unwrap_or_default()),
                cursor: reason.split([' ', ':']).find_map(Cursor::parse),
            },
            (None, Error::Refused(refusal)) => Note::Closed {
                code: 0,
                reason: number(&refusal.name),
                cursor: None,
            },
            _ => Note::Cut,
        }
    }

    /// Takes what any transport gives. False for what only some transports have: the caller looks at it.
    pub(super) fn take(&mut self, message: &ServerMessage) -> bool {
        match message {
            ServerMessage::Event(event) => self.event(event),
            ServerMessage::Gap { channel, gap } => self.gap(channel, gap),
            ServerMessage::CaughtUp { channel, cursor } => self.caught_up(channel, cursor),
            ServerMessage::Lagging {
                channel: Some(channel),
            } => self.note(channel, Note::Lagging),
            _ => return false,
        }
        true
    }

    pub(super) fn event(&mut self, event: &Event) {
        let Some(place) = self.open.get_mut(&event.channel) else {
            return self.stray("an event of a channel that was not asked for", &event.raw);
        };
        if !place.asked {
            return self.stray("an event after the end of its session", &event.raw);
        }
        let Some(seen) = Frame::parse(&event.raw).and_then(|frame| frame.seen(&event.raw)) else {
            return self.stray("an event without a cursor that can be read", &event.raw);
        };
        place.position.clone_from(&event.cursor);
        place.ended |= event.name == END;
        let (reading, ended) = (place.reading, place.ended);
        let at = self.desk.clock.now();
        let reading = &mut self.book.readings[reading];
        reading.finished |= ended;
        reading.notes.push(Noted {
            at,
            note: Note::Event(seen),
        });
    }

    pub(super) fn gap(&mut self, channel: &str, gap: &Gap) {
        let cursor = |text: &Option<String>| text.as_deref().and_then(Cursor::parse);
        let note = Note::Gap {
            from: cursor(&gap.from),
            to: cursor(&gap.to),
            reason: self.desk.names.number(&gap.reason),
        };
        if let (Some(to), Some(place)) = (&gap.to, self.open.get_mut(channel)) {
            place.position = Some(to.clone());
        }
        self.note(channel, note);
    }

    fn caught_up(&mut self, channel: &str, cursor: &str) {
        let parsed = Cursor::parse(cursor);
        if let (Some(_), Some(place)) = (parsed, self.open.get_mut(channel)) {
            place.position = Some(cursor.to_owned());
        }
        self.note(channel, Note::CaughtUp(parsed));
    }

    pub(super) fn note(&mut self, channel: &str, note: Note) {
        let at = self.desk.clock.now();
        match self.open.get(channel) {
            Some(place) => self.book.readings[place.reading]
                .notes
                .push(Noted { at, note }),
            None => self.stray("a message about a channel that was not asked for", channel),
        }
    }

    pub(super) fn stray(&mut self, why: &str, frame: &str) {
        if self.book.strays.len() < STRAYS_MAX {
            self.book.strays.push(Stray {
                at: self.desk.clock.now(),
                why: why.into(),
                frame: frame.chars().take(400).collect(),
            });
        }
    }

    pub(super) fn close(self) -> Book {
        self.book
    }
}
