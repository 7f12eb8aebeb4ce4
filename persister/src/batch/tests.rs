use std::sync::Arc;

use bytes::Bytes;
use schemas::{Channel, Decoder, Incoming, Topics, Undecoded};

use super::*;
use crate::folds::Folded;

struct World {
    place: Place,
    cursors: Cursors,
    channels: Channels,
    decoder: Decoder,
}

impl World {
    fn new(topic: &str) -> World {
        World {
            place: Place::new(topic, 0, 0),
            cursors: Cursors::new([7; 16]),
            channels: Channels::new(),
            decoder: Decoder::new(Topics::default()),
        }
    }

    fn build(&mut self, start: i64, records: &[Record], end: Option<i64>) -> Built {
        let mut builder = Builder::new(&self.place, &self.cursors, &mut self.channels, start);
        for record in records {
            let decoded = self
                .decoder
                .decode(Incoming {
                    topic: &record.topic,
                    partition: record.partition,
                    offset: record.offset,
                    key: record.key.as_deref(),
                    headers: &record.headers,
                    value: record.value.as_ref(),
                })
                .map_err(|undecoded| match undecoded {
                    Undecoded::Poison(poison) => poison,
                    Undecoded::UnknownSchema(id) => panic!("schema {id}"),
                });
            if let Ok(event) = &decoded
                && !builder.channels.knows(&event.channel)
            {
                let folded = Folded::new(&event.channel);
                builder.channels.learn(
                    event.channel.clone(),
                    store::ChannelState::default(),
                    folded,
                );
            }
            builder.add(record, decoded);
        }
        builder.finish(end, 5000)
    }
}

