//! What is on disk, in fjall: records in one keyspace per partition, topics and low watermarks in another.
//!
//! Everything here blocks; callers are the log's own threads and the blocking pool.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fjall::{
    AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    Readable,
};
use serde::{Deserialize, Serialize};

use super::layout::{self, Marks};
use super::places::{Place, Places};
use crate::{BrokerError, Record};

/// Where the first builds had all records; see [`Places`].
const ALL_IN_ONE: &str = "records";

pub(crate) struct Disk {
    db: Database,
    places: Places,
    meta: Keyspace,
}

/// A topic as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredTopic {
    /// Identity for the outside.
    pub(crate) id: String,
    /// Identity in keys; never used again.
    pub(crate) number: u32,
    pub(crate) partitions: u32,
    pub(crate) retention_ms: Option<i64>,
    pub(crate) retention_bytes: Option<i64>,
    pub(crate) compact: bool,
}

impl Disk {
    pub(crate) fn open(dir: &Path) -> Result<Disk, BrokerError> {
        let open = || {
            std::fs::create_dir_all(dir)?;
            let db = Database::builder(dir)
                // Nothing is merged that would keep it long, and of two one spins while the other works.
                .worker_threads(1)
                .max_journaling_size(128 << 20)
                .open()?;
            let places = Places::open(&db)?;
            let meta = db.keyspace("meta", KeyspaceCreateOptions::default)?;
            Ok(Disk { db, places, meta })
        };
        let disk = open().map_err(|error| match error {
            fjall::Error::Locked => BrokerError::Locked {
                dir: dir.to_owned(),
            },
            error => broken("open", &error),
        })?;
        if disk.db.keyspace_exists(ALL_IN_ONE) {
            return Err(BrokerError::Config(format!(
                "{} holds the log of an earlier build, which this one cannot read: remove it or choose another directory",
                dir.display()
            )));
        }
        Ok(disk)
    }

    /// Every stored topic by name.
    pub(crate) fn topics(&self) -> Result<Vec<(String, StoredTopic)>, BrokerError> {
        let mut topics = Vec::new();
        for entry in self.meta.prefix("topic/") {
            let (key, value) = entry
                .into_inner()
                .map_err(|error| broken("read topics", &error))?;
            let name = String::from_utf8_lossy(&key["topic/".len()..]).into_owned();
            let topic = serde_json::from_slice(&value)
                .map_err(|error| BrokerError::Corrupt(format!("topic {name}: {error}")))?;
            topics.push((name, topic));
        }
        Ok(topics)
    }

