//! What records of the state topic come to: the furthest kept cursor of each key. Pure.
//!
//! Nothing here goes to quarantine: only our own nodes write that topic, it carries other things beside cursors, and
//! compaction forgets records anyway. What is none of ours is passed over and counted.

use std::collections::BTreeMap;

use broker::Record;
use protocol::{Cursors, Position, access::view_of};
use schemas::{Kept, KeptKey, Lane, Topics};
use store::{Batch, DeliveryRow, Place};

/// A batch of the state topic and the number of records under our key that it passes over.
pub(crate) struct Gathered {
    pub(crate) batch: Batch,
    pub(crate) passed_over: u64,
}

/// The batch that goes on from `start` over `records`, ascending by offset, up to `end` if the log's end was seen
/// there. `now_ms` bounds what may be called complete.
pub(crate) fn gather(
    topics: &Topics,
    cursors: &Cursors,
    start: i64,
    records: &[Record],
    end: Option<i64>,
    now_ms: i64,
) -> Gathered {
    let mut furthest: BTreeMap<KeptKey, DeliveryRow> = BTreeMap::new();
    let mut passed_over = 0;
    for record in records {
        let read = match Kept::decode(record.key.as_deref(), record.value.as_deref()) {
            Ok(None) => continue,
            Ok(Some(kept)) => row_of(topics, cursors, kept),
            Err(_) => None,
        };
        let Some(row) = read else {
            passed_over += 1;
            continue;
        };
        // One that is as far counts too, so that the last record of a key, which compaction leaves, says it all.
        let known = furthest.get(&row.key);
        if known.is_none_or(|known| reach(known) <= reach(&row)) {
            furthest.insert(row.key.clone(), row);
        }
    }
    let read_to = records.last().map_or(start, |record| record.offset + 1);
    Gathered {
        batch: Batch {
            start,
            end: read_to.max(end.unwrap_or(read_to)),
            complete_to_ms: records
                .iter()
                .map(|record| record.timestamp_ms)
                .max()
                .map(|at_ms| at_ms.min(now_ms)),
            deliveries: furthest.into_values().collect(),
            ..Batch::default()
        },
        passed_over,
    }
}

/// `None` when the cursor is not one of the channel.
fn row_of(topics: &Topics, cursors: &Cursors, kept: Kept) -> Option<DeliveryRow> {
    let view = view_of(&kept.key.channel);
    let source = view
        .as_ref()
        .map_or(&kept.key.channel, |(source, _)| source);
    let Position {
        generation,
        partition,
        next,
    } = cursors.decode(source, &kept.cursor).ok()?;
    Some(DeliveryRow {
        place: Place::new(topics.of(source, Lane::Durable), generation, partition),
        next,
        cursor: kept.cursor,
        acked_at_ms: kept.at_ms,
        key: kept.key,
    })
}

fn reach(row: &DeliveryRow) -> (u16, i64) {
    (row.place.generation, row.next)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use schemas::Channel;

    use super::*;

    fn cursors() -> Cursors {
        Cursors::new([7; 16])
    }

    fn record(offset: i64, key: Bytes, value: Option<Bytes>) -> Record {
        Record {
            topic: Arc::from("rivermouth.state"),
            partition: 0,
            offset,
            timestamp_ms: 1000 + offset,
            key: Some(key),
            headers: Vec::new(),
            value,
        }
    }

    fn ack(offset: i64, channel: &str, of: &str, generation: u16, next: i64) -> Record {
        let position = Position {
            generation,
            partition: 3,
            next,
        };
        let kept = Kept {
            key: KeptKey {
                channel: Channel::parse(channel).unwrap(),
                user: "u1".into(),
                durable: "tab".into(),
            },
            cursor: cursors().encode(&Channel::parse(of).unwrap(), position),
            at_ms: 50 + offset,
        };
        record(offset, kept.key.encode(), Some(kept.encode()))
    }

    fn gathered(records: &[Record], end: Option<i64>) -> Gathered {
        gather(&Topics::default(), &cursors(), 5, records, end, 9000)
    }

    #[test]
    fn the_furthest_cursor_of_each_key_is_kept_whatever_the_order_and_the_last_of_equals() {
        let records = [
            ack(5, "session.42", "session.42", 0, 7),
            ack(6, "session.42", "session.42", 0, 3),
            ack(7, "activity.42", "session.42", 0, 1),
            ack(8, "session.42", "session.42", 0, 7),
            ack(9, "jobs.9f", "jobs.9f", 1, 2),
            ack(10, "jobs.9f", "jobs.9f", 0, 90),
        ];
        let Gathered { batch, passed_over } = gathered(&records, Some(12));
        assert_eq!((batch.start, batch.end, passed_over), (5, 12, 0));
        assert_eq!(batch.complete_to_ms, Some(1010));
        let told: Vec<_> = batch
            .deliveries
            .iter()
            .map(|row| {
                let place = &row.place;
                let channel = row.key.channel.as_str();
                (
                    channel,
                    place.topic.as_str(),
                    place.generation,
                    row.next,
                    row.acked_at_ms,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("activity.42", "rivermouth.events", 0, 1, 57),
                ("jobs.9f", "rivermouth.jobs", 1, 2, 59),
                ("session.42", "rivermouth.events", 0, 7, 58),
            ]
        );
    }

    #[test]
    fn what_else_lives_there_is_nothing_and_what_is_none_of_ours_is_counted() {
        let mut bad = ack(8, "session.42", "session.42", 0, 1);
        bad.value = Some(Bytes::from_static(b"{"));
        let records = [
            record(
                5,
                Bytes::from_static(b"pins/1"),
                Some(Bytes::from_static(b"{}")),
            ),
            record(6, Bytes::from_static(b"lease/x"), None),
            // A cursor of another channel under this one's key.
            ack(7, "session.42", "session.43", 0, 1),
            bad,
        ];
        let Gathered { batch, passed_over } = gathered(&records, None);
        assert_eq!((batch.end, passed_over, batch.deliveries.len()), (9, 2, 0));
        assert_eq!(gathered(&[], Some(5)).batch.end, 5);
    }
}