fn record(topic: &str, offset: i64, key: &str, value: &str) -> Record {
    Record {
        topic: Arc::from(topic),
        partition: 0,
        offset,
        timestamp_ms: 1000 + offset,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        headers: Vec::new(),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

#[test]
fn a_duplicate_leaves_no_row_but_moves_the_end() {
    let mut world = World::new("rivermouth.events");
    let publish = r#"{"event":"draw","id":"a","data":{"x": 1}}"#;
    let events = |offset| record("rivermouth.events", offset, "42", publish);
    let built = world.build(3, &[events(3), events(4)], None);
    assert_eq!((built.batch.start, built.batch.end, built.void), (3, 5, 1));
    assert_eq!(built.batch.events.len(), 1);
    let row = &built.batch.events[0];
    assert_eq!(
        (row.offset, row.prev, row.data.as_ref()),
        (3, None, &br#"{"x":1}"#[..])
    );
    let cursor = world
        .cursors
        .decode(&Channel::parse("session.42").unwrap(), &row.cursor)
        .unwrap();
    assert_eq!(cursor.next, 4);
}

#[test]
fn poison_is_quarantined_with_everything_it_brought() {
    let mut world = World::new("rivermouth.events");
    let mut bad = record("rivermouth.events", 0, "42", "{");
    bad.headers.push(("h".into(), Bytes::from_static(b"v")));
    let built = world.build(0, &[bad], None);
    let row = &built.batch.quarantine[0];
    assert_eq!((row.offset, row.reason.as_str()), (0, "not_json"));
    assert_eq!(row.value.as_deref(), Some(&b"{"[..]));
    assert_eq!(row.headers.len(), 1);
    assert_eq!(built.batch.end, 1);
}

#[test]
fn a_job_is_stored_once_with_all_its_steps_and_its_end_stands() {
    let mut world = World::new("rivermouth.jobs");
    let records = [
        update(
            0,
            1000,
            r#"{"jobId":"9f","status":"running","ownerId":"u1","progress":10}"#,
        ),
        update(1, 1001, r#"{"jobId":"9f","status":"succeeded"}"#),
        update(2, 1002, r#"{"jobId":"9f","status":"running"}"#),
    ];
    let built = world.build(0, &records, None);
    assert_eq!(built.batch.events.len(), 3);
    assert_eq!(built.batch.job_history.len(), 2);
    let job = &built.batch.jobs[..];
    assert_eq!(job.len(), 1);
    assert_eq!(job[0].status, "succeeded");
    assert_eq!(job[0].owner_id.as_deref(), Some("u1"));
    assert_eq!(job[0].cursor, built.batch.events[1].cursor);
}

/// A `job.update` of job 9f at a time.
fn update(offset: i64, at_ms: i64, data: &str) -> Record {
    let value = format!(r#"{{"event":"job.update","data":{data}}}"#);
    Record {
        timestamp_ms: at_ms,
        ..record("rivermouth.jobs", offset, "9f", &value)
    }
}

/// Offset after it, time, and how far the job was, of each snapshot of a batch.
fn snapshots(batch: &Batch) -> Vec<(i64, i64, Option<f64>)> {
    let jobs = Channel::parse("jobs.9f").unwrap();
    let rows = batch.snapshots.iter().map(|row| {
        let saved = state::Saved {
            kind: row.kind.clone(),
            version: row.version,
            bytes: row.state.to_vec(),
        };
        let fold = state::Fold::restore(&jobs, &saved).unwrap();
        (row.next, row.at_ms, fold.job().and_then(|job| job.progress))
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|row| row.0);
    rows
}

fn progress(offset: i64, at_ms: i64) -> Record {
    let data = format!(r#"{{"jobId":"9f","status":"running","progress":{offset}}}"#);
    update(offset, at_ms, &data)
}

#[test]
fn every_batch_that_touched_a_job_keeps_its_state_and_others_keep_none() {
    let mut world = World::new("rivermouth.jobs");
    let batch = world
        .build(0, &[progress(0, 10), progress(1, 20)], None)
        .batch;
    assert_eq!(snapshots(&batch), [(2, 20, Some(1.0))]);
    // What changes nothing still is an event that the state is told after.
    let batch = world.build(2, &[update(2, 30, "[]")], None).batch;
    assert_eq!(snapshots(&batch), [(3, 30, Some(1.0))]);
    assert_eq!(snapshots(&world.build(3, &[], Some(9)).batch), []);
    let mut world = World::new("rivermouth.events");
    let draw = record("rivermouth.events", 0, "42", r#"{"event":"draw"}"#);
    assert_eq!(snapshots(&world.build(0, &[draw], None).batch), []);
}

#[test]
fn the_state_after_the_last_event_of_each_day_is_kept_however_the_log_is_cut() {
    const DAY: i64 = store::DAY_MS;
    // A clock that steps back over midnight comes to the same day twice.
    let times = [5, 6, DAY + 1, DAY - 1, DAY + 2, 4 * DAY, 4 * DAY + 1];
    let records: Vec<Record> = (0..).zip(times).map(|(n, at)| progress(n, at)).collect();
    let kept = |cuts: &[usize]| {
        let mut world = World::new("rivermouth.jobs");
        let mut rows = BTreeMap::new();
        for range in cuts.windows(2) {
            let batch = &world
                .build(range[0] as i64, &records[range[0]..range[1]], None)
                .batch;
            for row in snapshots(batch) {
                rows.insert(day_of(row.1), row);
            }
        }
        rows.into_values().collect::<Vec<_>>()
    };
    let whole = kept(&[0, 7]);
    let expected = [
        (4, DAY - 1, Some(3.0)),
        (5, DAY + 2, Some(4.0)),
        (7, 4 * DAY + 1, Some(6.0)),
    ];
    assert_eq!(whole, expected);
    for cuts in [
        &[0, 1, 2, 3, 4, 5, 6, 7][..],
        &[0, 3, 4, 7],
        &[0, 4, 7],
        &[0, 2, 6, 7],
    ] {
        assert_eq!(kept(cuts), expected, "{cuts:?}");
    }
}

#[test]
fn an_update_that_breaks_the_rule_is_an_event_and_no_step_of_a_job() {
    let mut world = World::new("rivermouth.jobs");
    let data = [
        r#"{"status":"running"}"#,
        r#"{"jobId":"other","status":"running"}"#,
        r#"{"jobId":"9f","status":"bogus"}"#,
        r#"{"jobId":"9f","status":"running","progress":101}"#,
        "[]",
    ];
    let records: Vec<Record> = (0..)
        .zip(data)
        .map(|(offset, data)| {
            let value = format!(r#"{{"event":"job.update","data":{data}}}"#);
            record("rivermouth.jobs", offset, "9f", &value)
        })
        .collect();
    let batch = world.build(0, &records, None).batch;
    assert_eq!((batch.events.len(), batch.quarantine.len()), (5, 0));
    assert_eq!((batch.jobs.len(), batch.job_history.len()), (0, 0));
}

#[test]
fn the_end_of_the_log_moves_the_offset_over_what_is_invisible() {
    let mut world = World::new("rivermouth.events");
    let built = world.build(5, &[], Some(9));
    assert_eq!((built.batch.start, built.batch.end), (5, 9));
    assert_eq!(built.batch.complete_to_ms, None);
}

#[test]
fn a_time_from_the_future_completes_nothing() {
    let mut world = World::new("rivermouth.events");
    let mut mad = record("rivermouth.events", 0, "42", r#"{"event":"draw"}"#);
    mad.timestamp_ms = i64::MAX;
    let built = world.build(0, &[mad], None);
    assert_eq!(built.batch.complete_to_ms, Some(5000));
}