    pub(crate) fn put_topic(&self, name: &str, topic: &StoredTopic) -> Result<(), BrokerError> {
        let value =
            serde_json::to_vec(topic).map_err(|error| BrokerError::Corrupt(error.to_string()))?;
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, format!("topic/{name}").into_bytes(), value);
        batch
            .commit()
            .map_err(|error| broken("write a topic", &error))
    }

    pub(crate) fn low(&self, place: Place) -> Result<i64, BrokerError> {
        let low = self
            .meta
            .get(low_key(place))
            .map_err(|error| broken("read", &error))?;
        Ok(low
            .and_then(|bytes| bytes[..].try_into().ok().map(i64::from_be_bytes))
            .unwrap_or(0))
    }

    /// Stored before anything below `low` is removed, so that a half-done removal is never seen.
    pub(crate) fn put_low(&self, place: Place, low: i64) -> Result<(), BrokerError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&self.meta, low_key(place), low.to_be_bytes());
        batch.commit().map_err(|error| broken("write", &error))
    }

    /// The newest record of a partition: offset, marks, stored bytes.
    pub(crate) fn last(&self, place: Place) -> Result<Option<(i64, Marks, u64)>, BrokerError> {
        let Some(records) = self.places.find(place) else {
            return Ok(None);
        };
        let mut all = records.range(layout::key(0)..=layout::key(i64::MAX));
        all.next_back()
            .map(|entry| seek_entry(place, entry))
            .transpose()
    }

    /// The first record at or after `offset` and before `end`.
    pub(crate) fn seek(
        &self,
        place: Place,
        offset: i64,
        end: i64,
    ) -> Result<Option<(i64, Marks)>, BrokerError> {
        let Some(records) = self.places.find(place) else {
            return Ok(None);
        };
        let mut rest = records.range(layout::key(offset)..layout::key(end));
        let first = rest
            .next()
            .map(|entry| seek_entry(place, entry))
            .transpose()?;
        Ok(first.map(|(offset, marks, _)| (offset, marks)))
    }

    /// Hands the stored records from `offset` up to `end` (exclusive) to `each`, until it breaks: as
    /// they were at one moment, so that a removal meanwhile makes no hole in the middle.
    pub(crate) fn scan(
        &self,
        place: Place,
        offset: i64,
        end: i64,
        mut each: impl FnMut(i64, Bytes) -> ControlFlow<()>,
    ) -> Result<(), BrokerError> {
        let Some(records) = self.places.find(place).filter(|_| offset < end) else {
            return Ok(());
        };
        // Ranges of the keyspace itself see what other threads write while they run; a snapshot does not.
        let snapshot = self.db.snapshot();
        for entry in snapshot.range(&records, layout::key(offset)..layout::key(end)) {
            let (key, value) = entry.into_inner().map_err(|error| broken("read", &error))?;
            let offset = layout::offset(&key).ok_or_else(|| unreadable(place, -1))?;
            if each(offset, Bytes::copy_from_slice(&value)).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Records from `offset` up to `end` (exclusive), at most `max` and, after the first, about
    /// `bytes_max`.
    pub(crate) fn read(
        &self,
        name: &Arc<str>,
        place: Place,
        offset: i64,
        end: i64,
        max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, BrokerError> {
        let (mut records, mut bytes, mut bad) = (Vec::new(), 0, None);
        self.scan(place, offset, end, |offset, stored| {
            bytes += stored.len();
            match layout::decode(name, place.partition.cast_signed(), offset, &stored) {
                Some(record) => records.push(record),
                None => bad = Some(offset),
            }
            if bad.is_some() || records.len() >= max || bytes >= bytes_max {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        match bad {
            Some(offset) if records.is_empty() => Err(unreadable(place, offset)),
            _ => Ok(records),
        }
    }

    /// Writes records in one batch: all of them or none. Returns when they are as safe as `mode` says.
    pub(crate) fn append(
        &self,
        records: Vec<(Place, i64, Vec<u8>)>,
        mode: PersistMode,
    ) -> Result<(), BrokerError> {
        let mut keyspaces: HashMap<Place, Keyspace> = HashMap::new();
        let mut batch = OwnedWriteBatch::with_capacity(self.db.clone(), records.len());
        for (place, offset, value) in records {
            let keyspace = match keyspaces.entry(place) {
                Entry::Occupied(found) => found.into_mut(),
                Entry::Vacant(vacant) => {
                    let made = self.places.find_or_make(&self.db, place);
                    vacant.insert(made.map_err(|error| broken("append", &error))?)
                }
            };
            batch.insert(keyspace, layout::key(offset), value);
        }
        let batch = batch.durability(Some(mode));
        batch.commit().map_err(|error| broken("append", &error))
    }

    /// Removes records. Not synced: what comes back after a power cut is removed again.
    pub(crate) fn remove(&self, place: Place, offsets: &[i64]) -> Result<(), BrokerError> {
        let Some(records) = self.places.find(place) else {
            return Ok(());
        };
        let mut batch = self.db.batch().durability(Some(PersistMode::Buffer));
        for offset in offsets {
            batch.remove(&records, layout::key(*offset));
        }
        batch.commit().map_err(|error| broken("remove", &error))
    }

    /// Gives back the files that hold nothing at or above `low`. Records below that share one with younger ones
    /// stay until those go, too: removing each by itself would cost as much as writing it did.
    pub(crate) fn drop_below(&self, place: Place, low: i64) -> Result<(), BrokerError> {
        let Some(records) = self.places.find(place) else {
            return Ok(());
        };
        let dropped = records.tree.drop_range(..layout::key(low));
        dropped.map_err(|error| broken("drop", &error.into()))
    }

    pub(crate) fn sync(&self) -> Result<(), BrokerError> {
        self.db
            .persist(PersistMode::SyncData)
            .map_err(|error| broken("sync", &error))
    }
}

fn low_key(place: Place) -> Vec<u8> {
    let mut key = b"low/".to_vec();
    key.extend_from_slice(&place.topic.to_be_bytes());
    key.extend_from_slice(&place.partition.to_be_bytes());
    key
}

fn seek_entry(place: Place, entry: fjall::Guard) -> Result<(i64, Marks, u64), BrokerError> {
    let (key, value) = entry.into_inner().map_err(|error| broken("read", &error))?;
    let offset = layout::offset(&key).ok_or_else(|| unreadable(place, -1))?;
    let marks = layout::marks(&value).ok_or_else(|| unreadable(place, offset))?;
    Ok((offset, marks, value.len() as u64))
}

fn unreadable(place: Place, offset: i64) -> BrokerError {
    BrokerError::Corrupt(format!(
        "record {offset} of topic number {} partition {}",
        place.topic, place.partition
    ))
}

/// Sorts what the store says: the disk may recover, altered bytes do not.
fn broken(what: &str, error: &fjall::Error) -> BrokerError {
    let text = format!("could not {what}: {error}");
    match error {
        fjall::Error::Io(_) | fjall::Error::Poisoned | fjall::Error::Locked => {
            BrokerError::Unavailable { what: text }
        }
        fjall::Error::Storage(fjall::LsmError::Io(_)) => BrokerError::Unavailable { what: text },
        _ => BrokerError::Corrupt(text),
    }
}
