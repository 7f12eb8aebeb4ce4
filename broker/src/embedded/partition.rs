//! Topics and partitions in memory: watermarks, the newest records, and who waits for more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::disk::{Disk, StoredTopic};
use super::places::Place;
use crate::{BrokerError, Record, Watermarks};

pub(crate) struct Topic {
    pub(crate) stored: StoredTopic,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

impl Topic {
    pub(crate) fn load(
        name: &Arc<str>,
        stored: StoredTopic,
        disk: &Disk,
    ) -> Result<Topic, BrokerError> {
        let partitions = (0..stored.partitions).map(|partition| {
            let place = Place {
                topic: stored.number,
                partition,
            };
            Partition::load(Arc::clone(name), place, stored.compact, disk).map(Arc::new)
        });
        Ok(Topic {
            partitions: partitions.collect::<Result<_, _>>()?,
            stored,
        })
    }

    pub(crate) fn partition(&self, partition: i32) -> Option<&Arc<Partition>> {
        usize::try_from(partition)
            .ok()
            .and_then(|index| self.partitions.get(index))
    }
}

pub(crate) struct Partition {
    pub(crate) topic: Arc<str>,
    pub(crate) place: Place,
    /// Whether the topic is compacted: records then need keys.
    pub(crate) compact: bool,
    /// Held for moments only, never across a disk access or an await.
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) low: i64,
    /// One past the last acknowledged record. Only the writer moves it.
    pub(crate) high: i64,
    /// The highest timestamp so far.
    pub(crate) highest_ms: i64,
    /// Stored bytes of all records so far, removed ones included.
    pub(crate) bytes_total: u64,
    /// The newest records, without holes, the last of them at `high - 1`.
    pub(crate) tail: VecDeque<Record>,
    tail_bytes: usize,
    /// One for each reader this partition is assigned to.
    readers: Vec<Arc<Notify>>,
    pub(crate) closed: bool,
}

impl Partition {
    fn load(
        topic: Arc<str>,
        place: Place,
        compact: bool,
        disk: &Disk,
    ) -> Result<Partition, BrokerError> {
        let low = disk.low(place)?;
        let last = disk.last(place)?.filter(|(offset, ..)| *offset >= low);
        let (high, highest_ms, bytes_total) = last.map_or((low, 0, 0), |(offset, marks, bytes)| {
            (offset + 1, marks.highest_ms, marks.bytes_before + bytes)
        });
        let state = State {
            low,
            high,
            highest_ms,
            bytes_total,
            tail: VecDeque::new(),
            tail_bytes: 0,
            readers: Vec::new(),
            closed: false,
        };
        Ok(Partition {
            topic,
            place,
            compact,
            state: Mutex::new(state),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn number(&self) -> i32 {
        self.place.partition.cast_signed()
    }

    pub(crate) fn watermarks(&self) -> Watermarks {
        let state = self.state();
        Watermarks {
            low: state.low,
            high: state.high,
        }
    }

    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.wake();
    }

    pub(crate) fn register(&self, reader: &Arc<Notify>) {
        self.state().readers.push(Arc::clone(reader));
    }

    pub(crate) fn unregister(&self, reader: &Arc<Notify>) {
        let mut state = self.state();
        if let Some(at) = state
            .readers
            .iter()
            .position(|other| Arc::ptr_eq(other, reader))
        {
            state.readers.swap_remove(at);
        }
    }
}

impl State {
    /// Makes written records visible; they follow `high` without a hole.
    pub(crate) fn publish(&mut self, records: impl Iterator<Item = Record>, tail_bytes_max: usize) {
        for record in records {
            self.high = record.offset + 1;
            self.tail_bytes += size(&record);
            self.tail.push_back(record);
        }
        while self.tail_bytes > tail_bytes_max {
            match self.tail.pop_front() {
                Some(record) => self.tail_bytes -= size(&record),
                None => break,
            }
        }
        self.wake();
    }

    /// Forgets everything below `low`.
    pub(crate) fn trim(&mut self, low: i64) {
        self.low = self.low.max(low);
        while self
            .tail
            .front()
            .is_some_and(|record| record.offset < self.low)
        {
            if let Some(record) = self.tail.pop_front() {
                self.tail_bytes -= size(&record);
            }
        }
        // Readers that wait at the end and those that just lost their place both look again.
        self.wake();
    }

    /// Where the records in memory begin; `high` when there are none.
    pub(crate) fn tail_start(&self) -> i64 {
        self.tail.front().map_or(self.high, |record| record.offset)
    }

    fn wake(&self) {
        for reader in &self.readers {
            reader.notify_one();
        }
    }
}

fn size(record: &Record) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 64)
        .sum();
    record.key.as_ref().map_or(0, |k| k.len())
        + record.value.as_ref().map_or(0, |v| v.len())
        + headers
        + 128
}
