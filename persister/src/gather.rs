//! Gathers what a reader hands out, by partition, until there is enough or the first has waited long enough.

use std::collections::HashMap;
use std::sync::Arc;

use broker::{BrokerError, Fetched, Record};

/// Topic and partition, as the log names them.
pub(crate) type Key = (Arc<str>, i32);

/// What came of one partition.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) records: Vec<Record>,
    /// The log's end, where it was seen after the records.
    pub(crate) end: Option<i64>,
    pub(crate) trouble: Option<Trouble>,
}

/// The partition is not being read any more.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The log does not hold this offset.
    OutOfRange(i64),
    /// It cannot be read.
    Failed(BrokerError),
}

#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) parts: HashMap<Key, Part>,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

impl Gathered {
    pub(crate) fn absorb(&mut self, fetched: Vec<Fetched>) {
        for one in fetched {
            match one {
                Fetched::Record(record) => {
                    self.rows += 1;
                    self.bytes += weight(&record);
                    let part = self.part(Arc::clone(&record.topic), record.partition);
                    part.records.push(record);
                }
                Fetched::End {
                    topic,
                    partition,
                    next,
                } => {
                    let part = self.part(topic, partition);
                    part.end = part.end.max(Some(next));
                }
                Fetched::OutOfRange {
                    topic,
                    partition,
                    asked,
                } => {
                    self.part(topic, partition).trouble = Some(Trouble::OutOfRange(asked));
                }
                Fetched::Failed {
                    topic,
                    partition,
                    error,
                } => {
                    self.part(topic, partition).trouble = Some(Trouble::Failed(error));
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    fn part(&mut self, topic: Arc<str>, partition: i32) -> &mut Part {
        self.parts.entry((topic, partition)).or_default()
    }
}

fn weight(record: &Record) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    record.key.as_ref().map_or(0, |key| key.len())
        + record.value.as_ref().map_or(0, |value| value.len())
        + headers
}
