//! The shortest story of a violation: what the log, the tables and everybody say of the event concerned.

use std::collections::BTreeMap;

use super::case::Case;
use super::verdict::{Suspect, Verdict};
use crate::evidence::{Note, Noted, Reading, Told};

const LINES: usize = 30;
/// Faults so long before a note may have to do with it.
const BEFORE_MS: u32 = 15_000;
/// Readers that got it, told one by one.
const WITNESSES: usize = 5;
/// Notes of the reader concerned before the one in question.
const NOTES_BEFORE: usize = 6;

/// Tells every violation that the verdict holds.
pub(super) fn tell(case: &Case<'_>, verdict: &mut Verdict) {
    let mut violations = std::mem::take(&mut verdict.violations);
    for violation in &mut violations {
        violation.story = story(case, violation.suspect);
    }
    verdict.violations = violations;
}

fn story(case: &Case<'_>, suspect: Suspect) -> Vec<String> {
    let mut lines = standing(case, suspect);
    let mut timed = Timed::default();
    publishers(case, suspect, &mut timed);
    witnesses(case, suspect, &mut timed);
    if let Some((book, reading, note)) = suspect.note {
        let actor = &case.evidence.books[book].actor;
        concerned(
            case,
            actor,
            &case.evidence.books[book].readings[reading],
            note,
            &mut timed,
        );
    }
    faults(case, &mut timed);
    lines.extend(timed.lines());
    lines.truncate(LINES);
    lines
}

/// Lines by time.
#[derive(Default)]
struct Timed(BTreeMap<u32, Vec<String>>);

impl Timed {
    fn add(&mut self, at: u32, line: String) {
        let lines = self.0.entry(at).or_default();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }

    fn lines(self) -> impl Iterator<Item = String> {
        self.0.into_iter().flat_map(|(at, lines)| {
            lines
                .into_iter()
                .map(move |line| format!("{:>4}.{:03} s  {line}", at / 1_000, at % 1_000))
        })
    }
}

/// What does not depend on time: log and tables, at the place and beside it.
fn standing(case: &Case<'_>, suspect: Suspect) -> Vec<String> {
    let (Some(name), Some(offset)) = (suspect.channel, suspect.offset) else {
        return Vec::new();
    };
    let Some(channel) = case.channel(name) else {
        return vec![format!("log: {} has no events", case.text(name))];
    };
    let topic = &case.log.topics[usize::from(channel.topic)];
    let mut lines = vec![format!(
        "{} lies in {topic}/{}",
        case.text(name),
        channel.partition
    )];
    let at = channel.index_from(offset);
    for event in &channel.events[at.saturating_sub(1)..(at + 2).min(channel.events.len())] {
        let mark = if event.offset == offset { ">" } else { " " };
        lines.push(format!(
            "log:   {mark}{} id {} {} prev {:?} outbox {:?} at {}",
            event.offset,
            event.id,
            case.text(event.name),
            event.prev,
            event.outbox.map(|outbox| (outbox.epoch, outbox.seq)),
            event.at_ms
        ));
    }
    let place = case.place(channel, offset);
    if let Some(void) = case.log.void.get(&place) {
        lines.push(format!("log:   >{offset} counts for nobody: {void:?}"));
    }
    lines.push(match case.tables.rows.get(&place) {
        Some(row) => format!(
            "table: >{offset} cursor {:?} prev {:?}",
            row.cursor, row.prev
        ),
        None => format!("table: >{offset} has no row"),
    });
    lines
}

fn publishers(case: &Case<'_>, suspect: Suspect, timed: &mut Timed) {
    let (Some(name), Some(offset)) = (suspect.channel, suspect.offset) else {
        return;
    };
    for book in &case.evidence.books {
        for publish in book
            .publishes
            .iter()
            .filter(|publish| publish.channel == name)
        {
            let here = match publish.told {
                Told::Acked {
                    cursor: Some(cursor),
                    ..
                } => cursor.next() - 1 == offset,
                Told::Stored { offset: told, .. } => told == offset,
                _ => false,
            };
            let named = publish.id.is_some() || publish.outbox.is_some();
            let concerned = here || (named && case.counted(publish) == Some(offset));
            if !concerned {
                continue;
            }
            let actor = &book.actor;
            timed.add(
                publish.at,
                format!(
                    "{actor} sends it (id {:?}, outbox {:?})",
                    publish.id,
                    publish.outbox.map(|o| (o.epoch, o.seq))
                ),
            );
            timed.add(
                publish.told_at,
                format!("{actor} is told {:?}", publish.told),
            );
        }
    }
}

fn witnesses(case: &Case<'_>, suspect: Suspect, timed: &mut Timed) {
    let (Some(name), Some(offset)) = (suspect.channel, suspect.offset) else {
        return;
    };
    let mut found = 0;
    for book in &case.evidence.books {
        for reading in book
            .readings
            .iter()
            .filter(|reading| reading.channel == name)
        {
            for noted in &reading.notes {
                if matches!(noted.note, Note::Event(seen) if seen.cursor.next() - 1 == offset) {
                    found += 1;
                    if found <= WITNESSES {
                        timed.add(noted.at, format!("{} gets it", book.actor));
                    }
                }
            }
        }
    }
}

/// The reader's own notes: where its session began, and what came just before and after.
fn concerned(case: &Case<'_>, actor: &str, reading: &Reading, note: usize, timed: &mut Timed) {
    let mut add = |noted: &Noted| {
        timed.add(
            noted.at,
            format!("{actor} notes {}", said(case, &noted.note)),
        )
    };
    let until = note.min(reading.notes.len());
    let session = reading.notes[..until]
        .iter()
        .rposition(|noted| matches!(noted.note, Note::Asked(_)));
    if let Some(begin) = session {
        let beginning = &reading.notes[begin.saturating_sub(2)..(begin + 3).min(until)];
        beginning.iter().for_each(&mut add);
    }
    let around =
        &reading.notes[until.saturating_sub(NOTES_BEFORE)..(note + 3).min(reading.notes.len())];
    around.iter().for_each(&mut add);
}

fn said(case: &Case<'_>, note: &Note) -> String {
    match note {
        Note::Event(seen) => format!("event {:?} prev {:?}", seen.cursor, seen.prev),
        Note::Gap { from, to, reason } => format!("gap {from:?} to {to:?}, {}", case.text(*reason)),
        Note::Closed { code, reason, .. } => format!("closed {code} {}", case.text(*reason)),
        other => format!("{other:?}"),
    }
}

/// Faults shortly before anything that is told here.
fn faults(case: &Case<'_>, timed: &mut Timed) {
    let (Some(first), Some(last)) = (
        timed.0.keys().next().copied(),
        timed.0.keys().last().copied(),
    ) else {
        return;
    };
    let near = case
        .evidence
        .faults
        .iter()
        .filter(|fault| fault.until + BEFORE_MS >= first && fault.at <= last);
    for fault in near.take(LINES / 2).collect::<Vec<_>>() {
        timed.add(
            fault.at,
            format!("-- {} (until {} ms)", fault.what, fault.until),
        );
    }
}
