//! What publishers were told against what the log holds.

use std::collections::{HashMap, HashSet};

use super::case::Case;
use super::log::Why;
use super::verdict::{Suspect, Verdict};
use crate::evidence::{Book, Cursor, Name, Outbox, Publish, Told};

pub(super) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    for book in &case.evidence.books {
        for publish in &book.publishes {
            answer(case, verdict, book, publish);
        }
        refusals(case, verdict, book);
    }
    origins(case, verdict);
    records(case, verdict);
}

fn answer(case: &Case<'_>, verdict: &mut Verdict, book: &Book, publish: &Publish) {
    let Some(text) = told(publish) else { return };
    let what = |wrong: &str| {
        format!(
            "{}: {text} in {}: {wrong}",
            book.actor,
            case.text(publish.channel)
        )
    };
    match publish.told {
        Told::Acked {
            cursor: Some(cursor),
            duplicate,
        } => {
            let kind = if duplicate {
                "duplicate"
            } else {
                "acknowledged"
            };
            let wrong = wrong_place(case, publish, cursor);
            let suspect = Suspect {
                channel: Some(publish.channel),
                offset: Some(cursor.next() - 1),
                note: None,
            };
            verdict.hold(kind, wrong.is_none(), suspect, || {
                what(wrong.unwrap_or_default())
            });
        }
        Told::Acked {
            cursor: None,
            duplicate,
        } => {
            let holds = duplicate && counts(case, publish);
            verdict.hold("duplicate", holds, of(publish, None), || {
                what("no event that counts has this identity")
            });
        }
        Told::Stored { partition, offset } => {
            let holds = case.channel(publish.channel).is_some_and(|channel| {
                channel.partition == partition
                    && (channel
                        .at(offset)
                        .is_some_and(|event| event.data == publish.data)
                        || case.log.void.contains_key(&case.place(channel, offset)))
            });
            verdict.hold(
                "acknowledged",
                publish.poison || holds,
                of(publish, Some(offset)),
                || what("Kafka acknowledged it, and it is not there"),
            );
        }
        Told::Delivered => {
            let holds = case.counted(publish).is_some();
            verdict.hold("acknowledged", holds, of(publish, None), || {
                what("Kafka acknowledged it, and no event that counts has this identity")
            });
        }
        Told::Refused(_) | Told::Unknown => {}
    }
}

/// Whether an event counts that is this one: by its identity, or by what it says when it has none.
fn counts(case: &Case<'_>, publish: &Publish) -> bool {
    if publish.id.is_some() || publish.outbox.is_some() {
        return case.counted(publish).is_some();
    }
    let events = &case.events(publish.channel).events;
    events.iter().any(|event| event.data == publish.data)
}

fn told(publish: &Publish) -> Option<String> {
    Some(match publish.told {
        Told::Acked { cursor, duplicate } => {
            format!("acknowledged with {cursor:?}, duplicate {duplicate}")
        }
        Told::Stored { partition, offset } => format!("stored at {partition}/{offset}"),
        Told::Delivered => "delivered somewhere".to_owned(),
        Told::Refused(_) | Told::Unknown => return None,
    })
}

