//! A small run in which everything went well, made by hand, to be spoiled in one place.

use std::collections::BTreeMap;
use std::sync::Arc;

use testbed::checker::{LogRecord, partition_of};

use crate::check::log::{Channel, Event, Log, LogBuilder, POISON_HEADER};
use crate::check::tables::{Job, Row, Tables};
use crate::check::{Verdict, judge};
use crate::evidence::{
    Book, Cursor, Evidence, Name, Names, Note, Noted, Outbox, Page, Publish, Reading, Seen, Since,
    Snapshot, Started, Told, Transport, data_hash, hash,
};

/// Partitions of each topic.
const PARTITIONS: i32 = 4;
/// Every event of the scene is published so long after the one before.
pub(super) const STEP_MS: u32 = 100;

pub(super) struct Scene {
    pub(super) evidence: Evidence,
    pub(super) log: Log,
    pub(super) tables: Tables,
}

/// How a record is to be.
#[derive(Clone, Copy)]
enum Kind {
    Outbox(u64),
    Id,
    Job(&'static str),
    Poison,
}

impl Scene {
    /// Twelve events of `session.a` (one sent twice, one addressed to `ann`), a job of four updates, one of them
    /// late, one record of poison; a reader each on both, a page, a snapshot, a kept cursor.
    pub(super) fn good() -> Scene {
        let names = Arc::new(Names::default());
        let topics = [
            ("t.events".to_owned(), PARTITIONS),
            ("t.jobs".to_owned(), PARTITIONS),
        ];
        let mut builder = LogBuilder::new("t", &topics, Arc::clone(&names));
        let mut book = Book {
            actor: "writer".into(),
            ..Book::default()
        };
        let mut offsets: BTreeMap<(String, i32), i64> = BTreeMap::new();
        let plan = (0..6)
            .map(Kind::Outbox)
            .chain([Kind::Outbox(5)])
            .chain([Kind::Id; 6])
            .chain([Kind::Poison])
            .chain(["queued", "running", "succeeded", "running"].map(Kind::Job));
        for (number, kind) in (0u32..).zip(plan) {
            let record = record(number, kind, &mut offsets);
            builder.take(&record);
            book.publishes.push(publish(&names, number, kind, &record));
        }
        let ends = offsets
            .iter()
            .map(|((topic, partition), next)| ((builder.topic(topic), *partition), *next))
            .collect();
        let log = builder.finish(ends);
        let tables = tables(&names, &log);
        let mut scene = Scene {
            evidence: Evidence {
                names,
                books: vec![book],
                faults: Vec::new(),
            },
            log,
            tables,
        };
        let readers = ["ann", "bob"].map(|user| scene.reader(user));
        scene.evidence.books.extend(readers);
        scene.keep("ann");
        scene
    }

    pub(super) fn name(&self, text: &str) -> Name {
        self.evidence.names.number(text)
    }

    pub(super) fn channel(&self, text: &str) -> &Channel {
        &self.log.channels[&self.name(text)]
    }

    /// Reads both channels from the beginning, once cut and resumed, with a page and a snapshot besides.
    fn reader(&self, user: &str) -> Book {
        let mut book = Book {
            actor: user.into(),
            ..Book::default()
        };
        for channel in ["session.a", "jobs.j"] {
            let seen = self.visible(channel, user);
            let mut notes = session(Since::Earliest, None, &seen[..2]);
            notes.push(Note::Cut);
            let at = seen[1].cursor;
            notes.extend(session(Since::Cursor(at), Some(at), &seen[2..]));
            notes.push(Note::CaughtUp(seen.last().map(|seen| seen.cursor)));
            book.readings.push(self.reading(channel, user, notes));
        }
        let page = self.visible("session.a", user);
        book.pages.push(Page {
            at: 5_000,
            channel: self.name("session.a"),
            user: self.name(user),
            after: Some(page[0].cursor),
            before: None,
            limit: 100,
            descending: false,
            events: page[1..].to_vec(),
            next: None,
            complete: true,
            gap: false,
        });
        book.snapshots.push(self.snapshot());
        book
    }

    pub(super) fn reading(&self, channel: &str, user: &str, notes: Vec<Note>) -> Reading {
        let noted = |(at, note)| Noted { at, note };
        Reading {
            channel: self.name(channel),
            user: self.name(user),
            transport: Transport::Socket,
            types: None,
            window: None,
            durable: None,
            finished: true,
            notes: (3_000..).zip(notes).map(noted).collect(),
        }
    }

