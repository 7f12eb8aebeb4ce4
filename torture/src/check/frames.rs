//! One delivered event against the log, and against what everybody else got.

use std::collections::HashMap;

use super::case::Case;
use super::log::{Event, Place};
use super::verdict::{Suspect, Verdict};
use crate::evidence::{Cursor, Name, Seen};

/// What was delivered of every event, by its place.
#[derive(Debug, Default)]
pub(super) struct Frames {
    first: HashMap<Place, (Cursor, u64)>,
}

impl Frames {
    /// Everything about the frame but whether it was due. Gives the event that it is about; none when there is
    /// no such event.
    pub(super) fn check<'a>(
        &mut self,
        case: &Case<'a>,
        verdict: &mut Verdict,
        (actor, name): (&str, Name),
        seen: &Seen,
        suspect: Suspect,
    ) -> Option<&'a Event> {
        let offset = seen.cursor.next() - 1;
        let channel = case.channel(name);
        let event = channel.and_then(|channel| channel.at(offset));
        let here = channel.is_some_and(|channel| {
            seen.cursor.partition() == channel.partition && seen.cursor.generation() == 0
        });
        verdict.hold("counts", here && event.is_some(), suspect, || {
            let void = channel.and_then(|channel| case.log.void.get(&case.place(channel, offset)));
            let which = void.map_or("no such event".to_owned(), |void| {
                format!("a void record ({:?})", void.why)
            });
            format!("{actor}: got {offset} of {}: {which}", case.text(name))
        });
        let (Some(channel), Some(event)) = (channel, event) else {
            return None;
        };
        let place = case.place(channel, offset);
        let says = |what: &str| {
            format!(
                "{actor}: {} at {offset} of {}: {what}",
                event.id,
                case.text(name)
            )
        };
        let same = seen.fact == event.fact && seen.addressed == event.to.is_some();
        verdict.hold("content", same, suspect, || {
            says("another content than in the log")
        });
        let (cursor, raw) = *self.first.entry(place).or_insert((seen.cursor, seen.raw));
        let lost = case.prev_is_lost(channel, event);
        verdict.hold("bytes", lost || raw == seen.raw, suspect, || {
            says("other bytes than another reader got")
        });
        let cursor = case.stored_cursor(place).unwrap_or(cursor);
        verdict.hold("cursor", cursor == seen.cursor, suspect, || {
            says(&format!("cursor {}, elsewhere {cursor}", seen.cursor))
        });
        let prev = seen.prev.map(|prev| prev.next() - 1);
        let chained = prev == event.prev
            && seen
                .prev
                .is_none_or(|prev| self.is_of(case, channel_place(place, event), prev));
        verdict.hold("prev", lost || chained, suspect, || {
            says(&format!("prev is {prev:?}, should be {:?}", event.prev))
        });
        Some(event)
    }

    /// Whether this is the cursor of the event at a place, as far as it is known.
    fn is_of(&self, case: &Case<'_>, place: Option<Place>, cursor: Cursor) -> bool {
        let Some(place) = place else { return true };
        let known = case
            .stored_cursor(place)
            .or_else(|| self.first.get(&place).map(|(cursor, _)| *cursor));
        known.is_none_or(|known| known == cursor)
    }
}

/// The place of the event before.
fn channel_place((topic, partition, _): Place, event: &Event) -> Option<Place> {
    event.prev.map(|prev| (topic, partition, prev))
}
