//! Sample places, events and batches.

use bytes::Bytes;
use schemas::Channel;
use store::{Batch, NewEvent, Place, Store};

/// 2026-11-21 12:00:00 UTC.
pub(crate) const NOON_MS: i64 = 1_795_262_400_000;

pub(crate) fn place() -> Place {
    Place::new("rivermouth.events", 0, 3)
}

pub(crate) fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

/// An accepted event; `prev` and `log_time_ms` are as given, for the store does not judge.
pub(crate) fn event(name: &str, offset: i64, at_ms: i64) -> NewEvent {
    NewEvent {
        offset,
        at_ms,
        log_time_ms: at_ms,
        prev: None,
        channel: channel(name),
        name: "draw".into(),
        id: format!("id-{offset}"),
        id_given: true,
        user_id: Some("u1".into()),
        data: Bytes::from(format!("{{\"n\":{offset}}}")),
        to: None,
        outbox: None,
        cursor: format!("cursor-{offset:020}"),
    }
}

/// One record per offset of `start..`, all accepted.
pub(crate) fn batch(start: i64, events: Vec<NewEvent>) -> Batch {
    Batch {
        start,
        end: events.last().map_or(start, |event| event.offset + 1),
        events,
        ..Batch::default()
    }
}

/// Stores events into a fresh place beginning at offset 0.
pub(crate) async fn stored(store: &Store, events: Vec<NewEvent>) {
    store.open(&place(), 0).await.unwrap();
    store.write(&place(), &batch(0, events)).await.unwrap();
}
