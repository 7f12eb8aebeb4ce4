//! Every accepted event becomes a row exactly once; everything else leaves the trace it should.

use std::time::Duration;

use broker::{Append, Fetched};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::bed::{Bed, eventually};

/// What both logs have to show.
pub(crate) async fn events_duplicates_poison_and_jobs(bed: &Bed) {
    let events = bed.topics.events().to_owned();
    let jobs = bed.topics.jobs().to_owned();
    let instance = bed.start();

    bed.append(
        &events,
        "42",
        r#"{"event":"draw","id":"a","userId":"u1","data":{"b": 1, "a":1.0}}"#,
    )
    .await;
    bed.append(
        &events,
        "42",
        r#"{"event":"draw","id":"a","data":"the second body does not stand"}"#,
    )
    .await;
    bed.append(
        &events,
        "42",
        r#"{"event":"chat_message","data":{"username":"Ada"}}"#,
    )
    .await;
    bed.append(
        &events,
        "42",
        r#"{"event":"note.edited","id":"w","to":["u2","u3"]}"#,
    )
    .await;
    let outbox = |seq| [("rm-producer", "p"), ("rm-epoch", "0"), ("rm-seq", seq)];
    let numbered = Some(&br#"{"event":"draw","data":1}"#[..]);
    for seq in ["0", "1", "1", "3", "2"] {
        bed.append_with(&events, Some("7"), &outbox(seq), numbered)
            .await;
    }
    bed.append_with(&events, Some("u1"), &[("rm-channel", "user.u1")], numbered)
        .await;
    let poison = bed
        .append_with(&events, Some("42"), &[("h", "v")], Some(b"{"))
        .await;
    bed.append_with(&events, Some("42"), &[], None).await;
    for data in [
        r#"{"jobId":"9f","status":"running","ownerId":"u1","progress":10}"#,
        r#"{"jobId":"9f","status":"failed","error":{"code":"E7","message":"no ink"}}"#,
        r#"{"jobId":"9f","status":"running"}"#,
    ] {
        bed.append(
            &jobs,
            "9f",
            &format!(r#"{{"event":"job.update","data":{data}}}"#),
        )
        .await;
    }
    bed.caught_up().await;

    let rows = bed
        .database
        .rows("select channel, event, user_id, data, addressed_to from analytics.events where channel <> 'jobs.9f' order by channel, cursor")
        .await;
    let row = |channel: &str, event: &str, user: Value, data: Value, to: Value| json!({"channel": channel, "event": event, "user_id": user, "data": data, "addressed_to": to});
    let null = || Value::Null;
    assert_eq!(
        Value::from(rows),
        json!([
            row(
                "session.42",
                "draw",
                json!("u1"),
                json!({"a": 1.0, "b": 1}),
                null()
            ),
            row(
                "session.42",
                "chat.message",
                null(),
                json!({"username": "Ada"}),
                null()
            ),
            row(
                "session.42",
                "note.edited",
                null(),
                null(),
                json!(["u2", "u3"])
            ),
            row("session.7", "draw", null(), json!(1), null()),
            row("session.7", "draw", null(), json!(1), null()),
            row("session.7", "draw", null(), json!(1), null()),
            row("user.u1", "draw", null(), json!(1), null()),
        ])
    );
    eventually("the void ones to be counted", async || {
        instance.number("persister_void_total") == 3
    })
    .await;
    let text = bed
        .database
        .rows("select data_text from rivermouth.events where event_id = 'a'")
        .await;
    assert_eq!(text[0]["data_text"], r#"{"b":1,"a":1.0}"#);

    let job = bed.database.rows("select status, owner_id, progress, error_code, finished_at is not null as done from analytics.jobs").await;
    assert_eq!(
        job,
        [
            json!({"status": "failed", "owner_id": "u1", "progress": 10, "error_code": "E7", "done": true})
        ]
    );
    assert_eq!(bed.count("analytics.job_history").await, 2);

    let quarantine = bed
        .database
        .rows("select reason, headers from analytics.quarantine order by \"offset\"")
        .await;
    assert_eq!(
        quarantine[0],
        json!({"reason": "not_json", "headers": [{"name": "h", "value": "v"}]})
    );
    assert_eq!(quarantine[1]["reason"], "tombstone");
    dead_letter(bed, poison.offset).await;
    instance.stop().await;
    assert_eq!(
        bed.count("rivermouth.leases where owner is not null").await,
        0
    );
}

/// The first dead letter is the poison at `offset` of the events' partition of "42".
async fn dead_letter(bed: &Bed, offset: i64) {
    let mut reader = bed.log.reader().unwrap();
    reader.assign(bed.topics.deadletter(), 0, 0).unwrap();
    let letter = loop {
        let fetched = tokio::time::timeout(Duration::from_secs(20), reader.next(1))
            .await
            .unwrap()
            .unwrap();
        if let Some(Fetched::Record(record)) = fetched.into_iter().next() {
            break record;
        }
    };
    assert_eq!(letter.key.as_deref(), Some(&b"42"[..]));
    assert_eq!(letter.value.as_deref(), Some(&b"{"[..]));
    let header = |name: &str| {
        let found = letter.headers.iter().find(|(one, _)| one == name);
        found.map(|(_, value)| String::from_utf8(value.to_vec()).unwrap())
    };
    assert_eq!(header("h").as_deref(), Some("v"));
    assert_eq!(
        header("rm-dead-topic").as_deref(),
        Some(bed.topics.events())
    );
    assert_eq!(header("rm-dead-offset"), Some(offset.to_string()));
    assert_eq!(header("rm-dead-reason").as_deref(), Some("not_json"));
    assert!(header("rm-dead-partition").is_some() && header("rm-dead-detail").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_duplicates_poison_and_jobs_leave_the_rows_they_should() {
    events_duplicates_poison_and_jobs(&Bed::embedded(4).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_outside_its_keys_partition_is_quarantined_and_never_a_row() {
    let bed = Bed::embedded(4).await;
    let home = schemas::partition_of(b"42", bed.partitions);
    let value = r#"{"event":"draw","id":"a"}"#;
    let stray = Append {
        topic: bed.topics.events().into(),
        partition: (home + 1) % 4,
        key: Some(Bytes::from_static(b"42")),
        headers: Vec::new(),
        value: Some(Bytes::from_static(value.as_bytes())),
    };
    bed.log.append(stray).unwrap().await.unwrap();
    bed.append(bed.topics.events(), "42", value).await;
    let instance = bed.start();
    bed.caught_up().await;
    let events = bed
        .database
        .rows("select partition from analytics.events")
        .await;
    assert_eq!(events, [json!({"partition": home})]);
    let strays = bed
        .database
        .rows("select partition, reason from analytics.quarantine")
        .await;
    assert_eq!(
        strays,
        [json!({"partition": (home + 1) % 4, "reason": "wrong_partition"})]
    );
    instance.stop().await;
}

/// Appends `count` events over `channels` sessions, every fifth one twice with the same id.
pub(crate) async fn publish(bed: &Bed, from: usize, count: usize, channels: usize) {
    let mut deliveries = Vec::new();
    for n in from..from + count {
        let key = (n % channels).to_string();
        let value = format!(r#"{{"event":"draw","id":"id-{n}","data":{{"n":{n}}}}}"#);
        for _ in 0..if n % 5 == 0 { 2 } else { 1 } {
            deliveries.push(bed.enqueue(
                bed.topics.events(),
                Some(&key),
                &[],
                Some(value.as_bytes()),
            ));
        }
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

/// Every event published by [`publish`] is there once, in the order of its channel, and names the one before it.
pub(crate) async fn exactly_once(bed: &Bed, count: usize) {
    assert_eq!(
        bed.count("analytics.events").await,
        i64::try_from(count).unwrap()
    );
    assert_eq!(
        bed.count("(select distinct data from analytics.events) d")
            .await,
        i64::try_from(count).unwrap()
    );
    let disordered = bed
        .database
        .rows(
            "select * from (
                 select channel, cursor, (data->>'n')::int as n, prev_offset,
                        lag((data->>'n')::int) over w as n_before, lag(\"offset\") over w as offset_before
                 from rivermouth.events window w as (partition by channel order by cursor)
             ) c where n <= n_before or prev_offset is distinct from offset_before limit 3",
        )
        .await;
    assert!(disordered.is_empty(), "{disordered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_every_channel_after_every_batch_changes_nothing() {
    let bed = Bed::embedded(2).await;
    let mut config = bed.config();
    config.state_bytes_max = 0;
    config.batch_rows_max = 7;
    publish(&bed, 0, 1000, 20).await;
    let instance = bed.start_with(config, bed.database.url().to_owned(), None);
    bed.caught_up().await;
    exactly_once(&bed, 1000).await;
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_can_be_rebuilt_from_the_log_to_the_same_content() {
    let mut bed = Bed::embedded(3).await;
    publish(&bed, 0, 500, 11).await;
    bed.append(
        bed.topics.jobs(),
        "9f",
        r#"{"event":"job.update","data":{"jobId":"9f","status":"running"}}"#,
    )
    .await;
    bed.append(bed.topics.events(), "1", "poison").await;
    let content = "select md5(string_agg(t::text, E'\\n' order by t::text)) as content from (
        select to_jsonb(e) from analytics.events e union all select to_jsonb(j) from analytics.jobs j
        union all select to_jsonb(h) from analytics.job_history h union all select to_jsonb(q) from analytics.quarantine q
        union all select to_jsonb(c) from rivermouth.channels c
    ) t";
    let instance = bed.start();
    bed.caught_up().await;
    instance.stop().await;
    let first = bed.database.rows(content).await;

    (bed.database, bed.store) = store::testing::Database::migrated().await;
    let mut config = bed.config();
    config.batch_rows_max = 13;
    config.workers = 1;
    let instance = bed.start_with(config, bed.database.url().to_owned(), None);
    bed.caught_up().await;
    instance.stop().await;
    assert_eq!(bed.database.rows(content).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_partition_is_confirmed_complete_as_time_goes_on() {
    let bed = Bed::embedded(1).await;
    let mut config = bed.config();
    config.observe_every = Duration::from_millis(100);
    let instance = bed.start_with(config, bed.database.url().to_owned(), None);
    let confirmed = "analytics.completeness where complete_to_at > now() - interval '10 seconds' and complete_to_offset = 0";
    eventually("empty partitions are confirmed", async || {
        bed.count(confirmed).await == 2
    })
    .await;
    instance.stop().await;
}
