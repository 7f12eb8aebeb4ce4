//! Where the embedded log lies, how safe it is and how much it may hold.

use std::path::PathBuf;
use std::time::Duration;

/// When the disk is told to keep what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before anything of a batch is acknowledged: an acknowledged record survives a power cut.
    /// All records that queue up during one fsync share the next.
    EachBatch,
    /// Every so many ms (at least 1): an acknowledged record survives the death of the process, but
    /// a power cut may take those of the last so many ms.
    Interval(u64),
}

/// Where the log lies and how much it may hold.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Directory, made when missing. One process at a time.
    pub dir: PathBuf,
    /// See [`Fsync`].
    pub fsync: Fsync,
    /// Most records waiting to be written; beyond it `append` says `Full`.
    pub queue_records_max: usize,
    /// Most bytes waiting to be written.
    pub queue_bytes_max: usize,
    /// Largest record (key, value and headers), bytes.
    pub record_bytes_max: usize,
    /// Most bytes of newest records each partition keeps in memory for its readers.
    pub tail_bytes_max: usize,
    /// How often retention and compaction are looked at.
    pub housekeeping: Duration,
    /// How long compaction keeps a tombstone, so that slow readers learn of it, ms.
    pub tombstone_retention_ms: i64,
}

impl EmbeddedConfig {
    /// Defaults in one directory; every batch is fsynced.
    pub fn new(dir: impl Into<PathBuf>) -> EmbeddedConfig {
        EmbeddedConfig {
            dir: dir.into(),
            fsync: Fsync::EachBatch,
            queue_records_max: 20_000,
            queue_bytes_max: 32 << 20,
            record_bytes_max: 1_000_000,
            tail_bytes_max: 256 << 10,
            housekeeping: Duration::from_secs(30),
            tombstone_retention_ms: 86_400_000,
        }
    }
}
