//! History: one channel, in order, between offsets and times.

use schemas::Channel;
use store::testing::Database;
use store::{DAY_MS, EventRow, HistoryFilter, Place, Store};

use crate::sample::{NOON_MS, channel, event, place, stored};

fn everything() -> HistoryFilter {
    HistoryFilter {
        lo: 0,
        hi: i64::MAX,
        from_ms: None,
        to_ms: None,
        types: None,
        limit: 1000,
        desc: false,
    }
}

fn offsets(rows: &[EventRow]) -> Vec<i64> {
    rows.iter().map(|row| row.offset).collect()
}

async fn ask(store: &Store, filter: HistoryFilter) -> Vec<i64> {
    offsets(&store.history(&place(), &asked(), filter).await.unwrap())
}

fn asked() -> Channel {
    channel("session.42")
}

/// Ten events of session.42 at even offsets, one every six hours; session.7 at odd ones.
async fn two_channels(store: &Store) {
    let events = (0..20)
        .map(|n| {
            let name = if n % 2 == 0 {
                "session.42"
            } else {
                "session.7"
            };
            let mut event = event(name, n, NOON_MS + n / 2 * DAY_MS / 4);
            event.name = if n % 4 == 0 {
                "draw".into()
            } else {
                "chat.message".into()
            };
            event
        })
        .collect();
    stored(store, events).await;
}

#[tokio::test]
async fn pages_forward_are_bounded_by_offsets_rows_and_bytes() {
    let (_database, store) = Database::migrated().await;
    two_channels(&store).await;
    let after = async |from, until, limit, bytes| {
        offsets(
            &store
                .events_after(&place(), &asked(), from, until, limit, bytes)
                .await
                .unwrap(),
        )
    };
    assert_eq!(
        after(0, 20, 100, 1 << 20).await,
        [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    );
    assert_eq!(after(3, 11, 100, 1 << 20).await, [4, 6, 8, 10]);
    assert_eq!(after(3, 11, 2, 1 << 20).await, [4, 6]);
    // {"n":4} has seven bytes: the page ends with the row that passes the bound, and has one row at least.
    assert_eq!(after(3, 20, 100, 8).await, [4, 6]);
    assert_eq!(after(3, 20, 100, 0).await, Vec::<i64>::new());
    assert_eq!(after(3, 20, 100, 1).await, [4]);
    assert_eq!(after(19, 20, 100, 1 << 20).await, Vec::<i64>::new());
}

#[tokio::test]
async fn history_goes_both_ways_and_filters_by_time_and_type() {
    let (_database, store) = Database::migrated().await;
    two_channels(&store).await;
    assert_eq!(
        ask(
            &store,
            HistoryFilter {
                limit: 3,
                ..everything()
            }
        )
        .await,
        [0, 2, 4]
    );
    assert_eq!(
        ask(
            &store,
            HistoryFilter {
                limit: 3,
                desc: true,
                ..everything()
            }
        )
        .await,
        [18, 16, 14]
    );
    assert_eq!(
        ask(
            &store,
            HistoryFilter {
                lo: 4,
                hi: 8,
                desc: true,
                ..everything()
            }
        )
        .await,
        [6, 4]
    );
    let types = Some(vec!["draw".to_owned(), "erase".to_owned()]);
    assert_eq!(
        ask(
            &store,
            HistoryFilter {
                types,
                ..everything()
            }
        )
        .await,
        [0, 4, 8, 12, 16]
    );
    let quarter = DAY_MS / 4;
    let times = HistoryFilter {
        from_ms: Some(NOON_MS + quarter),
        to_ms: Some(NOON_MS + 3 * quarter),
        ..everything()
    };
    assert_eq!(ask(&store, times).await, [2, 4]);
    let nothing = HistoryFilter {
        from_ms: Some(i64::MAX),
        to_ms: Some(i64::MIN),
        ..everything()
    };
    assert_eq!(ask(&store, nothing).await, Vec::<i64>::new());
}

#[tokio::test]
async fn the_first_event_at_a_time_is_found_though_the_clock_stepped_back() {
    let (_database, store) = Database::migrated().await;
    let at = |offset: i64, at_ms: i64| event("session.42", offset, at_ms);
    stored(
        &store,
        vec![
            at(0, NOON_MS),
            at(1, NOON_MS + 50),
            at(2, NOON_MS - DAY_MS),
            at(3, NOON_MS + 60),
        ],
    )
    .await;
    let first = async |time_ms| store.offset_at(&place(), &asked(), time_ms).await.unwrap();
    assert_eq!(first(0).await, Some(0));
    assert_eq!(first(NOON_MS + 1).await, Some(1));
    assert_eq!(first(NOON_MS + 51).await, Some(3));
    assert_eq!(first(NOON_MS + 61).await, None);
}

#[tokio::test]
async fn another_generation_of_the_topic_is_another_history() {
    let (_database, store) = Database::migrated().await;
    two_channels(&store).await;
    let again = Place::new(place().topic, 1, place().partition);
    assert!(
        store
            .history(&again, &asked(), everything())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.offset_at(&again, &asked(), 0).await.unwrap(), None);
    assert!(
        store
            .events_after(&again, &asked(), 0, 20, 10, 1000)
            .await
            .unwrap()
            .is_empty()
    );
}
