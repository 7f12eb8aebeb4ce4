//! Snapshots: written with their rows, one per channel and day, found by offset, kept as long as they are needed.

use bytes::Bytes;
use store::testing::Database;
use store::{Batch, DAY_MS, Footing, Place, SnapshotRow, Store, StoreError};

use crate::sample::{NOON_MS, batch, channel, event, place};

fn snapshot(next: i64, at_ms: i64) -> SnapshotRow {
    SnapshotRow {
        channel: channel("jobs.9f"),
        next,
        at_ms,
        kind: "job".into(),
        version: 1,
        state: Bytes::from(format!("as of {next}")),
    }
}

/// One event of the job per offset of `from..to`, all at one time, and the state after them.
fn day(from: i64, to: i64, at_ms: i64) -> Batch {
    let events = (from..to).map(|n| event("jobs.9f", n, at_ms)).collect();
    Batch {
        snapshots: vec![snapshot(to, at_ms)],
        ..batch(from, events)
    }
}

async fn footing(store: &Store, at: i64) -> Footing {
    let footing = store.footing(&place(), &channel("jobs.9f"), at).await;
    footing.unwrap().unwrap()
}

async fn newest(store: &Store, at: i64) -> Option<i64> {
    footing(store, at).await.snapshot.map(|row| row.next)
}

#[tokio::test]
async fn a_snapshot_comes_with_the_checkpoint_that_its_rows_are_in() {
    let (_database, store) = Database::migrated().await;
    let asked = [channel("jobs.9f"), channel("session.1")];
    assert_eq!(
        store.footing(&place(), &asked[0], 9).await.unwrap(),
        None,
        "nobody has begun with the partition"
    );
    store.open(&place(), 0).await.unwrap();
    store.write(&place(), &day(0, 3, NOON_MS)).await.unwrap();
    let checkpoint = store
        .checkpoint(&place(), &asked, 0)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(checkpoint.snapshots.len(), 1);
    assert_eq!(checkpoint.snapshots[&asked[0]], snapshot(3, NOON_MS));
    assert_eq!(checkpoint.channels[&asked[0]].newest, 2);
    assert_eq!(
        footing(&store, 3).await,
        Footing {
            snapshot: Some(snapshot(3, NOON_MS)),
            next: 3,
            floor: 0,
            whole: true
        }
    );
    assert_eq!(newest(&store, 2).await, None);
}

#[tokio::test]
async fn each_day_has_the_last_of_its_states_and_each_offset_the_newest_before_it() {
    let (_database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    for (from, to, at_ms) in [
        (0, 3, NOON_MS),
        (3, 4, NOON_MS + 5),
        (4, 9, NOON_MS + DAY_MS),
        (9, 10, NOON_MS + 3 * DAY_MS),
    ] {
        store.write(&place(), &day(from, to, at_ms)).await.unwrap();
    }
    for (at, expected) in [
        (3, None),
        (4, Some(4)),
        (8, Some(4)),
        (9, Some(9)),
        (10, Some(10)),
        (i64::MAX, Some(10)),
    ] {
        assert_eq!(newest(&store, at).await, expected, "at {at}");
    }
}

#[tokio::test]
async fn a_writer_that_is_fenced_leaves_no_snapshot() {
    let (_database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    store.write(&place(), &day(0, 3, NOON_MS)).await.unwrap();
    let late = store.write(&place(), &day(1, 2, NOON_MS)).await;
    assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
    assert_eq!(newest(&store, i64::MAX).await, Some(3));
}

#[tokio::test]
async fn what_no_row_goes_on_from_is_dropped_and_a_channels_last_state_never() {
    let (database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    let today = NOON_MS;
    for n in 0..4 {
        let at_ms = today + n * DAY_MS;
        store
            .write(&place(), &day(3 * n, 3 * n + 3, at_ms))
            .await
            .unwrap();
    }
    let other = Batch {
        snapshots: vec![SnapshotRow {
            channel: channel("jobs.old"),
            ..snapshot(13, today)
        }],
        ..batch(12, vec![event("jobs.old", 12, today)])
    };
    store.write(&place(), &other).await.unwrap();
    assert_eq!(store.drop_snapshots().await.unwrap(), 0);
    assert!(footing(&store, 15).await.whole);
    // Two days go; the third's events begin at 6. What came late for the first day raises the floor over it.
    store.drop_days(today + 2 * DAY_MS).await.unwrap();
    assert_eq!(store.drop_snapshots().await.unwrap(), 3);
    let stands = footing(&store, 15).await;
    assert_eq!((stands.floor, stands.whole), (13, false));
    assert_eq!(newest(&store, i64::MAX).await, Some(12));
    store.drop_days(today + 30 * DAY_MS).await.unwrap();
    store.drop_snapshots().await.unwrap();
    let left = database
        .rows("select channel, next_offset from rivermouth.snapshots order by channel")
        .await;
    assert_eq!(
        left,
        [
            serde_json::json!({"channel": "jobs.9f", "next_offset": 12}),
            serde_json::json!({"channel": "jobs.old", "next_offset": 13})
        ]
    );
}

#[tokio::test]
async fn a_topic_made_anew_begins_with_the_states_of_the_one_before() {
    let (_database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    store.write(&place(), &day(0, 3, NOON_MS)).await.unwrap();
    let anew = Place::new(place().topic, 1, place().partition);
    store.open(&anew, 0).await.unwrap();
    let began = snapshot(0, NOON_MS);
    let asked = [channel("jobs.9f")];
    let checkpoint = store.checkpoint(&anew, &asked, 0).await.unwrap().unwrap();
    let row = &checkpoint.snapshots[&asked[0]];
    assert_eq!((row.next, &row.state), (0, &Bytes::from("as of 3")));
    assert_eq!(row.at_ms, began.at_ms);
    assert!(checkpoint.channels.is_empty());
    store
        .write(&anew, &day(0, 1, NOON_MS + DAY_MS))
        .await
        .unwrap();
    let stands = store.footing(&anew, &asked[0], 1).await.unwrap().unwrap();
    assert_eq!(
        stands.snapshot.map(|row| row.state),
        Some(Bytes::from("as of 1"))
    );
    assert_eq!(
        newest(&store, i64::MAX).await,
        Some(3),
        "the old topic's stay its own"
    );
}
