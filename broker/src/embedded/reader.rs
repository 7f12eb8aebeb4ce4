//! Reading assigned partitions: the newest records from memory, older ones from disk.
//!
//! A reader with nothing to do sleeps until a partition it reads has news; nothing is polled.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

use super::partition::Partition;
use super::{Shared, blocking};
use crate::{BrokerError, Fetched, Record};

/// Most records and bytes read from disk at once; others are served in between.
const READ_MAX: usize = 2000;
const READ_BYTES_MAX: usize = 1 << 20;

/// See [`Reader`](crate::Reader).
pub struct EmbeddedReader {
    shared: Arc<Shared>,
    wake: Arc<Notify>,
    assigned: Vec<Assignment>,
    /// Whose turn it is among `assigned`.
    turn: usize,
    /// Answers that need no partition: unknown ones, negative offsets.
    ready: VecDeque<Fetched>,
}

struct Assignment {
    partition: Arc<Partition>,
    next: i64,
    /// Where the end was last announced.
    ended: Option<i64>,
}

/// What memory has for an assignment.
enum Look {
    Items,
    Nothing,
    /// Older than memory: to be read from disk up to this offset.
    Disk(i64),
    OutOfRange,
}

impl EmbeddedReader {
    pub(super) fn new(shared: Arc<Shared>) -> EmbeddedReader {
        EmbeddedReader {
            shared,
            wake: Arc::default(),
            assigned: Vec::new(),
            turn: 0,
            ready: VecDeque::new(),
        }
    }

    pub(crate) fn assign(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), BrokerError> {
        self.unassign(topic, partition);
        match self.shared.partition(topic, partition) {
            Ok(partition) => {
                partition.register(&self.wake);
                self.assigned.push(Assignment {
                    partition,
                    next: offset,
                    ended: None,
                });
            }
            Err(error) => self.ready.push_back(Fetched::Failed {
                topic: topic.into(),
                partition,
                error,
            }),
        }
        // There is something to look at, should a `next` be waiting already.
        self.wake.notify_one();
        Ok(())
    }

    pub(crate) fn unassign(&mut self, topic: &str, partition: i32) {
        self.ready.retain(|item| !item.is_of(topic, partition));
        let wake = &self.wake;
        self.assigned.retain(|assignment| {
            let other =
                assignment.partition.number() != partition || &*assignment.partition.topic != topic;
            if !other {
                assignment.partition.unregister(wake);
            }
            other
        });
    }

    pub(crate) async fn next(&mut self, max: usize) -> Result<Vec<Fetched>, BrokerError> {
        let max = max.max(1);
        loop {
            let mut items: Vec<Fetched> = Vec::new();
            while items.len() < max
                && let Some(item) = self.ready.pop_front()
            {
                items.push(item);
            }
            let disk = self.look(&mut items, max)?;
            if !items.is_empty() {
                return Ok(items);
            }
            match disk {
                None => self.wake.notified().await,
                Some((index, end)) => self.read(index, end, max, &mut items).await?,
            }
            if !items.is_empty() {
                return Ok(items);
            }
        }
    }

    /// Takes what memory has, partition after partition, beginning where it stopped the last time.
    /// Stops at the first partition that needs the disk, so that its turn comes next.
    fn look(
        &mut self,
        items: &mut Vec<Fetched>,
        max: usize,
    ) -> Result<Option<(usize, i64)>, BrokerError> {
        let count = self.assigned.len();
        let mut gone = Vec::new();
        let mut disk = None;
        for step in 0..count {
            let index = (self.turn + step) % count;
            if items.len() >= max {
                self.turn = index;
                break;
            }
            match self.assigned[index].look(items, max)? {
                Look::Items | Look::Nothing => {}
                Look::Disk(end) => {
                    self.turn = index;
                    disk = Some((index, end));
                    break;
                }
                Look::OutOfRange => gone.push(index),
            }
        }
        gone.sort_unstable();
        for index in gone.into_iter().rev() {
            let Assignment { partition, .. } = self.assigned.swap_remove(index);
            partition.unregister(&self.wake);
            // Positions in `assigned` have changed; the next call finds the disk work again.
            (self.turn, disk) = (0, None);
        }
        Ok(disk)
    }

