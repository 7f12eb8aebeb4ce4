//! Rebuilding: afterwards everything is as if the log had been stored up to there and no farther, and then as before.

use schemas::Outbox;
use serde_json::Value;
use store::testing::Database;
use store::{
    Batch, DAY_MS, JobRow, JobStep, NewEvent, Order, QuarantineRow, Store, StoreError, Way,
};

use crate::sample::{NOON_MS, batch, channel, event, place};

/// What a partition holds of everything but the rows below, in an order of its own.
const STATE: [&str; 5] = [
    "select channel, log_time_ms, last_offset, newest_offset, events from rivermouth.channels order by 1",
    "select channel, user_id, producer, epoch, seq from rivermouth.producers order by 1, 2, 3",
    "select day, first_offset, last_offset, events from rivermouth.days order by 1",
    "select job_id, status, progress, message, error_code, updated_at, finished_at, cursor from rivermouth.jobs order by 1",
    "select next_offset, floor_offset, complete_to_at from rivermouth.offsets",
];
const ROWS: [&str; 4] = [
    "select * from rivermouth.events order by \"offset\"",
    "select * from rivermouth.job_history order by \"offset\"",
    "select * from rivermouth.quarantine order by \"offset\"",
    "select * from rivermouth.jobs order by job_id",
];

async fn dump(database: &Database, questions: &[&str]) -> Vec<Vec<Value>> {
    let mut answers = Vec::new();
    for question in questions {
        answers.push(database.rows(question).await);
    }
    answers
}

/// Record `offset` of a log with channels, outboxes, addressed events, two days, jobs and poison.
fn record(offset: i64, into: &mut Batch) {
    let at_ms = NOON_MS + offset * DAY_MS / 60;
    into.complete_to_ms = Some(at_ms);
    into.end = offset + 1;
    match offset % 10 {
        // Void: no trace but the offset.
        3 => {}
        7 => into.quarantine.push(QuarantineRow {
            offset,
            at_ms,
            reason: "not_json".into(),
            detail: "no".into(),
            key: None,
            value: None,
            headers: Vec::new(),
        }),
        5 => job(offset, at_ms, into),
        _ => into.events.push(accepted(offset, at_ms)),
    }
}

fn accepted(offset: i64, at_ms: i64) -> NewEvent {
    let mut event = event(&format!("session.{}", offset % 4), offset, at_ms);
    // Every channel's chain: the last visible one before it, four or eight or … offsets below.
    event.prev = (0..offset).rev().find(|before| {
        before % 4 == offset % 4 && ![3, 5, 7].contains(&(before % 10)) && before % 9 != 0
    });
    event.to = (offset % 9 == 0).then(|| vec!["u2".into()]);
    // A producer of `session.1` continues its number, one of `session.2` opens an epoch each time.
    event.outbox = match offset % 4 {
        1 => Some((0, offset.unsigned_abs())),
        2 => Some((offset.unsigned_abs(), 0)),
        _ => None,
    }
    .map(|(epoch, seq)| Outbox {
        producer: "p".into(),
        epoch,
        seq,
    });
    event
}

fn job(offset: i64, at_ms: i64, into: &mut Batch) {
    let cursor = format!("cursor-{offset:020}");
    let job_id = if offset < 30 { "early" } else { "late" };
    let job_id = if offset % 20 == 5 { "long" } else { job_id };
    let message = (offset % 20 == 15).then(|| format!("step {offset}"));
    into.job_history.push(JobStep {
        job_id: job_id.into(),
        offset,
        status: "running".into(),
        progress: Some(offset as f64),
        message: message.clone(),
        error_code: None,
        at_ms,
        cursor: cursor.clone(),
    });
    into.jobs.retain(|job| job.job_id != job_id);
    into.jobs.push(JobRow {
        job_id: job_id.into(),
        kind: Some("print".into()),
        owner_id: None,
        status: "running".into(),
        progress: Some(offset as f64),
        message,
        error_code: None,
        error_message: None,
        created_at_ms: NOON_MS,
        updated_at_ms: at_ms,
        finished_at_ms: None,
        cursor,
    });
}

/// Stores records `from..to`, `size` to a batch.
async fn store_log(store: &Store, from: i64, to: i64, size: usize) {
    for start in (from..to).step_by(size) {
        let mut built = batch(start, Vec::new());
        for offset in start..to.min(start + i64::try_from(size).unwrap()) {
            record(offset, &mut built);
        }
        store.write(&place(), &built).await.unwrap();
    }
}

async fn make_way(store: &Store) {
    while store.make_way(&place()).await.unwrap() == Way::Blocked {}
}

