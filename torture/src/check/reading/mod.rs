//! What one reader got of one channel, against the channel's events.
//!
//! A reader's sessions are gone through note by note. At every moment the judge knows where the next event must
//! be: exactly, or, after a start at a head that nobody saw, between two places.

mod start;

use std::collections::VecDeque;

use super::case::Case;
use super::frames::Frames;
use super::log::{Channel, Event};
use super::verdict::{Suspect, Verdict};
use crate::evidence::{Cursor, Name, Note, Reading, Seen, Since, Started};

/// The next event lies at `low` or after it, and none that lies at `high` or after it may have been left out
/// before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    low: i64,
    high: i64,
}

impl Expected {
    fn at(offset: i64) -> Expected {
        Expected {
            low: offset,
            high: offset,
        }
    }

    const ANYWHERE: Expected = Expected {
        low: 0,
        high: i64::MAX,
    };
}

/// One subscribe and what came of it.
#[derive(Debug, Clone, Copy)]
struct Session<'a> {
    since: Since,
    asked_at: u32,
    started: Option<&'a Started>,
    gap_told: bool,
    /// The gap was told before any event.
    gap_first: bool,
    /// An event or `caught_up` came: what `recovered` speaks of is over.
    under_way: bool,
    caught_up: bool,
    /// A gap was told without its end: what it took is judged when the next event comes.
    open_gap: bool,
}

/// Goes through one reading.
pub(super) struct Judge<'a, 'v> {
    pub(super) case: &'a Case<'a>,
    pub(super) frames: &'v mut Frames,
    pub(super) verdict: &'v mut Verdict,
    pub(super) actor: &'a str,
    pub(super) reading: &'a Reading,
    /// Numbers of the book and of the reading, for stories.
    pub(super) number: (usize, usize),
}

/// What is known at a note.
struct State<'a> {
    channel: &'a Channel,
    expected: Expected,
    session: Session<'a>,
    unacked: VecDeque<i64>,
    kept: Expected,
    note: usize,
    at: u32,
}

