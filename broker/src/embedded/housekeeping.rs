//! Retention and compaction, on a thread of their own, some time after they are due.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::Shared;
use super::disk::{Disk, StoredTopic};
use super::layout::{self, Marks};
use super::partition::Partition;
use super::places::Place;
use super::writer::now_ms;
use crate::BrokerError;

/// Records removed in one batch; between batches others get the disk.
const CHUNK: usize = 1000;

/// What was done so far, for each partition.
#[derive(Default)]
struct Done {
    /// Files with nothing but what lies below are gone.
    dropped_to: i64,
    /// Compaction looked at everything below, and left so many records.
    compacted_to: i64,
    left: usize,
}

pub(crate) fn run(shared: &Shared) {
    let mut done: HashMap<Place, Done> = HashMap::new();
    while !shared.stopped(shared.config.housekeeping) {
        let topics: Vec<_> = {
            let topics = shared.topics.read().unwrap_or_else(PoisonError::into_inner);
            topics.values().cloned().collect()
        };
        for topic in topics {
            for partition in &topic.partitions {
                let done = done.entry(partition.place).or_default();
                if let Err(error) = tidy(shared, &topic.stored, partition, done) {
                    if error != BrokerError::Closed {
                        tracing::warn!(%error, topic = &*partition.topic, "housekeeping of the embedded log");
                    }
                    break;
                }
            }
        }
    }
}

fn tidy(
    shared: &Shared,
    topic: &StoredTopic,
    partition: &Arc<Partition>,
    done: &mut Done,
) -> Result<(), BrokerError> {
    if topic.compact {
        return compact(shared, partition, done);
    }
    let low = shared.with_disk(|disk| retain(disk, topic, partition, now_ms()))?;
    if low > partition.watermarks().low {
        shared.with_disk(|disk| disk.put_low(partition.place, low))?;
        partition.state().trim(low);
    }
    // The first time also what a crash left there.
    if low > done.dropped_to {
        shared.with_disk(|disk| disk.drop_below(partition.place, low))?;
        done.dropped_to = low;
    }
    Ok(())
}

/// The low watermark that age and size leave.
fn retain(
    disk: &Disk,
    topic: &StoredTopic,
    partition: &Partition,
    now_ms: i64,
) -> Result<i64, BrokerError> {
    let (low, high, bytes_total) = {
        let state = partition.state();
        (state.low, state.high, state.bytes_total)
    };
    let mut keep = low;
    if let Some(age_ms) = topic.retention_ms.filter(|ms| *ms >= 0) {
        keep = keep.max(bisect(disk, partition.place, low, high, |marks| {
            marks.highest_ms >= now_ms - age_ms
        })?);
    }
    if let Some(bytes) = topic
        .retention_bytes
        .and_then(|bytes| u64::try_from(bytes).ok())
    {
        // A record stays when it and all after it fit.
        let fits = |marks: &Marks| bytes_total.saturating_sub(marks.bytes_before) <= bytes;
        keep = keep.max(bisect(disk, partition.place, low, high, fits)?);
    }
    Ok(keep)
}

/// The first stored offset in `[low, high)` whose marks satisfy `enough`, which once true stays true;
/// `high` when there is none.
pub(crate) fn bisect(
    disk: &Disk,
    place: Place,
    low: i64,
    high: i64,
    enough: impl Fn(&Marks) -> bool,
) -> Result<i64, BrokerError> {
    let (mut from, mut to) = (low, high);
    while from < to {
        let middle = from + (to - from) / 2;
        match disk.seek(place, middle, to)? {
            Some((offset, marks)) if !enough(&marks) => from = offset + 1,
            _ => to = middle,
        }
    }
    Ok(disk
        .seek(place, from, high)?
        .map_or(high, |(offset, _)| offset))
}

/// Keeps the newest record of each key once half of the partition is new. The last record always
/// stays, so that the next offset is known after a restart.
fn compact(shared: &Shared, partition: &Partition, done: &mut Done) -> Result<(), BrokerError> {
    let marks = partition.watermarks();
    let fresh = usize::try_from(marks.high - done.compacted_to.max(marks.low)).unwrap_or(0);
    if fresh == 0 || fresh < done.left {
        return Ok(());
    }
    let place = partition.place;
    let mut newest: HashMap<Bytes, i64> = HashMap::new();
    shared.with_disk(|disk| {
        disk.scan(place, marks.low, marks.high, |offset, stored| {
            if let Some((Some(key), _)) = layout::key_and_tombstone(&stored) {
                // A copy: the key alone, not the record it lies in.
                newest.insert(Bytes::copy_from_slice(&key), offset);
            }
            go_on(shared)
        })
    })?;
    let tombstones_before = now_ms() - shared.config.tombstone_retention_ms;
    let (mut from, mut left) = (marks.low, 0);
    while from < marks.high && !shared.stopping() {
        let mut offsets = Vec::new();
        let mut next = marks.high;
        shared.with_disk(|disk| {
            disk.scan(place, from, marks.high, |offset, stored| {
                let superseded = match layout::key_and_tombstone(&stored) {
                    Some((Some(key), tombstone)) => {
                        let old = layout::marks(&stored)
                            .is_some_and(|m| m.timestamp_ms < tombstones_before);
                        newest.get(&key).is_some_and(|last| *last > offset) || (tombstone && old)
                    }
                    _ => false,
                };
                if superseded && offset != marks.high - 1 {
                    offsets.push(offset);
                } else {
                    left += 1;
                }
                next = offset + 1;
                if offsets.len() < CHUNK {
                    go_on(shared)
                } else {
                    ControlFlow::Break(())
                }
            })?;
            disk.remove(place, &offsets)
        })?;
        from = if offsets.len() < CHUNK {
            marks.high
        } else {
            next
        };
    }
    done.compacted_to = marks.high;
    done.left = left;
    Ok(())
}

fn go_on(shared: &Shared) -> ControlFlow<()> {
    if shared.stopping() {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}
