//! States of jobs, on real Kafka and PostgreSQL: every state that a client is told is the fold of the log before its
//! cursor, worked out by the checker, and what follows is exactly what follows that cursor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::{Event, History, Publish, ServerMessage};
use serde_json::{Value, json};
use testbed::checker::{Accepted, Row, job_states};
use testbed::{Bed, Node, Random, within};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::BINARY;
use crate::insisting::surely;
use crate::talk::Talk;
use crate::traffic::publish_surely;

/// The log and the tables of one job, and its state at each cursor.
struct Truth {
    rows: Vec<Row>,
    states: Vec<Value>,
}

impl Truth {
    async fn of(bed: &Bed, id: &str) -> Truth {
        let checker = bed.checker().await;
        let channel = format!("jobs.{id}");
        let accepted: Vec<Accepted> = checker.tables_equal_log().await.remove(&channel).unwrap();
        let rows = checker.stored_now().await.remove(&channel).unwrap();
        Truth {
            rows,
            states: job_states(id, &accepted),
        }
    }

    /// How many events there are up to a cursor: cursors sort as the events.
    fn index(&self, cursor: &str) -> usize {
        self.rows
            .partition_point(|row| row.cursor.as_str() <= cursor)
    }

    fn at(&self, cursor: &str) -> &Value {
        &self.states[self.index(cursor)]
    }
}

fn running(id: &str, percent: u64) -> Value {
    json!({"jobId": id, "status": "running", "progress": percent, "ownerId": "u1", "message": format!("{percent} %")})
}

async fn update(node: &Node, backend: &str, id: &str, data: Value) -> String {
    let publish = Publish::new(format!("jobs.{id}"), "job.update", data.to_string()).unwrap();
    let publish = publish.id(Uuid::new_v4().simple().to_string());
    let http = node.http(backend);
    let published = publish_surely(std::slice::from_ref(&http), &publish).await;
    if !published.duplicate {
        return published.cursor.unwrap();
    }
    // Published again, it may be answered with the place of a second, void record.
    let asked = History {
        channel: publish.channel,
        order: Some("desc"),
        limit: Some(1),
        ..History::default()
    };
    let mut page = surely("a page", || http.history(&asked)).await;
    page.events.remove(0).cursor.unwrap()
}

/// `GET /api/realtime/snapshot`: status and body.
async fn ask(node: &Node, token: &str, query: &str) -> (u16, Value) {
    let path = format!("/api/realtime/snapshot?{query}");
    let answer = within("a snapshot", node.http(token).get(&path))
        .await
        .unwrap();
    (
        answer.status.as_u16(),
        serde_json::from_slice(answer.body.as_ref()).unwrap(),
    )
}

/// What one subscriber was told: where it began, the state there, and the events after it.
struct Told {
    cursor: String,
    state: Value,
    events: Vec<Event>,
}

