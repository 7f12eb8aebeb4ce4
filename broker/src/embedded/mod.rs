//! The embedded log: on the disk of one machine, in one process.

use std::path::PathBuf;
use std::time::Duration;

use crate::{
    Append, AppendError, BrokerError, Delivery, Fetched, TopicFacts, TopicSpec, Watermarks,
};

/// When the disk is told to keep what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before anything of a batch is acknowledged: survives a power cut.
    EachBatch,
    /// Every so many ms: an acknowledged record survives the death of the process, but a power cut
    /// may take the last so many ms.
    Interval(u64),
}

/// Where the log lies and how much it may hold.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Directory, made when missing.
    pub dir: PathBuf,
    /// See [`Fsync`].
    pub fsync: Fsync,
    /// Most records waiting to be written; beyond it `append` says `Full`.
    pub queue_records_max: usize,
    /// Most bytes waiting to be written.
    pub queue_bytes_max: usize,
    /// Largest record (key, value and headers), bytes.
    pub record_bytes_max: usize,
    /// How often retention and compaction are looked at.
    pub housekeeping: Duration,
}

impl EmbeddedConfig {
    /// Defaults in one directory.
    pub fn new(dir: impl Into<PathBuf>) -> EmbeddedConfig {
        EmbeddedConfig {
            dir: dir.into(),
            fsync: Fsync::EachBatch,
            queue_records_max: 20_000,
            queue_bytes_max: 32 << 20,
            record_bytes_max: 1 << 20,
            housekeeping: Duration::from_secs(30),
        }
    }
}

/// See [`Log::Embedded`](crate::Log::Embedded).
#[derive(Debug, Clone)]
pub struct EmbeddedLog;

/// See [`Reader`](crate::Reader).
#[derive(Debug)]
pub struct EmbeddedReader;

#[allow(clippy::unused_async, clippy::todo)]
impl EmbeddedLog {
    pub(crate) async fn open(_: EmbeddedConfig) -> Result<EmbeddedLog, BrokerError> {
        todo!()
    }
    pub(crate) async fn ensure_topics(&self, _: &[TopicSpec], _: bool) -> Result<(), BrokerError> {
        todo!()
    }
    pub(crate) async fn describe(&self, _: &str) -> Result<TopicFacts, BrokerError> {
        todo!()
    }
    pub(crate) fn append(&self, _: Append) -> Result<Delivery, AppendError> {
        todo!()
    }
    pub(crate) async fn watermarks(&self, _: &str, _: i32) -> Result<Watermarks, BrokerError> {
        todo!()
    }
    pub(crate) async fn offset_at(&self, _: &str, _: i32, _: i64) -> Result<i64, BrokerError> {
        todo!()
    }
    pub(crate) fn reader(&self) -> Result<EmbeddedReader, BrokerError> {
        todo!()
    }
    pub(crate) async fn flush(&self, _: Duration) -> Result<(), BrokerError> {
        todo!()
    }
    pub(crate) async fn close(&self, _: Duration) -> Result<(), BrokerError> {
        todo!()
    }
}

#[allow(clippy::unused_async, clippy::todo)]
impl EmbeddedReader {
    pub(crate) fn assign(&mut self, _: &str, _: i32, _: i64) -> Result<(), BrokerError> {
        todo!()
    }
    pub(crate) fn unassign(&mut self, _: &str, _: i32) {
        todo!()
    }
    pub(crate) async fn next(&mut self, _: usize) -> Result<Vec<Fetched>, BrokerError> {
        todo!()
    }
}