    /// The job after its second update, asked for at that cursor.
    fn snapshot(&self) -> Snapshot {
        let channel = self.channel("jobs.j");
        let cursor = cursor(channel, &channel.events[1]);
        let state = format!(
            r#"{{"jobId":"j","status":"running","progress":1.0,"message":null,"error":null,"createdAt":{},"updatedAt":{}}}"#,
            channel.events[0].at_ms, channel.events[1].at_ms
        );
        Snapshot {
            at: 5_000,
            channel: self.name("jobs.j"),
            asked: Some(cursor),
            cursor,
            state: state.into(),
        }
    }

    fn keep(&mut self, user: &str) {
        let (user, channel, durable) = (self.name(user), self.name("session.a"), self.name("d"));
        let reading = &mut self.evidence.books[1].readings[0];
        let seen = reading.notes.iter().find_map(|noted| match noted.note {
            Note::Event(seen) => Some(seen.cursor),
            _ => None,
        });
        let cursor = seen.expect("it got something");
        reading.durable = Some(durable);
        let at = reading.notes.last().map_or(0, |noted| noted.at + 1);
        for note in [Note::AckSent(cursor), Note::AckKept(cursor)] {
            reading.notes.push(Noted { at, note });
        }
        self.tables.kept = Some([((user, channel, durable), cursor)].into());
    }

    /// What a user should see of a channel.
    pub(super) fn visible(&self, channel: &str, user: &str) -> Vec<Seen> {
        let user = self.name(user);
        let channel = self.channel(channel);
        let events = channel.events.iter().filter(|event| event.is_for(user));
        events.map(|event| seen(channel, event)).collect()
    }

    pub(super) fn judge(&self) -> Verdict {
        judge(&self.evidence, &self.log, &self.tables)
    }

    /// The reading of `session.a` by this reader (1: ann, 2: bob).
    pub(super) fn notes(&mut self, book: usize) -> &mut Vec<Noted> {
        &mut self.evidence.books[book].readings[0].notes
    }

    /// Where in the notes the nth event lies.
    pub(super) fn nth_event(&mut self, book: usize, nth: usize) -> usize {
        let notes = self.notes(book).iter().enumerate();
        let mut events = notes.filter(|(_, noted)| matches!(noted.note, Note::Event(_)));
        events.nth(nth).map(|(at, _)| at).expect("so many events")
    }

    pub(super) fn seen(&mut self, book: usize, nth: usize) -> &mut Seen {
        let at = self.nth_event(book, nth);
        match &mut self.notes(book)[at].note {
            Note::Event(seen) => seen,
            other => panic!("{other:?} is no event"),
        }
    }
}

fn session(since: Since, cursor: Option<Cursor>, seen: &[Seen]) -> Vec<Note> {
    let started = Started {
        cursor,
        recovered: Some(true),
        was_recovering: cursor.map(|_| true),
        snapshot: None,
    };
    [Note::Asked(since), Note::Started(Box::new(started))]
        .into_iter()
        .chain(seen.iter().map(|seen| Note::Event(*seen)))
        .collect()
}

pub(super) fn cursor(channel: &Channel, event: &Event) -> Cursor {
    cursor_at(channel.partition, event.offset + 1)
}

pub(super) fn cursor_at(partition: i32, next: i64) -> Cursor {
    Cursor::made_up(u16::try_from(partition).expect("small"), next)
}

pub(super) fn seen(channel: &Channel, event: &Event) -> Seen {
    Seen {
        cursor: cursor(channel, event),
        prev: event
            .prev
            .map(|prev| cursor_at(channel.partition, prev + 1)),
        raw: event.fact ^ 1,
        fact: event.fact,
        addressed: event.to.is_some(),
    }
}

fn record(number: u32, kind: Kind, offsets: &mut BTreeMap<(String, i32), i64>) -> LogRecord {
    let (topic, key) = match kind {
        Kind::Job(_) => ("t.jobs", "j"),
        _ => ("t.events", "a"),
    };
    let partition = partition_of(key.as_bytes(), PARTITIONS);
    let next = offsets.entry((topic.to_owned(), partition)).or_default();
    let mut headers = Vec::new();
    if let Kind::Outbox(seq) = kind {
        headers.push(("rm-producer", "p".to_owned()));
        headers.push(("rm-epoch", "0".to_owned()));
        headers.push(("rm-seq", seq.to_string()));
    }
    if let Kind::Poison = kind {
        headers.push((POISON_HEADER, "1".to_owned()));
    }
    let record = LogRecord {
        topic: topic.to_owned(),
        partition,
        offset: *next,
        timestamp_ms: 1_000_000 + i64::from(number * STEP_MS),
        key: Some(key.into()),
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_bytes()))
            .collect(),
        value: Some(value(number, kind).into_bytes()),
    };
    *next += 1;
    record
}