    /// Reads from disk. Cancel safe: the position moves only when the records are in hand.
    async fn read(
        &mut self,
        index: usize,
        end: i64,
        max: usize,
        items: &mut Vec<Fetched>,
    ) -> Result<(), BrokerError> {
        let assignment = &mut self.assigned[index];
        let (partition, from, shared) = (
            Arc::clone(&assignment.partition),
            assignment.next,
            Arc::clone(&self.shared),
        );
        let read = blocking(move || {
            shared.with_disk(|disk| {
                disk.read(
                    &partition.topic,
                    partition.place,
                    from,
                    end,
                    max.min(READ_MAX),
                    READ_BYTES_MAX,
                )
            })
        });
        match read.await {
            Ok(records) => {
                // Retention may have passed us while we read. It takes records from the bottom up, and
                // moves `low` first: with the first one in hand the rest is whole, without it only
                // while `low` has not moved. Otherwise the next look says what is the matter.
                let whole = records.first().is_some_and(|record| record.offset == from);
                if whole || assignment.partition.state().low <= from {
                    // Nothing left up to `end`: compaction took it all.
                    assignment.next = records.last().map_or(end, |record| record.offset + 1);
                    items.extend(records.into_iter().map(Fetched::Record));
                }
            }
            Err(BrokerError::Closed) => return Err(BrokerError::Closed),
            Err(error) => {
                let Assignment { partition, .. } = self.assigned.swap_remove(index);
                partition.unregister(&self.wake);
                items.push(Fetched::Failed {
                    topic: Arc::clone(&partition.topic),
                    partition: partition.number(),
                    error,
                });
            }
        }
        self.turn = if self.assigned.is_empty() {
            0
        } else {
            (index + 1) % self.assigned.len()
        };
        Ok(())
    }
}

impl Assignment {
    fn look(&mut self, items: &mut Vec<Fetched>, max: usize) -> Result<Look, BrokerError> {
        let before = items.len();
        let state = self.partition.state();
        if state.closed {
            return Err(BrokerError::Closed);
        }
        let (topic, partition) = (&self.partition.topic, self.partition.number());
        if self.next < state.low || self.next > state.high {
            items.push(Fetched::OutOfRange {
                topic: Arc::clone(topic),
                partition,
                asked: self.next,
            });
            return Ok(Look::OutOfRange);
        }
        if self.next < state.tail_start() {
            return Ok(Look::Disk(state.tail_start()));
        }
        let skip = usize::try_from(self.next - state.tail_start()).unwrap_or(usize::MAX);
        let ready: Vec<Record> = state
            .tail
            .iter()
            .skip(skip)
            .take(max - items.len())
            .cloned()
            .collect();
        let high = state.high;
        drop(state);
        self.next = ready.last().map_or(self.next, |record| record.offset + 1);
        items.extend(ready.into_iter().map(Fetched::Record));
        if self.next == high && self.ended != Some(high) && items.len() < max {
            self.ended = Some(high);
            items.push(Fetched::End {
                topic: Arc::clone(topic),
                partition,
                next: high,
            });
        }
        Ok(if items.len() > before {
            Look::Items
        } else {
            Look::Nothing
        })
    }
}

impl Drop for EmbeddedReader {
    fn drop(&mut self) {
        for assignment in &self.assigned {
            assignment.partition.unregister(&self.wake);
        }
    }
}

impl fmt::Debug for EmbeddedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self
            .assigned
            .iter()
            .map(|a| (&a.partition.topic, a.partition.number(), a.next));
        f.debug_struct("EmbeddedReader")
            .field("assigned", &places.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
