//! One transaction: everything or nothing, and only for whoever knows where the partition stands.

use bytes::Bytes;
use schemas::Outbox;
use serde_json::json;
use store::testing::Database;
use store::{Batch, JobRow, JobStep, LOST_MAX, QuarantineRow, StoreError};

use crate::sample::{NOON_MS, batch, channel, event, place, stored};

#[tokio::test]
async fn a_batch_stores_rows_and_moves_the_offset() {
    let (database, store) = Database::migrated().await;
    store.open(&place(), 10).await.unwrap();
    let mut addressed = event("session.42", 12, NOON_MS + 1);
    addressed.to = Some(vec!["u2".into(), "u,3 \"x\"".into()]);
    addressed.prev = Some(10);
    addressed.user_id = None;
    let mut written = batch(10, vec![event("session.42", 10, NOON_MS), addressed]);
    written.end = 20;
    written.complete_to_ms = Some(NOON_MS + 5);
    store.write(&place(), &written).await.unwrap();

    let progress = store.progress(&place()).await.unwrap().unwrap();
    assert_eq!((progress.next, progress.floor), (20, 10));
    assert_eq!(progress.complete_to_ms, Some(NOON_MS + 5));
    let rows = store
        .events_after(&place(), &channel("session.42"), 10, 20, 100, 1 << 20)
        .await
        .unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].at_ms, NOON_MS);
    assert_eq!(rows[0].data, Bytes::from_static(b"{\"n\":10}"));
    assert_eq!(
        rows[1].to.as_deref(),
        Some(&["u2".to_owned(), "u,3 \"x\"".to_owned()][..])
    );
    assert_eq!((rows[1].prev, rows[1].user_id.as_deref()), (Some(10), None));
    let views = database
        .rows("select data, at, cursor, \"offset\" from analytics.events order by 4 limit 1")
        .await;
    assert_eq!(
        views[0],
        json!({"data": {"n": 10}, "at": "2026-11-21T12:00:00+00:00", "cursor": "cursor-00000000000000000010", "offset": 10})
    );
}

#[tokio::test]
async fn whoever_does_not_know_the_offset_is_fenced_and_writes_nothing() {
    let (database, store) = Database::migrated().await;
    stored(&store, vec![event("session.42", 0, NOON_MS)]).await;
    // The zombie repeats what is stored already, and something new with it.
    let zombie = batch(
        0,
        vec![
            event("session.42", 0, NOON_MS),
            event("session.42", 1, NOON_MS),
        ],
    );
    let answer = store.write(&place(), &zombie).await;
    assert!(
        matches!(answer, Err(StoreError::Fenced { expected: 0, .. })),
        "{answer:?}"
    );
    assert_eq!(
        database
            .number("select count(*) from rivermouth.events")
            .await,
        1
    );
}

