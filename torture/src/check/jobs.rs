//! What a job's updates add up to, worked out from the text of the protocol (section 7): what an update does not
//! say stays as it was, a final status is never overwritten, and an update that breaks its rule changes nothing.

use serde_json::{Map, Value, json};

use super::case::Case;
use super::log::Channel;
use super::tables::Job;
use super::verdict::{Suspect, Verdict};
use crate::evidence::{Name, Note};

/// Jobs in the tables against the fold, and every snapshot against the fold of its prefix.
pub(super) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    for (name, channel) in &case.log.channels {
        let text = case.text(*name);
        let Some(id) = text.strip_prefix("jobs.") else {
            continue;
        };
        let folded = fold(case, id, channel, i64::MAX);
        let stored = case.tables.jobs.get(id);
        let suspect = Suspect {
            channel: Some(*name),
            offset: channel.events.last().map(|event| event.offset),
            note: None,
        };
        verdict.hold("jobs", stored == folded.as_ref(), suspect, || {
            format!("job {id}: the tables say {stored:?}, its updates {folded:?}")
        });
    }
    for (number, book) in case.evidence.books.iter().enumerate() {
        for (reading_number, reading) in book.readings.iter().enumerate() {
            for (note, noted) in reading.notes.iter().enumerate() {
                if let Note::Started(started) = &noted.note
                    && let (Some(state), Some(cursor)) = (&started.snapshot, started.cursor)
                {
                    let at = Some((number, reading_number, note));
                    let seen = (reading.channel, cursor.next(), &**state);
                    snapshot(case, verdict, &book.actor, seen, at);
                }
            }
        }
        for asked in &book.snapshots {
            let seen = (asked.channel, asked.cursor.next(), &*asked.state);
            snapshot(case, verdict, &book.actor, seen, None);
            let late = asked.asked.map_or_else(
                || asked.cursor.next() >= case.floor(asked.channel, asked.at),
                |cursor| asked.cursor == cursor,
            );
            let suspect = Suspect {
                channel: Some(asked.channel),
                offset: Some(asked.cursor.next()),
                note: None,
            };
            verdict.hold("snapshot", late, suspect, || {
                format!(
                    "{}: a snapshot as of {:?}, asked for {:?}",
                    book.actor, asked.cursor, asked.asked
                )
            });
        }
    }
}

fn snapshot(
    case: &Case<'_>,
    verdict: &mut Verdict,
    actor: &str,
    (name, position, state): (Name, i64, &str),
    note: Option<(usize, usize, usize)>,
) {
    let text = case.text(name);
    let channel = case.events(name);
    let expected = match text.strip_prefix("jobs.") {
        Some(id) => fold(case, id, channel, position).map_or(Value::Null, |job| view(id, &job)),
        None => Value::Null,
    };
    let given: Value = serde_json::from_str(state).unwrap_or(Value::String("not JSON".to_owned()));
    let suspect = Suspect {
        channel: Some(name),
        offset: Some(position),
        note,
    };
    verdict.hold("snapshot", same(&given, &expected), suspect, || {
        format!("{actor}: the state of {text} as of {position} is {given}, should be {expected}")
    });
}

/// The same, but for members that are null on one side and absent on the other.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let absent =
                |of: &Map<String, Value>, key: &String| of.get(key).is_none_or(Value::is_null);
            let within = |a: &Map<String, Value>, b: &Map<String, Value>| {
                a.iter().all(|(key, value)| match b.get(key) {
                    Some(other) => same(value, other),
                    None => value.is_null() || absent(a, key),
                })
            };
            within(a, b) && within(b, a)
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

fn view(id: &str, job: &Job) -> Value {
    let (created, updated, finished) = job.times_ms;
    let error = match &job.error {
        (None, None) => Value::Null,
        (code, message) => json!({ "code": code, "message": message }),
    };
    json!({
        "jobId": id, "status": job.status, "progress": job.progress, "message": job.message, "error": error,
        "ownerId": job.owner, "kind": job.kind, "createdAt": created, "updatedAt": updated, "finishedAt": finished,
    })
}

/// The job as of a position; none before its first update.
fn fold(case: &Case<'_>, id: &str, channel: &Channel, position: i64) -> Option<Job> {
    let mut job: Option<Job> = None;
    let until = channel.index_from(position);
    for (event, data) in channel.events[..until].iter().zip(&channel.data) {
        if &*case.text(event.name) != "job.update" {
            continue;
        }
        let Some(update) = update(id, data) else {
            continue;
        };
        if job.as_ref().is_some_and(|job| is_final(&job.status)) {
            continue;
        }
        let job = job.get_or_insert_with(|| Job {
            times_ms: (event.at_ms, event.at_ms, None),
            ..Job::default()
        });
        apply(job, &update, event.at_ms);
    }
    job
}

fn apply(job: &mut Job, update: &Map<String, Value>, at_ms: i64) {
    let text =
        |of: &Map<String, Value>, key: &str| of.get(key).and_then(Value::as_str).map(str::to_owned);
    let set = |slot: &mut Option<String>, value: Option<String>| {
        if value.is_some() {
            *slot = value;
        }
    };
    job.status = text(update, "status").unwrap_or_default();
    if let Some(progress) = update.get("progress").and_then(Value::as_f64) {
        job.progress = Some(progress);
    }
    set(&mut job.message, text(update, "message"));
    set(&mut job.owner, text(update, "ownerId"));
    set(&mut job.kind, text(update, "kind"));
    if let Some(error) = update.get("error").and_then(Value::as_object) {
        set(&mut job.error.0, text(error, "code"));
        set(&mut job.error.1, text(error, "message"));
    }
    job.times_ms.1 = job.times_ms.1.max(at_ms);
    if is_final(&job.status) {
        job.times_ms.2 = Some(job.times_ms.1);
    }
}

fn is_final(status: &str) -> bool {
    matches!(status, "succeeded" | "failed" | "cancelled")
}

/// The update's members, when it keeps the rule.
fn update(id: &str, data: &str) -> Option<Map<String, Value>> {
    let Ok(Value::Object(update)) = serde_json::from_str(data) else {
        return None;
    };
    let status = update.get("status")?.as_str()?;
    let known = matches!(status, "queued" | "running") || is_final(status);
    let text =
        |of: &Map<String, Value>, key| of.get(key).is_none_or(|v| v.is_null() || v.is_string());
    let progress = update.get("progress").is_none_or(|value| {
        value.is_null()
            || value
                .as_f64()
                .is_some_and(|percent| (0.0..=100.0).contains(&percent))
    });
    let error = match update.get("error") {
        None | Some(Value::Null) => true,
        Some(Value::Object(error)) => text(error, "code") && text(error, "message"),
        Some(_) => false,
    };
    let fits = update.get("jobId").and_then(Value::as_str) == Some(id)
        && known
        && progress
        && error
        && ["message", "ownerId", "kind"]
            .iter()
            .all(|key| text(&update, *key));
    fits.then_some(update)
}
