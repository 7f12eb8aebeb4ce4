//! The delivery ledger: only ever forward, moved with its offset, and told as of one moment.

use schemas::KeptKey;
use serde_json::{Value, json};
use store::testing::Database;
use store::{Batch, DeliveryRow, Place, StoreError};

use crate::sample::{NOON_MS, batch, channel, event, place, stored};

fn state() -> Place {
    Place::new("rivermouth.state", 0, 1)
}

fn key(channel_name: &str, user: &str) -> KeptKey {
    KeptKey {
        channel: channel(channel_name),
        user: user.into(),
        durable: "tab".into(),
    }
}

fn row(key: KeptKey, generation: u16, next: i64) -> DeliveryRow {
    DeliveryRow {
        key,
        place: Place {
            generation,
            ..place()
        },
        next,
        cursor: format!("cursor-{generation}-{next}"),
        acked_at_ms: NOON_MS + next,
    }
}

fn acks(start: i64, deliveries: Vec<DeliveryRow>) -> Batch {
    Batch {
        end: start + 1,
        deliveries,
        ..batch(start, Vec::new())
    }
}

#[tokio::test]
async fn a_kept_cursor_moves_forward_only_and_a_newer_generation_is_further() {
    let (_database, store) = Database::migrated().await;
    let (one, other) = (key("session.42", "u1"), key("session.42", "u2"));
    let before = store.kept(&state(), &[&one]).await.unwrap();
    assert_eq!((before.next, before.cursors), (None, vec![None]));
    store.open(&state(), 0).await.unwrap();
    let steps = [
        (0, 5, "cursor-0-5"),
        (0, 9, "cursor-0-9"),
        (0, 7, "cursor-0-9"),
        (1, 2, "cursor-1-2"),
        (0, 50, "cursor-1-2"),
    ];
    for (at, (generation, next, kept)) in (0..).zip(steps) {
        let moved = acks(at, vec![row(one.clone(), generation, next)]);
        store.write(&state(), &moved).await.unwrap();
        let found = store.kept(&state(), &[&other, &one]).await.unwrap();
        assert_eq!(found.next, Some(at + 1));
        assert_eq!(found.cursors[0], None, "somebody else's");
        assert_eq!(found.cursors[1].as_ref().unwrap().0, kept);
    }
}

#[tokio::test]
async fn a_fenced_batch_moves_no_cursor() {
    let (_database, store) = Database::migrated().await;
    let one = key("session.42", "u1");
    store.open(&state(), 3).await.unwrap();
    let fenced = store
        .write(&state(), &acks(2, vec![row(one.clone(), 0, 5)]))
        .await;
    assert!(matches!(fenced, Err(StoreError::Fenced { .. })));
    let found = store.kept(&state(), &[&one]).await.unwrap();
    assert_eq!((found.next, found.cursors), (Some(3), vec![None]));
}

#[tokio::test]
async fn analysts_see_who_is_behind() {
    let (database, store) = Database::migrated().await;
    stored(
        &store,
        vec![
            event("session.42", 0, NOON_MS),
            event("session.42", 4, NOON_MS),
        ],
    )
    .await;
    store.open(&state(), 0).await.unwrap();
    let rows = vec![
        row(key("activity.42", "u1"), 0, 4),
        row(key("session.42", "u1"), 0, 5),
        row(key("session.42", "u2"), 0, 1),
        row(key("session.quiet", "u2"), 0, 1),
    ];
    store.write(&state(), &acks(0, rows)).await.unwrap();
    let seen = database
        .rows("select user_id, channel, durable, cursor, topic, partition, acked_to_offset, last_offset, behind from analytics.deliveries order by channel, user_id")
        .await;
    let line = |user: &str, channel: &str, to: i64, last: Option<i64>, behind: bool| {
        json!({"user_id": user, "channel": channel, "durable": "tab", "cursor": format!("cursor-0-{to}"),
            "topic": "rivermouth.events", "partition": 3, "acked_to_offset": to, "last_offset": last, "behind": behind})
    };
    assert_eq!(
        Value::from(seen),
        json!([
            line("u1", "activity.42", 4, Some(4), true),
            line("u1", "session.42", 5, Some(4), false),
            line("u2", "session.42", 1, Some(4), true),
            line("u2", "session.quiet", 1, None, false),
        ])
    );
    let at = database
        .number("select (extract(epoch from acked_at) * 1000)::bigint from analytics.deliveries where user_id = 'u1' and channel = 'session.42'")
        .await;
    assert_eq!(at, NOON_MS + 5);
}
