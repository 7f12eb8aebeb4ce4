//! Days: cut ahead, a safe place for rows whose day is not cut yet, and the dropping of old ones.

use std::time::{SystemTime, UNIX_EPOCH};

use store::testing::Database;
use store::{DAY_MS, Store, StoreError};

use crate::sample::{NOON_MS, batch, channel, event, place, stored};

fn now_ms() -> i64 {
    i64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap()
}

async fn in_default(database: &Database) -> i64 {
    database
        .number("select count(*) from rivermouth.events_default")
        .await
}

async fn ours(store: &Store, until: i64) -> usize {
    store
        .events_after(&place(), &channel("session.42"), 0, until, 1000, 1 << 20)
        .await
        .unwrap()
        .len()
}

#[tokio::test]
async fn days_ahead_are_made_once_and_by_any_number_of_instances() {
    let (database, store) = Database::migrated().await;
    let other = database.store().await;
    let (a, b) = tokio::join!(store.prepare_days(3), other.prepare_days(3));
    a.unwrap();
    b.unwrap();
    let made = database
        .number("select count(*) from pg_inherits where inhparent = 'rivermouth.events'::regclass")
        .await;
    assert_eq!(made, 5, "today, three days ahead and the default");
}

#[tokio::test]
async fn a_mad_clock_makes_no_partitions_and_loses_nothing() {
    let (database, store) = Database::migrated().await;
    stored(
        &store,
        vec![
            event("session.42", 0, i64::MIN),
            event("session.42", 1, 0),
            event("session.42", 2, now_ms()),
            event("session.42", 3, 4_102_444_800_000),
            event("session.42", 4, i64::MAX),
        ],
    )
    .await;
    assert_eq!(in_default(&database).await, 4);
    assert_eq!(ours(&store, 5).await, 5);
}

#[tokio::test]
async fn rows_wait_in_the_default_partition_while_their_day_cannot_be_made() {
    let (database, store) = Database::migrated().await;
    store.open(&place(), 0).await.unwrap();
    // An analyst's long query over everything holds this lock.
    let holding = database.store().await;
    let hold = hold_events(&holding, database.url()).await;
    store
        .write(&place(), &batch(0, vec![event("session.42", 0, NOON_MS)]))
        .await
        .unwrap();
    assert_eq!(in_default(&database).await, 1);
    hold.await;

    // Once the lock is gone the day is made, and its rows move.
    assert_eq!(
        database
            .rows("select rivermouth.create_day('2026-11-21') as made")
            .await[0]["made"],
        serde_json::json!(true)
    );
    assert_eq!(in_default(&database).await, 0);
    assert_eq!(ours(&store, 1).await, 1);
}

/// Holds what a running query over all events holds, until the answer is awaited.
async fn hold_events(_store: &Store, url: &str) -> impl Future<Output = ()> + use<> {
    use sqlx::{Connection, PgConnection};
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("begin; select count(*) from analytics.events")
        .execute(&mut connection)
        .await
        .unwrap();
    async move { connection.close().await.unwrap() }
}

#[tokio::test]
async fn dropping_old_days_raises_the_floor_and_leaves_the_rest() {
    let (database, store) = Database::migrated().await;
    let today = now_ms();
    stored(
        &store,
        (0..10)
            .map(|n| event("session.42", n, today - (9 - n) * DAY_MS))
            .collect(),
    )
    .await;
    let dropped = store.drop_days(today - 3 * DAY_MS).await.unwrap();
    assert_eq!(dropped, 6);
    let progress = store.progress(&place()).await.unwrap().unwrap();
    assert_eq!((progress.next, progress.floor), (10, 6));
    assert_eq!(
        database
            .number("select count(*) from analytics.events")
            .await,
        4
    );
    let gone = store
        .events_after(&place(), &channel("session.42"), 0, 10, 10, 1000)
        .await;
    assert!(
        matches!(gone, Err(StoreError::Gone { floor: 6, .. })),
        "{gone:?}"
    );
    let rest = store
        .events_after(&place(), &channel("session.42"), 6, 10, 10, 1000)
        .await
        .unwrap();
    assert_eq!(rest.len(), 4);
    // A later row of a dropped day (a clock that stepped back far) makes its day again.
    store
        .write(
            &place(),
            &batch(10, vec![event("session.42", 10, today - 8 * DAY_MS)]),
        )
        .await
        .unwrap();
    assert_eq!(in_default(&database).await, 0);
}
