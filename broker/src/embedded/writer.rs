//! The one thread that writes: batch after batch, each as large as what queued up meanwhile.
//!
//! Records of a batch are written together or not at all, synced as configured, then made visible to
//! readers, and only then acknowledged: whoever hears an offset can read it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fjall::PersistMode;

use super::Shared;
use super::config::Fsync;
use super::layout::{self, Marks};
use super::partition::Partition;
use super::places::Place;
use super::queue::{Pending, Taken};
use crate::delivery::Deliver;
use crate::{AppendError, Appended, BrokerError, Record};

const BATCH_RECORDS_MAX: usize = 10_000;
const BATCH_BYTES_MAX: usize = 8 << 20;

pub(crate) fn run(shared: &Shared) {
    let mut unsynced: Option<Instant> = None;
    loop {
        let wait = match (shared.config.fsync, unsynced) {
            (Fsync::Interval(ms), Some(since)) => {
                Some(Duration::from_millis(ms.max(1)).saturating_sub(since.elapsed()))
            }
            _ => None,
        };
        match shared.queue.take(BATCH_RECORDS_MAX, BATCH_BYTES_MAX, wait) {
            Taken::Stop => break,
            Taken::Idle => {}
            Taken::Batch(batch) => {
                let (records, bytes) = (batch.len(), batch.iter().map(|p| p.weight).sum());
                let answers = write(shared, batch);
                // The room first: who hears an answer and appends again must not find its own record in the way.
                shared.queue.freed(records, bytes);
                for (deliver, appended) in answers {
                    let _ = deliver.send(Ok(appended));
                }
                shared.queue.answered(records);
                unsynced.get_or_insert_with(Instant::now);
            }
        }
        let due = match shared.config.fsync {
            Fsync::EachBatch => false,
            Fsync::Interval(ms) => {
                unsynced.is_some_and(|since| since.elapsed() >= Duration::from_millis(ms.max(1)))
            }
        };
        if due {
            unsynced = None;
            if let Err(error) = shared.with_disk(|disk| disk.sync()) {
                fail(shared, &error);
            }
        }
    }
    // Whatever was acknowledged is also on the disk when the log has been closed.
    let _ = shared.with_disk(|disk| disk.sync());
}

/// The numbers a partition goes on from, as this batch moves them.
struct Cursor {
    partition: Arc<Partition>,
    next: i64,
    highest_ms: i64,
    bytes_total: u64,
    records: Vec<Record>,
}

/// Writes a batch and makes it visible: what to tell whom. Nothing when it failed, and then nobody knows what the
/// disk has of it; a dropped [`Deliver`] says so.
fn write(shared: &Shared, batch: Vec<Pending>) -> Vec<(Deliver, Appended)> {
    let now_ms = now_ms();
    let mut cursors: HashMap<Place, Cursor> = HashMap::new();
    let mut stored = Vec::with_capacity(batch.len());
    let mut answers = Vec::with_capacity(batch.len());
    for Pending {
        partition,
        record,
        deliver,
        ..
    } in batch
    {
        let place = partition.place;
        let cursor = cursors
            .entry(place)
            .or_insert_with(|| Cursor::new(partition));
        let offset = cursor.next;
        cursor.next += 1;
        cursor.highest_ms = cursor.highest_ms.max(now_ms);
        let marks = Marks {
            timestamp_ms: now_ms,
            highest_ms: cursor.highest_ms,
            bytes_before: cursor.bytes_total,
        };
        let encoded = layout::encode(&record, marks);
        cursor.bytes_total += encoded.len() as u64;
        stored.push((place, offset, encoded));
        answers.push((
            deliver,
            Appended {
                offset,
                timestamp_ms: now_ms,
                again: false,
            },
        ));
        cursor.records.push(Record {
            topic: Arc::clone(&cursor.partition.topic),
            partition: cursor.partition.number(),
            offset,
            timestamp_ms: now_ms,
            key: record.key,
            headers: record
                .headers
                .into_iter()
                .map(|(name, value)| (name.into_owned(), value))
                .collect(),
            value: record.value,
        });
    }
    let mode = match shared.config.fsync {
        Fsync::EachBatch => PersistMode::SyncData,
        Fsync::Interval(_) => PersistMode::Buffer,
    };
    if let Err(error) = shared.with_disk(|disk| disk.append(stored, mode)) {
        fail(shared, &error);
        return Vec::new();
    }
    for cursor in cursors.into_values() {
        let mut state = cursor.partition.state();
        state.highest_ms = cursor.highest_ms;
        state.bytes_total = cursor.bytes_total;
        state.publish(cursor.records.into_iter(), shared.config.tail_bytes_max);
    }
    answers
}

impl Cursor {
    fn new(partition: Arc<Partition>) -> Cursor {
        let state = partition.state();
        let (next, highest_ms, bytes_total) = (state.high, state.highest_ms, state.bytes_total);
        drop(state);
        Cursor {
            partition,
            next,
            highest_ms,
            bytes_total,
            records: Vec::new(),
        }
    }
}

/// The store refuses writes after a failed one, because nobody knows what the disk has. So do we,
/// until the log is opened again.
fn fail(shared: &Shared, error: &BrokerError) {
    tracing::error!(%error, "the embedded log cannot write and takes nothing more");
    shared.queue.shut(AppendError::Refused {
        code: "STORAGE_FAILED".into(),
    });
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