impl<'a> Judge<'a, '_> {
    /// Checks every note.
    pub(super) fn run(mut self) {
        let channel = self.case.events(self.reading.channel);
        let mut state = State {
            channel,
            expected: Expected::ANYWHERE,
            session: Session {
                since: Since::Latest,
                asked_at: 0,
                started: None,
                gap_told: false,
                gap_first: false,
                under_way: false,
                caught_up: false,
                open_gap: false,
            },
            unacked: VecDeque::new(),
            kept: Expected { low: -1, high: -1 },
            note: 0,
            at: 0,
        };
        for (number, noted) in self.reading.notes.iter().enumerate() {
            state.note = number;
            state.at = noted.at;
            self.note(&mut state, &noted.note);
        }
        self.recovered(&state);
        if self.reading.finished {
            state.note = self.reading.notes.len();
            let expected = state.expected;
            self.nothing_missing(&state, expected.high, i64::MAX, "at the end");
        }
    }

    fn note(&mut self, state: &mut State<'a>, note: &'a Note) {
        match note {
            Note::Asked(since) => self.asked(state, *since),
            Note::Started(started) => self.started(state, started),
            Note::Event(seen) => self.event(state, seen),
            Note::Gap { to, reason, .. } => self.gap(state, *to, *reason),
            Note::CaughtUp(cursor) => self.caught_up(state, *cursor),
            Note::AckSent(cursor) => {
                state.unacked.retain(|offset| *offset >= cursor.next());
                state.kept.high = state.kept.high.max(cursor.next());
            }
            Note::AckKept(cursor) => {
                state.kept.low = state.kept.low.max(cursor.next());
                state.kept.high = state.kept.high.max(cursor.next());
            }
            Note::Closed { reason, .. } => self.closed(state, *reason),
            Note::Lagging | Note::Cut => {}
        }
    }

    fn asked(&mut self, state: &mut State<'a>, since: Since) {
        self.recovered(state);
        let before = state.session;
        // Where it asked from before, when nothing has come since.
        let since = match since {
            Since::Continue if state.expected == Expected::ANYWHERE => before.since,
            since => since,
        };
        state.session = Session {
            since,
            asked_at: state.at,
            started: None,
            gap_told: false,
            gap_first: false,
            under_way: false,
            caught_up: false,
            open_gap: false,
        };
        state.unacked.clear();
        state.expected = match since {
            Since::Cursor(cursor) => Expected::at(cursor.next()),
            Since::Earliest => Expected::at(0),
            Since::Continue => state.expected,
            Since::Kept if state.kept.high < 0 => Expected::at(0),
            Since::Kept => Expected {
                low: state.kept.low.max(0),
                high: state.kept.high,
            },
            Since::Latest => Expected {
                low: self.case.floor(self.reading.channel, state.at),
                high: i64::MAX,
            },
            Since::Time(_) | Since::Last(_) => Expected::ANYWHERE,
        };
    }

    fn event(&mut self, state: &mut State<'a>, seen: &Seen) {
        state.session.under_way = true;
        let offset = seen.cursor.next() - 1;
        let suspect = self.suspect(state, Some(offset));
        let channel = self.reading.channel;
        let case = self.case;
        let frames = &mut *self.frames;
        if let Some(event) = frames.check(case, self.verdict, (self.actor, channel), seen, suspect)
        {
            let entitled = self.visible(event);
            self.verdict.hold("entitled", entitled, suspect, || {
                format!(
                    "{}: {} at {offset} is not for this reader",
                    self.actor, event.id
                )
            });
        } else {
            return;
        }
        self.verdict.check("order");
        if offset < state.expected.low {
            self.verdict.violate(
                "order",
                suspect,
                format!(
                    "{}: {offset} of {} came again or too late, expected {} or later",
                    self.actor,
                    self.case.text(channel),
                    state.expected.low
                ),
            );
        } else {
            self.nothing_missing(state, state.expected.high, offset, "before the next event");
            state.expected = Expected::at(offset + 1);
            state.session.open_gap = false;
        }
        if let Some(window) = self.reading.window {
            state.unacked.push_back(offset);
            let unacked = state.unacked.len();
            self.verdict
                .hold("window", unacked <= window as usize, suspect, || {
                    format!(
                        "{}: {unacked} unacknowledged with a window of {window}",
                        self.actor
                    )
                });
        }
    }

    fn gap(&mut self, state: &mut State<'a>, to: Option<Cursor>, reason: Name) {
        state.session.gap_told = true;
        state.session.gap_first |= !state.session.under_way;
        let from = state.expected.low;
        let partition = (state.channel.topic, state.channel.partition);
        let gone = |offset| self.case.may_be_gone(partition, state.at, offset);
        let to_offset = to.map(|cursor| cursor.next());
        // Some place in it is gone; asking for each would be asking for millions.
        let any = match to_offset {
            Some(to) => gone(from) || (from < to && gone(to - 1)),
            None => gone(from),
        };
        let retention = &*self.case.text(reason) == "retention";
        let suspect = self.suspect(state, Some(from));
        self.verdict.hold("gap", any && retention, suspect, || {
            format!(
                "{}: told that {from} to {to_offset:?} of {} is gone ({}), and it could be had",
                self.actor,
                self.case.text(self.reading.channel),
                self.case.text(reason)
            )
        });
        match to_offset {
            Some(to) if to > from => {
                let lost = self
                    .between(state.channel, from, to)
                    .find(|event| !gone(event.offset))
                    .map(|event| event.offset);
                let suspect = self.suspect(state, lost);
                self.verdict.hold("gap", lost.is_none(), suspect, || {
                    format!(
                        "{}: {lost:?} was told to be gone, and could be had",
                        self.actor
                    )
                });
                state.expected = Expected::at(to);
            }
            _ => state.session.open_gap = true,
        }
    }

    fn caught_up(&mut self, state: &mut State<'a>, cursor: Option<Cursor>) {
        state.session.under_way = true;
        let Some(cursor) = cursor else { return };
        let position = cursor.next();
        self.nothing_missing(state, state.expected.high, position, "before `caught_up`");
        if !state.session.caught_up {
            let floor = self
                .case
                .floor(self.reading.channel, state.session.asked_at);
            let suspect = self.suspect(state, Some(position));
            self.verdict.hold("own_writes", position >= floor, suspect, || {
                format!(
                    "{}: caught up at {position} of {}, but {floor} was acknowledged before it asked",
                    self.actor,
                    self.case.text(self.reading.channel)
                )
            });
        }
        state.session.caught_up = true;
        if position >= state.expected.low {
            state.expected = Expected::at(position);
        }
    }

    /// A true cursor is not refused.
    fn closed(&mut self, state: &State<'a>, reason: Name) {
        let invalid = &*self.case.text(reason) == "CURSOR_INVALID";
        let suspect = self.suspect(state, Some(state.expected.low));
        if invalid {
            self.verdict.hold("resumed", false, suspect, || {
                format!(
                    "{}: a true cursor was refused as CURSOR_INVALID",
                    self.actor
                )
            });
        }
    }

    /// No event that this reader should have had lies in this range, but for what an open gap took.
    fn nothing_missing(&mut self, state: &State<'a>, from: i64, to: i64, when: &str) {
        if from == i64::MAX {
            return;
        }
        self.verdict.check("complete");
        let partition = (state.channel.topic, state.channel.partition);
        let mut missing = self.between(state.channel, from, to).filter(|event| {
            !(state.session.open_gap && self.case.may_be_gone(partition, state.at, event.offset))
        });
        let Some(first) = missing.next() else { return };
        let more = missing.count();
        let suspect = self.suspect(state, Some(first.offset));
        self.verdict.violate(
            "complete",
            suspect,
            format!(
                "{}: {} at {} of {} and {more} more never came {when}",
                self.actor,
                first.id,
                first.offset,
                self.case.text(self.reading.channel)
            ),
        );
    }

    fn between<'c>(
        &'c self,
        channel: &'c Channel,
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = &'c Event> {
        channel.events[channel.index_from(from)..]
            .iter()
            .take_while(move |event| event.offset < to)
            .filter(|event| self.visible(event))
    }

    fn visible(&self, event: &Event) -> bool {
        let selected = self
            .reading
            .types
            .as_ref()
            .is_none_or(|types| types.contains(&event.name));
        selected && event.is_for(self.reading.user)
    }

    fn suspect(&self, state: &State<'a>, offset: Option<i64>) -> Suspect {
        Suspect {
            channel: Some(self.reading.channel),
            offset,
            note: Some((self.number.0, self.number.1, state.note)),
        }
    }
}