fn value(number: u32, kind: Kind) -> String {
    let data = data(number, kind);
    match kind {
        Kind::Job(_) => format!(r#"{{"event":"job.update","data":{data}}}"#),
        Kind::Poison => "not JSON".to_owned(),
        Kind::Outbox(seq) => {
            format!(r#"{{"event":"draw","id":"o{seq}","userId":"ann","data":{data}}}"#)
        }
        Kind::Id => {
            let to = if number == 8 { r#","to":["ann"]"# } else { "" };
            format!(r#"{{"event":"draw","id":"i{number}","data":{data}{to}}}"#)
        }
    }
}

fn data(number: u32, kind: Kind) -> String {
    match kind {
        Kind::Job(status) => format!(r#"{{"jobId":"j","status":"{status}","progress":1}}"#),
        // A retry has the same body.
        Kind::Outbox(seq) => seq.to_string(),
        Kind::Id | Kind::Poison => number.to_string(),
    }
}

fn publish(names: &Names, number: u32, kind: Kind, record: &LogRecord) -> Publish {
    let at = number * STEP_MS;
    let acked = Told::Acked {
        cursor: Some(cursor_at(record.partition, record.offset + 1)),
        duplicate: false,
    };
    let stored = Told::Stored {
        partition: record.partition,
        offset: record.offset,
    };
    let retry = number == 6;
    Publish {
        at,
        told_at: at + 1,
        channel: names.number(match kind {
            Kind::Job(_) => "jobs.j",
            _ => "session.a",
        }),
        event: names.number(match kind {
            Kind::Job(_) => "job.update",
            _ => "draw",
        }),
        user: matches!(kind, Kind::Outbox(_)).then(|| names.number("ann")),
        id: match kind {
            Kind::Outbox(seq) => Some(format!("o{seq}").into()),
            Kind::Id => Some(format!("i{number}").into()),
            Kind::Job(_) | Kind::Poison => None,
        },
        data: data_hash(&data(number, kind)),
        outbox: match kind {
            Kind::Outbox(seq) => Some(Outbox {
                producer: names.number("p"),
                epoch: 0,
                seq,
            }),
            _ => None,
        },
        addressed: number == 8,
        poison: matches!(kind, Kind::Poison),
        told: match kind {
            Kind::Job(_) | Kind::Poison => stored,
            Kind::Outbox(_) if retry => Told::Acked {
                cursor: Some(cursor_at(record.partition, record.offset)),
                duplicate: true,
            },
            Kind::Outbox(_) | Kind::Id => acked,
        },
    }
}

/// The tables as they should be.
fn tables(names: &Names, log: &Log) -> Tables {
    let mut tables = Tables::default();
    for (name, channel) in &log.channels {
        for event in &channel.events {
            let row = Row {
                channel: *name,
                fact: event.fact,
                cursor: Some(cursor(channel, event)),
                prev: event.prev,
                addressed: event.to.is_some(),
                jsonb_agrees: true,
            };
            let place = (channel.topic, channel.partition, event.offset);
            tables.rows.insert(place, row);
        }
    }
    for (place, void) in &log.void {
        if void.why == crate::check::log::Why::Poison {
            tables.quarantine.insert(*place);
        }
    }
    tables.complete_to = log.ends.clone();
    let job = &log.channels[&names.number("jobs.j")].events;
    tables.jobs.insert(
        "j".to_owned(),
        Job {
            status: "succeeded".to_owned(),
            progress: Some(1.0),
            times_ms: (job[0].at_ms, job[2].at_ms, Some(job[2].at_ms)),
            ..Job::default()
        },
    );
    tables
}

/// Another hash than the given one.
pub(super) fn other(of: u64) -> u64 {
    hash(&of.to_be_bytes())
}