fn order(from: i64) -> [Order; 1] {
    [Order {
        place: place(),
        from,
        to: 100,
    }]
}

#[tokio::test]
async fn a_rewound_partition_is_as_if_nothing_after_had_been_stored() {
    let (all, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    store_log(&store, 0, 100, 7).await;
    let whole = (dump(&all, &STATE).await, dump(&all, &ROWS).await);
    // From the beginning, in the middle, and a piece of the end; each time from the whole.
    for from in [0, 1, 26, 50, 61, 99] {
        let (part, reference) = Database::migrated().await;
        reference.open(&place(), 0).await.unwrap();
        store_log(&reference, 0, from, 7).await;

        store.order_rebuilds(&order(from)).await.unwrap();
        let ordered = store.rebuilds().await.unwrap();
        assert_eq!((ordered[0].next, ordered[0].to), (100, 100), "{from}");
        assert!(ordered[0].removing && !ordered[0].is_complete());
        make_way(&store).await;
        let mut expected = dump(&part, &STATE).await;
        if from > 0 {
            // Of a partition whose rows stay, the time of the last of them is what is known.
            let kept = part
                .rows("select max(at) as at from rivermouth.events")
                .await;
            expected[4][0]["complete_to_at"] = kept[0]["at"].clone();
        }
        assert_eq!(dump(&all, &STATE).await, expected, "the state at {from}");
        assert_eq!(
            dump(&all, &ROWS[..3]).await,
            dump(&part, &ROWS[..3]).await,
            "{from}"
        );

        assert!(
            !store.complete_rebuilds().await.unwrap(),
            "not before all is back"
        );
        store_log(&store, from, 100, 11).await;
        assert!(store.complete_rebuilds().await.unwrap());
        assert_eq!(dump(&all, &STATE).await, whole.0, "{from}");
        assert_eq!(dump(&all, &ROWS).await, whole.1, "{from}");
    }
}

#[tokio::test]
async fn nobody_stores_before_the_rows_of_an_ordered_rebuild_are_gone() {
    let (database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    store_log(&store, 0, 20, 5).await;
    let up_to = [Order {
        to: 20,
        ..order(10)[0].clone()
    }];
    store.order_rebuilds(&up_to).await.unwrap();
    let at_the_old_end = batch(20, vec![event("session.1", 20, NOON_MS)]);
    let write = store.write(&place(), &at_the_old_end).await;
    assert!(matches!(write, Err(StoreError::Fenced { .. })));
    assert!(!store.confirm(&place(), 20, NOON_MS).await.unwrap());
    let skip = store.skip(&place(), 20, 30).await;
    assert!(matches!(skip, Err(StoreError::Fenced { .. })));
    // Half done, by somebody who then died: still nobody.
    assert_eq!(store.make_way(&place()).await.unwrap(), Way::Blocked);
    let again = batch(10, vec![event("session.1", 10, NOON_MS)]);
    let write = store.write(&place(), &again).await;
    assert!(matches!(write, Err(StoreError::Fenced { .. })));
    make_way(&store).await;
    let progress = store.progress(&place()).await.unwrap().unwrap();
    assert_eq!(
        (progress.next, progress.removing, progress.rebuild_to),
        (10, false, Some(20))
    );
    store_log(&store, 10, 20, 5).await;
    // Somebody slow who believes that there is something to remove finds the way clear, and removes nothing.
    assert_eq!(store.make_way(&place()).await.unwrap(), Way::Clear);
    assert_eq!(
        database
            .number("select count(*) from rivermouth.events")
            .await,
        14
    );
    let history = store
        .events_after(&place(), &channel("session.1"), 0, 20, 100, 1 << 20)
        .await;
    assert_eq!(history.unwrap().len(), 2);
}

#[tokio::test]
async fn whoever_read_while_rows_were_removed_is_told_to_read_again() {
    let (_database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    store_log(&store, 0, 20, 5).await;
    store.order_rebuilds(&order(0)).await.unwrap();
    make_way(&store).await;
    let channel = channel("session.1");
    let read = store
        .events_after(&place(), &channel, 0, 20, 100, 1 << 20)
        .await;
    assert!(matches!(read, Err(StoreError::Retry { .. })), "{read:?}");
    let filter = store::HistoryFilter::between(0, 20);
    let read = store.history(&place(), &channel, filter).await;
    assert!(matches!(read, Err(StoreError::Retry { .. })), "{read:?}");
}

/// Between the order and its execution the tables' own retention drops a day.
#[tokio::test]
async fn days_dropped_after_the_order_stay_away() {
    let (database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    store_log(&store, 0, 100, 100).await;
    store.order_rebuilds(&order(0)).await.unwrap();
    store.drop_days(NOON_MS + DAY_MS).await.unwrap();
    make_way(&store).await;
    let progress = store.progress(&place()).await.unwrap().unwrap();
    assert_eq!((progress.next, progress.floor), (30, 30));
    store_log(&store, 30, 100, 100).await;
    assert!(store.complete_rebuilds().await.unwrap());
    assert_eq!(
        database
            .number("select min(\"offset\") from rivermouth.events")
            .await,
        30
    );
}

/// What a truncated log can never give again goes with its flag, and storing goes on.
#[tokio::test]
async fn a_truncated_partition_follows_the_log_again_once_rebuilt() {
    let (database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    store_log(&store, 0, 100, 100).await;
    store.truncated(&place(), 100, 60).await.unwrap();
    let lossy = [Order {
        to: 60,
        ..order(0)[0].clone()
    }];
    store.order_rebuilds(&lossy).await.unwrap();
    make_way(&store).await;
    assert_eq!(
        store.progress(&place()).await.unwrap().unwrap().truncated,
        None
    );
    store_log(&store, 0, 60, 7).await;
    assert!(store.complete_rebuilds().await.unwrap());
    // Where the log has grown again there are other events now.
    let grown = batch(60, vec![event("session.9", 60, NOON_MS)]);
    store.write(&place(), &grown).await.unwrap();
    assert_eq!(
        database
            .number("select max(\"offset\") from rivermouth.events")
            .await,
        60
    );
}

/// What retention took of the tables is no longer there to learn an outbox's number from: the first row above tells it.
#[tokio::test]
async fn outboxes_keep_their_numbers_though_the_rows_below_were_dropped() {
    let (database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    store_log(&store, 0, 100, 100).await;
    // The first day; its last record is number 29.
    store.drop_days(NOON_MS + DAY_MS).await.unwrap();
    let floor = store.progress(&place()).await.unwrap().unwrap().floor;
    assert_eq!(floor, 30);
    let whole = dump(&database, &STATE).await;
    store.order_rebuilds(&order(0)).await.unwrap();
    make_way(&store).await;
    assert_eq!(
        store.progress(&place()).await.unwrap().unwrap().next,
        30,
        "what retention took stays away"
    );
    assert_eq!(
        database
            .rows("select channel, epoch, seq from rivermouth.producers order by 1")
            .await,
        [
            serde_json::json!({"channel": "session.1", "epoch": 0, "seq": 40}),
            serde_json::json!({"channel": "session.2", "epoch": 29, "seq": 9_007_199_254_740_991_i64}),
        ]
    );
    store_log(&store, 30, 100, 100).await;
    assert_eq!(dump(&database, &STATE).await, whole);
}

#[tokio::test]
async fn digests_tell_equal_content_from_any_other() {
    let (_one, left) = Database::migrated().await;
    let (two, right) = Database::migrated().await;
    for (store, size) in [(&left, 7), (&right, 50)] {
        store.open(&place(), 0).await.unwrap();
        store_log(store, 0, 100, size).await;
    }
    assert_eq!(
        left.days_stored().await.unwrap(),
        right.days_stored().await.unwrap()
    );
    let day = async |store: &Store| store.digests(NOON_MS).await.unwrap();
    let whole = day(&left).await;
    assert_eq!(whole, day(&right).await);
    let contents: Vec<(&str, i64)> = whole.iter().map(|one| (&*one.content, one.count)).collect();
    // Half a day is thirty records.
    assert_eq!(
        contents,
        [
            ("events", 21),
            ("job_history", 3),
            ("jobs", 3),
            ("quarantine", 3)
        ]
    );
    for (change, content) in [
        (
            "update rivermouth.events set data_text = '{ }' where \"offset\" = 1",
            "events",
        ),
        (
            "update rivermouth.events set data = '{}' where \"offset\" = 1",
            "events",
        ),
        (
            "update rivermouth.events set to_users = array['u2,']",
            "events",
        ),
        (
            "update rivermouth.job_history set progress = progress + 1e-9",
            "job_history",
        ),
        ("update rivermouth.quarantine set key = ''", "quarantine"),
        ("update rivermouth.jobs set kind = ''", "jobs"),
    ] {
        let before = day(&right).await;
        two.execute(change).await;
        let after = day(&right).await;
        let changed: Vec<&str> = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after)
            .map(|(_, after)| &*after.content)
            .collect();
        assert_eq!(changed, [content], "{change}");
    }
}