async fn join(node: &Node, token: &str, id: &str, count: usize) -> Told {
    let mut talk = Talk::open(node, token).await;
    let channel = format!("jobs.{id}");
    let mut begun = talk
        .subscribe(json!({"channel": channel, "snapshot": true}))
        .await;
    Told {
        cursor: begun["cursor"].as_str().unwrap().to_owned(),
        state: begun["snapshot"].take(),
        events: talk.events(count).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_joins_while_jobs_run_is_told_the_fold_of_the_log_and_then_what_follows() {
    const JOBS: [&str; 3] = ["a", "b", "c"];
    const READERS: usize = 150;
    let bed = Bed::on_kafka(BINARY).await;
    let (first, second, _persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("persister")
    );
    let nodes = Arc::new([first, second]);
    let backend = bed.backend();
    let token = bed.token("u1").mint();
    let done = Arc::new(AtomicBool::new(false));
    for id in JOBS {
        update(&nodes[0], &backend, id, running(id, 0)).await;
    }
    // Writers go on until every reader has what it wants; then each job ends, and is updated in vain.
    let mut writers = JoinSet::new();
    for (number, id) in JOBS.into_iter().enumerate() {
        let (nodes, backend, done) = (Arc::clone(&nodes), backend.clone(), Arc::clone(&done));
        writers.spawn(async move {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                count += 1;
                let node = &nodes[(number + count as usize) % 2];
                let data = match count % 7 {
                    3 => json!({"jobId": id, "status": "queued", "progress": 12.5}),
                    5 => json!({"jobId": id, "status": "running", "kind": format!("k{count}"), "error": {"code": "E1"}}),
                    _ => running(id, count % 101),
                };
                update(node, &backend, id, data).await;
            }
            for status in ["succeeded", "failed", "running"] {
                update(&nodes[0], &backend, id, json!({"jobId": id, "status": status, "message": status})).await;
            }
        });
    }
    let mut readers = JoinSet::new();
    let mut told = Vec::new();
    let mut random = Random::seeded("joining");
    for number in 0..READERS {
        let (nodes, token) = (Arc::clone(&nodes), token.clone());
        let (id, count) = (JOBS[number % 3], random.below(6) as usize);
        readers.spawn(async move { (id, join(&nodes[number % 2], &token, id, count).await) });
        // A few at a time: they join in the middle of each other's joining and of the updates.
        if readers.len() >= 4 {
            told.extend(readers.join_next().await.map(Result::unwrap));
        }
    }
    told.extend(readers.join_all().await);
    done.store(true, Ordering::Relaxed);
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    let mut events = 0;
    for id in JOBS {
        let truth = Truth::of(&bed, id).await;
        for (_, told) in told.iter().filter(|(of, _)| *of == id) {
            let index = truth.index(&told.cursor);
            assert_eq!(
                told.state, truth.states[index],
                "{id} as of {}",
                told.cursor
            );
            for (event, row) in told.events.iter().zip(&truth.rows[index..]) {
                assert_eq!(event.cursor.as_deref(), Some(row.cursor.as_str()), "{id}");
                events += 1;
            }
        }
        let (status, last) = ask(&nodes[0], &token, &format!("channel=jobs.{id}")).await;
        assert_eq!(
            (status, &last["state"]),
            (200, truth.states.last().unwrap())
        );
        assert_eq!(
            last["state"]["status"], "succeeded",
            "a final status stands"
        );
    }
    println!(
        "{} readers joined, {events} events after their states",
        told.len()
    );
}

/// A job with a history: every kind of update, an end, and what comes after it in vain.
async fn lived(bed: &Bed, node: &Node) -> Truth {
    let backend = bed.backend();
    for data in [
        json!({"jobId": "9f", "status": "queued", "ownerId": "u1", "kind": "export"}),
        running("9f", 10),
        json!({"jobId": "9f", "status": "running", "progress": 33.25, "message": "ä \"x\""}),
        running("9f", 60),
        json!({"jobId": "9f", "status": "running", "error": {"code": "E7"}}),
        json!({"jobId": "9f", "status": "failed", "error": {"message": "no ink"}}),
        json!({"jobId": "9f", "status": "succeeded", "progress": 100}),
        running("9f", 1),
    ] {
        update(node, &backend, "9f", data).await;
    }
    Truth::of(bed, "9f").await
}

/// Asserts that every cursor of the job has its state on this node, over HTTP and WebSocket, alone and before what
/// follows it.
async fn every_cursor_has_its_state(bed: &Bed, node: &Node, truth: &Truth) {
    let token = bed.token("u1").mint();
    let mut talk = Talk::open(node, &token).await;
    for (index, row) in truth.rows.iter().enumerate() {
        let cursor = &row.cursor;
        let expected = json!({"cursor": cursor, "state": truth.at(cursor)});
        let answer = ask(node, &token, &format!("channel=jobs.9f&at={cursor}")).await;
        assert_eq!(answer, (200, expected.clone()));
        let params = json!({"channel": "jobs.9f", "at": cursor});
        assert_eq!(talk.call("snapshot", params).await.unwrap(), expected);
        let params = json!({"channel": "jobs.9f", "since": cursor, "snapshot": true});
        let begun = talk.subscribe(params).await;
        assert_eq!(begun["snapshot"], expected["state"]);
        assert_eq!(
            (&begun["cursor"], &begun["recovered"]),
            (&json!(cursor), &json!(true))
        );
        for row in &truth.rows[index + 1..] {
            assert_eq!(talk.event().await.cursor.as_ref(), Some(&row.cursor));
        }
        talk.caught_up("jobs.9f").await;
    }
    let (status, now) = ask(node, &token, "channel=jobs.9f").await;
    assert_eq!((status, &now["state"]), (200, truth.states.last().unwrap()));
    assert_eq!(truth.at(now["cursor"].as_str().unwrap()), &now["state"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cursor_has_its_state_hot_cold_and_after_kafka_has_erased_the_beginning() {
    let bed = Bed::on_kafka(BINARY).await;
    let (hot, mut persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let truth = lived(&bed, &hot).await;
    every_cursor_has_its_state(&bed, &hot, &truth).await;
    let cold = bed.start("fanout").await;
    every_cursor_has_its_state(&bed, &cold, &truth).await;
    let middle = &truth.rows[5];
    bed.broker()
        .erase(&middle.topic, middle.partition, middle.offset)
        .await;
    let fresh = bed.start("fanout").await;
    every_cursor_has_its_state(&bed, &fresh, &truth).await;
    // Updates that are in the log and not in the tables yet: state from one, the rest from the other.
    persister.terminate().await;
    update(&fresh, &bed.backend(), "9f", running("9f", 99)).await;
    let last = bed.start("fanout").await;
    let token = bed.token("u1").mint();
    let (status, now) = ask(&last, &token, "channel=jobs.9f").await;
    assert_eq!((status, &now["state"]), (200, truth.states.last().unwrap()));
    assert!(now["cursor"].as_str().unwrap() > truth.rows[7].cursor.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_whose_events_are_erased_everywhere_is_never_made_up() {
    let bed = Bed::on_kafka(BINARY).await;
    let (first, persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let truth = lived(&bed, &first).await;
    let token = bed.token("u1").mint();
    let last = &truth.rows[7];
    bed.broker()
        .erase(&last.topic, last.partition, last.offset + 1)
        .await;
    // As the retention of the tables does.
    for drop in [
        "select rivermouth.drop_days(current_date + 2)",
        "select rivermouth.drop_snapshots()",
    ] {
        bed.database().execute(drop).await;
    }
    let node = bed.start("fanout").await;
    // What the job came to outlives its events.
    let (status, now) = ask(&node, &token, "channel=jobs.9f").await;
    assert_eq!((status, &now["state"]), (200, truth.states.last().unwrap()));
    let (status, at) = ask(
        &node,
        &token,
        &format!("channel=jobs.9f&at={}", last.cursor),
    )
    .await;
    assert_eq!((status, &at["state"]), (200, truth.states.last().unwrap()));
    // How it was on the way there does not.
    let old = &truth.rows[2].cursor;
    let (status, answer) = ask(&node, &token, &format!("channel=jobs.9f&at={old}")).await;
    assert_eq!(
        (status, &answer["error"]["name"]),
        (404, &json!("NOT_FOUND"))
    );
    let gap = &answer["error"]["details"]["gap"];
    assert_eq!(gap["reason"], "retention", "{answer}");
    // Who comes back from there is told what is gone, and begins with the state behind it.
    let mut talk = Talk::open(&node, &token).await;
    let params = json!({"channel": "jobs.9f", "since": old, "snapshot": true});
    let begun = talk.subscribe(params).await;
    assert_eq!(
        (&begun["recovered"], &begun["wasRecovering"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(&begun["snapshot"], truth.states.last().unwrap());
    match talk.next_of_channel().await {
        ServerMessage::Gap { gap, .. } => {
            assert_eq!(gap.from.as_ref(), Some(old));
            assert_eq!(gap.to.as_deref(), begun["cursor"].as_str());
        }
        other => panic!("{other:?}"),
    }
    talk.caught_up("jobs.9f").await;
    let data = json!({"jobId": "9f", "status": "running"});
    let published = update(&node, &bed.backend(), "9f", data).await;
    assert_eq!(talk.event().await.cursor, Some(published));
    drop(persister);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tables_an_erased_beginning_leaves_no_state_and_no_hint_of_one() {
    let bed = Bed::on_kafka(BINARY).await;
    let node = bed.start("fanout").await;
    let backend = bed.backend();
    let mut cursors = Vec::new();
    for percent in 0..4 {
        cursors.push(update(&node, &backend, "9f", running("9f", percent)).await);
    }
    let mut reader = Talk::open(&node, &backend).await;
    let begun = reader
        .subscribe(json!({"channel": "jobs.9f", "snapshot": true}))
        .await;
    let accepted = bed.checker().await.accepted().await;
    let events = &accepted["jobs.9f"];
    let states = job_states("9f", events);
    assert_eq!(&begun["snapshot"], &states[4]);
    bed.broker()
        .erase(&events[2].topic, events[2].partition, events[2].offset)
        .await;
    let fresh = bed.start("fanout").await;
    for query in [
        "channel=jobs.9f".to_owned(),
        format!("channel=jobs.9f&at={}", cursors[3]),
    ] {
        let (status, answer) = ask(&fresh, &backend, &query).await;
        assert_eq!(
            (status, &answer["error"]["name"]),
            (404, &json!("NOT_FOUND")),
            "{answer}"
        );
        assert_eq!(answer["error"]["details"]["gap"]["reason"], "retention");
    }
    let mut talk = Talk::open(&fresh, &backend).await;
    let params = json!({"channel": "jobs.9f", "snapshot": true});
    let refused = talk.call("subscribe", params).await.unwrap_err();
    assert_eq!(refused.name, "NOT_FOUND");
    talk.subscribe(json!({"channel": "jobs.9f"})).await;
    // Whoever has read it from its beginning still knows.
    let (status, now) = ask(&node, &backend, "channel=jobs.9f").await;
    assert_eq!((status, &now["state"]), (200, &states[4]));
    // The events that are left are to be had as before.
    let page = History {
        channel: "jobs.9f".into(),
        ..History::default()
    };
    assert_eq!(
        fresh
            .http(&backend)
            .history(&page)
            .await
            .unwrap()
            .events
            .len(),
        2
    );
}
