//! Where each partition's records lie: in a keyspace of its own, made when its first record comes.
//!
//! The keys of one partition only grow, so what is written never overlaps what is there, and stays as it was written.
//! In one keyspace for all, each partition would end in the middle of the keys: compaction would rewrite the log
//! again and again, more the longer it is, and appends would wait for it.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use fjall::config::{BlockSizePolicy, CompressionPolicy, FilterPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions};

const PREFIX: &str = "records-";

/// What a partition has in memory before it is written as one file; up to four more wait when the disk is behind.
/// Less makes more files to open at a start; more, times the partitions, makes more of the journal to read again.
const MEMORY_BYTES: u64 = 2 << 20;
/// What is read and compressed together: a log is read in ranges.
const BLOCK_BYTES: u32 = 16 << 10;

/// A partition, by numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) topic: u32,
    pub(crate) partition: u32,
}

/// The keyspaces there are.
pub(crate) struct Places(RwLock<HashMap<Place, Keyspace>>);

impl Places {
    pub(crate) fn open(db: &Database) -> fjall::Result<Places> {
        let mut places = HashMap::new();
        for name in db.list_keyspace_names() {
            if let Some(place) = Place::read(&name) {
                places.insert(place, db.keyspace(&name, options)?);
            }
        }
        Ok(Places(RwLock::new(places)))
    }

    /// `None`: nothing was ever written there.
    pub(crate) fn find(&self, place: Place) -> Option<Keyspace> {
        let places = self.0.read().unwrap_or_else(PoisonError::into_inner);
        places.get(&place).cloned()
    }

    pub(crate) fn find_or_make(&self, db: &Database, place: Place) -> fjall::Result<Keyspace> {
        if let Some(found) = self.find(place) {
            return Ok(found);
        }
        let made = db.keyspace(&place.name(), options)?;
        let mut places = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Ok(places.entry(place).or_insert(made).clone())
    }
}

impl Place {
    fn name(self) -> String {
        format!("{PREFIX}{}-{}", self.topic, self.partition)
    }

    fn read(name: &str) -> Option<Place> {
        let (topic, partition) = name.strip_prefix(PREFIX)?.split_once('-')?;
        Some(Place {
            topic: topic.parse().ok()?,
            partition: partition.parse().ok()?,
        })
    }
}

/// Kept with each keyspace from when it was made.
fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMORY_BYTES)
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        // Files are not rewritten: what they are written with is what they keep.
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        // Nobody asks whether a single key is there.
        .filter_policy(FilterPolicy::disabled())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_again_by_the_name_of_its_keyspace() {
        let place = Place {
            topic: 7,
            partition: 1023,
        };
        assert_eq!(Place::read(&place.name()), Some(place));
        for other in ["meta", "records", "records-7", "records-7-x", "records-x-7"] {
            assert_eq!(Place::read(other), None, "{other}");
        }
    }
}