/// What is wrong with the place that an acknowledgement names.
fn wrong_place(case: &Case<'_>, publish: &Publish, cursor: Cursor) -> Option<&'static str> {
    let Some(channel) = case.channel(publish.channel) else {
        return Some("the channel has no events");
    };
    let offset = cursor.next() - 1;
    let Some(event) = channel.at(offset) else {
        // A gateway that did not know the id has appended it again: void, and harmless.
        let void = case.log.void.get(&case.place(channel, offset));
        let again = void.is_some_and(|void| void.id.is_some() && void.id == publish.id);
        let harmless = again && publish.outbox.is_none() && case.counted(publish).is_some();
        return (!harmless).then_some("no event that counts is there");
    };
    let same = match (&publish.outbox, &publish.id) {
        (Some(outbox), _) => event.outbox == Some(*outbox) && event.user == publish.user,
        (None, Some(id)) => event.id == *id,
        (None, None) => event.data == publish.data,
    };
    if !same || cursor.partition() != channel.partition || cursor.generation() != 0 {
        return Some("another event is there");
    }
    let stored = case.stored_cursor(case.place(channel, offset));
    stored
        .is_some_and(|stored| stored != cursor)
        .then_some("the tables have another cursor for it")
}

/// What was refused at every attempt is no event; what may be in the log must not be called refused.
fn refusals(case: &Case<'_>, verdict: &mut Verdict, book: &Book) {
    #[derive(PartialEq, Eq, Hash)]
    struct Identity<'a>(Name, Option<Name>, Option<Outbox>, Option<&'a str>);
    let identity = |publish: &'_ Publish| (publish.channel, publish.user, publish.outbox);
    let mut refused: HashMap<Identity<'_>, &Publish> = HashMap::new();
    let mut maybe: HashSet<Identity<'_>> = HashSet::new();
    for publish in &book.publishes {
        if publish.id.is_none() && publish.outbox.is_none() {
            continue;
        }
        let (channel, user, outbox) = identity(publish);
        let key = Identity(channel, user, outbox, publish.id.as_deref());
        if matches!(publish.told, Told::Refused(_)) {
            refused.insert(key, publish);
        } else {
            maybe.insert(key);
        }
    }
    for (key, publish) in refused {
        // Another device may have sent the same identity: then the body tells whose it is.
        if maybe.contains(&key) {
            continue;
        }
        let found = case.counted(publish).filter(|offset| {
            let event = case
                .channel(publish.channel)
                .and_then(|channel| channel.at(*offset));
            event.is_some_and(|event| event.data == publish.data)
        });
        verdict.hold("refused", found.is_none(), of(publish, found), || {
            let Told::Refused(name) = publish.told else {
                return String::new();
            };
            format!(
                "{}: {:?} in {} was refused with {} at every attempt, and counts",
                book.actor,
                publish.id,
                case.text(publish.channel),
                case.text(name)
            )
        });
    }
}

/// Every event that counts was sent by somebody.
fn origins(case: &Case<'_>, verdict: &mut Verdict) {
    for (name, channel) in &case.log.channels {
        for event in &channel.events {
            let suspect = Suspect {
                channel: Some(*name),
                offset: Some(event.offset),
                note: None,
            };
            verdict.hold("sent", case.was_sent(*name, event), suspect, || {
                format!(
                    "{} at {} of {}: nobody sent this with these bytes",
                    event.id,
                    event.offset,
                    case.text(*name)
                )
            });
        }
    }
}

/// Every record is where its key belongs and can be read, but for what is poison on purpose.
fn records(case: &Case<'_>, verdict: &mut Verdict) {
    for channel in case.log.channels.values() {
        for _ in &channel.events {
            verdict.check("placed");
            verdict.check("readable");
        }
    }
    for ((topic, partition, offset), void) in &case.log.void {
        let place = || {
            format!(
                "{}/{partition}/{offset}",
                case.log.topics[usize::from(*topic)]
            )
        };
        let suspect = Suspect {
            channel: void.channel,
            offset: Some(*offset),
            note: None,
        };
        match void.why {
            Why::Misplaced => verdict.hold("placed", false, suspect, || {
                format!(
                    "the record at {} does not lie in the partition of its key",
                    place()
                )
            }),
            Why::Unreadable => verdict.hold("readable", false, suspect, || {
                format!(
                    "the record at {} is poison, and nobody says that it was to be",
                    place()
                )
            }),
            Why::Poison | Why::Rule => verdict.check("readable"),
        }
    }
}

fn of(publish: &Publish, offset: Option<i64>) -> Suspect {
    Suspect {
        channel: Some(publish.channel),
        offset,
        note: None,
    }
}
