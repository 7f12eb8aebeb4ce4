//! The tables against the log: rows, cursors, quarantine, completeness, kept cursors.

use super::case::Case;
use super::log::Why;
use super::verdict::{Suspect, Verdict};
use crate::evidence::{Cursor, Name, Note};

pub(super) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    rows(case, verdict);
    strangers(case, verdict);
    quarantine(case, verdict);
    completeness(case, verdict);
    kept(case, verdict);
}

/// Every event that counts has its row; what was erased before it could be stored is told in `rivermouth.gaps`.
fn rows(case: &Case<'_>, verdict: &mut Verdict) {
    for (name, channel) in &case.log.channels {
        let mut last: Option<Cursor> = None;
        for event in &channel.events {
            let place = case.place(channel, event.offset);
            let suspect = at(*name, event.offset);
            let Some(row) = case.tables.rows.get(&place) else {
                let lost = case.tables.lost.get(&(channel.topic, channel.partition));
                let told = lost.is_some_and(|lost| {
                    lost.iter()
                        .any(|(from, to)| (*from..*to).contains(&event.offset))
                });
                verdict.hold("rows", told, suspect, || {
                    format!(
                        "{} at {} of {} has no row",
                        event.id,
                        event.offset,
                        case.text(*name)
                    )
                });
                continue;
            };
            let same = row.channel == *name
                && row.fact == event.fact
                && (row.prev == event.prev || case.prev_is_lost(channel, event))
                && row.addressed == event.to.is_some()
                && row.jsonb_agrees;
            verdict.hold("rows", same, suspect, || {
                format!(
                    "the row of {} at {} of {} says another thing: {row:?}, {event:?}",
                    event.id,
                    event.offset,
                    case.text(*name)
                )
            });
            let sorts = row.cursor.is_some_and(|cursor| {
                last < Some(cursor)
                    && (cursor.generation(), cursor.partition(), cursor.next())
                        == (0, channel.partition, event.offset + 1)
            });
            verdict.hold("cursor", sorts, suspect, || {
                format!(
                    "the cursor of the row at {} of {} is {:?}, after {last:?}",
                    event.offset,
                    case.text(*name),
                    row.cursor
                )
            });
            last = row.cursor.or(last);
        }
    }
}

/// No row that is no event.
fn strangers(case: &Case<'_>, verdict: &mut Verdict) {
    for ((topic, partition, offset), row) in &case.tables.rows {
        let counts = case.channel(row.channel).is_some_and(|channel| {
            (channel.topic, channel.partition) == (*topic, *partition)
                && channel.at(*offset).is_some()
        });
        if !counts {
            verdict.hold("rows", false, at(row.channel, *offset), || {
                format!(
                    "the row {partition}/{offset} of {} is no event that counts",
                    case.text(row.channel)
                )
            });
        }
    }
}

fn quarantine(case: &Case<'_>, verdict: &mut Verdict) {
    for (place, void) in &case.log.void {
        if void.why == Why::Rule {
            continue;
        }
        let there = case.tables.quarantine.contains(place);
        let lost = case.tables.lost.get(&(place.0, place.1));
        let told = lost.is_some_and(|lost| {
            lost.iter()
                .any(|(from, to)| (*from..*to).contains(&place.2))
        });
        let suspect = Suspect {
            channel: void.channel,
            offset: Some(place.2),
            note: None,
        };
        verdict.hold("quarantine", there || told, suspect, || {
            format!("the poison at {place:?} is not in the quarantine")
        });
    }
    for place in &case.tables.quarantine {
        let poison = case
            .log
            .void
            .get(place)
            .is_some_and(|void| void.why != Why::Rule);
        let suspect = Suspect {
            offset: Some(place.2),
            ..Suspect::default()
        };
        verdict.hold("quarantine", poison, suspect, || {
            format!("{place:?} is in the quarantine, and no poison")
        });
    }
}

/// The tables were waited for: they say that they have everything.
fn completeness(case: &Case<'_>, verdict: &mut Verdict) {
    for (partition, end) in &case.log.ends {
        if *end == 0 {
            continue;
        }
        let complete = case.tables.complete_to.get(partition).copied().unwrap_or(0);
        verdict.hold("completeness", complete >= *end, Suspect::default(), || {
            format!("partition {partition:?} is complete to {complete}, and ends at {end}")
        });
    }
}

/// A kept cursor is the furthest that was acknowledged: not before what was answered, not after what was sent.
fn kept(case: &Case<'_>, verdict: &mut Verdict) {
    let Some(kept) = &case.tables.kept else {
        return;
    };
    for (number, book) in case.evidence.books.iter().enumerate() {
        for (reading_number, reading) in book.readings.iter().enumerate() {
            let Some(durable) = reading.durable else {
                continue;
            };
            let mut range: (Option<Cursor>, Option<Cursor>) = (None, None);
            for noted in &reading.notes {
                match noted.note {
                    Note::AckKept(cursor) => {
                        range = (range.0.max(Some(cursor)), range.1.max(Some(cursor)))
                    }
                    Note::AckSent(cursor) => range.1 = range.1.max(Some(cursor)),
                    _ => {}
                }
            }
            let found = kept.get(&(reading.user, reading.channel, durable)).copied();
            let suspect = Suspect {
                channel: Some(reading.channel),
                offset: found.or(range.1).map(|cursor| cursor.next()),
                note: Some((number, reading_number, reading.notes.len())),
            };
            verdict.hold(
                "kept",
                range.0 <= found && found <= range.1,
                suspect,
                || format!("{}: kept {found:?}, acknowledged {range:?}", book.actor),
            );
        }
    }
}

fn at(channel: Name, offset: i64) -> Suspect {
    Suspect {
        channel: Some(channel),
        offset: Some(offset),
        note: None,
    }
}