#[tokio::test]
async fn of_two_writers_of_one_batch_exactly_one_succeeds() {
    let (database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    let other = database.store().await;
    for round in 0..20 {
        let one = batch(round, vec![event("session.42", round, NOON_MS)]);
        let place = place();
        let (a, b) = tokio::join!(store.write(&place, &one), other.write(&place, &one));
        let fenced =
            |answer: &Result<(), StoreError>| matches!(answer, Err(StoreError::Fenced { .. }));
        assert!(
            (a.is_ok() && fenced(&b)) || (b.is_ok() && fenced(&a)),
            "{a:?} {b:?}"
        );
    }
    assert_eq!(
        database
            .number("select count(*) from rivermouth.events")
            .await,
        20
    );
}

#[tokio::test]
async fn a_row_that_is_there_already_is_a_defect_and_not_a_retry() {
    let (database, store) = Database::migrated().await;
    stored(&store, vec![event("session.42", 0, NOON_MS)]).await;
    database
        .execute("update rivermouth.offsets set next_offset = 0")
        .await;
    let answer = store
        .write(&place(), &batch(0, vec![event("session.42", 0, NOON_MS)]))
        .await;
    assert!(
        matches!(answer, Err(StoreError::Fatal { .. })),
        "{answer:?}"
    );
    assert_eq!(store.progress(&place()).await.unwrap().unwrap().next, 0);
}

#[tokio::test]
async fn data_that_jsonb_refuses_is_served_but_quarantined() {
    let (database, store) = Database::migrated().await;
    let mut monstrous = event("session.42", 1, NOON_MS);
    monstrous.data = Bytes::from_static(b"1e131072");
    let mut nul = event("session.42", 2, NOON_MS);
    nul.data = Bytes::from_static(br#""\u0000""#);
    stored(
        &store,
        vec![
            event("session.42", 0, NOON_MS),
            monstrous,
            nul,
            event("session.42", 3, NOON_MS),
        ],
    )
    .await;

    let rows = store
        .events_after(&place(), &channel("session.42"), 0, 4, 100, 1 << 20)
        .await
        .unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[1].data, Bytes::from_static(b"1e131072"));
    let quarantined = database
        .rows("select \"offset\", reason from analytics.quarantine order by 1")
        .await;
    assert_eq!(
        serde_json::Value::from(quarantined),
        json!([{"offset": 1, "reason": "not_storable"}, {"offset": 2, "reason": "not_storable"}])
    );
}

#[tokio::test]
async fn quarantine_keeps_a_record_as_it_was() {
    let (database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    let row = QuarantineRow {
        offset: 0,
        at_ms: i64::MIN,
        reason: "not_json".into(),
        detail: "a NUL \0 in the text".into(),
        key: Some(Bytes::from_static(b"\xff\0")),
        value: None,
        headers: vec![
            ("h".into(), Bytes::from_static(b"v")),
            ("h".into(), Bytes::from_static(b"\0")),
        ],
    };
    let one = Batch {
        end: 1,
        quarantine: vec![row],
        ..Batch::default()
    };
    store.write(&place(), &one).await.unwrap();
    let rows = database.rows("select topic, partition, \"offset\", at, reason, detail, key, value, headers from analytics.quarantine").await;
    assert_eq!(
        rows[0],
        json!({
            "topic": "rivermouth.events", "partition": 3, "offset": 0, "at": "1970-01-01T00:00:00+00:00",
            "reason": "not_json", "detail": "a NUL \u{fffd} in the text", "key": "\\xff00", "value": null,
            "headers": [{"name": "h", "value": "v"}, {"name": "h", "hex": "00"}],
        })
    );
}

#[tokio::test]
async fn jobs_are_replaced_and_their_steps_kept() {
    let (database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    let job = |status: &str, offset: i64, finished: Option<i64>| JobRow {
        job_id: "9f".into(),
        kind: Some("render".into()),
        owner_id: Some("u1".into()),
        status: status.into(),
        progress: Some(12.5),
        message: None,
        error_code: None,
        error_message: None,
        created_at_ms: NOON_MS,
        updated_at_ms: NOON_MS + offset,
        finished_at_ms: finished,
        cursor: format!("c{offset}"),
    };
    let step = |status: &str, offset: i64| JobStep {
        job_id: "9f".into(),
        offset,
        status: status.into(),
        progress: None,
        message: Some("step".into()),
        error_code: None,
        at_ms: NOON_MS + offset,
        cursor: format!("c{offset}"),
    };
    let first = Batch {
        end: 1,
        jobs: vec![job("running", 0, None)],
        job_history: vec![step("running", 0)],
        ..Batch::default()
    };
    let second = Batch {
        start: 1,
        end: 2,
        jobs: vec![job("succeeded", 1, Some(NOON_MS + 1))],
        job_history: vec![step("succeeded", 1)],
        ..Batch::default()
    };
    store.write(&place(), &first).await.unwrap();
    store.write(&place(), &second).await.unwrap();
    assert_eq!(
        store.job("9f").await.unwrap(),
        Some(job("succeeded", 1, Some(NOON_MS + 1)))
    );
    assert_eq!(store.job("none").await.unwrap(), None);
    let steps = database
        .rows("select status, cursor from analytics.job_history order by at")
        .await;
    assert_eq!(
        serde_json::Value::from(steps),
        json!([{"status": "running", "cursor": "c0"}, {"status": "succeeded", "cursor": "c1"}])
    );
}

#[tokio::test]
async fn what_was_lost_is_recorded_and_the_rows_before_it_stay() {
    let (database, store) = Database::migrated().await;
    let mut first = event("session.42", 0, NOON_MS);
    first.outbox = Some(Outbox {
        producer: "p".into(),
        epoch: 0,
        seq: 0,
    });
    stored(&store, vec![first]).await;
    store.skip(&place(), 1, 100).await.unwrap();
    assert!(matches!(
        store.skip(&place(), 1, 100).await,
        Err(StoreError::Fenced { .. })
    ));
    let progress = store.progress(&place()).await.unwrap().unwrap();
    assert_eq!((progress.next, progress.floor), (100, 0));
    assert_eq!(progress.lost, [(1, 100)]);
    assert_eq!(
        database
            .rows("select from_offset, to_offset, reason from rivermouth.gaps")
            .await,
        [json!({"from_offset": 1, "to_offset": 100, "reason": "retention"})]
    );
    let rows = store
        .events_after(&place(), &channel("session.42"), 0, 100, 10, 1000)
        .await;
    assert_eq!(rows.unwrap().len(), 1);

    // Where the outbox stood before is a lower bound; who is heard of after it is known again.
    let asked = [channel("session.42"), channel("session.new")];
    let checkpoint = store.outboxes(&place(), &asked).await.unwrap().unwrap();
    assert_eq!((checkpoint.next, checkpoint.lost_to), (100, 100));
    assert_eq!(checkpoint.unknown().unheard, Some(Vec::new()));
    let state = &checkpoint.channels[&asked[0]].state;
    assert_eq!((state.last, state.producers.len()), (None, 0));
    assert_eq!(state.unheard.as_ref().map(Vec::len), Some(1));
    let mut next = event("session.42", 100, NOON_MS);
    next.outbox = Some(Outbox {
        producer: "p".into(),
        epoch: 0,
        seq: 7,
    });
    store
        .write(&place(), &batch(100, vec![next]))
        .await
        .unwrap();
    let checkpoint = store.outboxes(&place(), &asked).await.unwrap().unwrap();
    let state = &checkpoint.channels[&asked[0]].state;
    assert_eq!((state.last, state.producers.len()), (Some(100), 1));
    assert_eq!(state.unheard, Some(Vec::new()));
}

#[tokio::test]
async fn more_losses_than_are_told_apart_raise_the_floor() {
    let (_database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    let losses = i64::try_from(LOST_MAX).unwrap() + 3;
    for n in 0..losses {
        let kept = event("session.42", 10 * n, NOON_MS);
        store
            .write(&place(), &batch(10 * n, vec![kept]))
            .await
            .unwrap();
        store.skip(&place(), 10 * n + 1, 10 * n + 10).await.unwrap();
    }
    let progress = store.progress(&place()).await.unwrap().unwrap();
    assert_eq!(progress.floor, 30);
    assert_eq!(progress.lost.len(), LOST_MAX);
    assert_eq!(progress.lost[0], (31, 40));
}

#[tokio::test]
async fn a_quiet_partition_is_confirmed_only_where_it_stands() {
    let (_database, store) = Database::migrated().await;
    stored(&store, vec![event("session.42", 0, NOON_MS)]).await;
    assert!(store.confirm(&place(), 1, NOON_MS + 10).await.unwrap());
    assert!(!store.confirm(&place(), 0, NOON_MS + 20).await.unwrap());
    // Never back.
    assert!(store.confirm(&place(), 1, NOON_MS).await.unwrap());
    let progress = store.progress(&place()).await.unwrap().unwrap();
    assert_eq!(progress.complete_to_ms, Some(NOON_MS + 10));
}

#[tokio::test]
async fn milliseconds_survive_the_way_through_timestamptz() {
    let (_database, store) = Database::migrated().await;
    // A simple generator: spread over the years, all remainders of a second.
    let times: Vec<i64> = (0..500_i64)
        .map(|n| (n * 7_919_777_777_771).rem_euclid(4_102_444_800_000))
        .collect();
    let events = times
        .iter()
        .zip(0..)
        .map(|(at_ms, offset)| event("session.42", offset, *at_ms))
        .collect();
    stored(&store, events).await;
    let rows = store
        .events_after(&place(), &channel("session.42"), 0, 500, 500, 1 << 20)
        .await
        .unwrap();
    assert_eq!(rows.iter().map(|row| row.at_ms).collect::<Vec<_>>(), times);
}
