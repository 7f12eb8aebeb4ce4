use std::sync::Arc;

use bytes::Bytes;
use schemas::{Channel, Decoder, Incoming, Topics, Undecoded};

use super::*;

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
                builder.channels.learn(event.channel.clone(), None);
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
    let update = |offset, data: &str| {
        record(
            "rivermouth.jobs",
            offset,
            "9f",
            &format!(r#"{{"event":"job.update","data":{data}}}"#),
        )
    };
    let records = [
        update(
            0,
            r#"{"jobId":"9f","status":"running","ownerId":"u1","progress":10}"#,
        ),
        update(1, r#"{"jobId":"9f","status":"succeeded"}"#),
        update(2, r#"{"jobId":"9f","status":"running"}"#),
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
