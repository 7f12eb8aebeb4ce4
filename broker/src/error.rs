//! What can go wrong, by what the caller can do about it.

use std::path::PathBuf;

use thiserror::Error;

use crate::Flaw;

/// Everything but appending.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BrokerError {
    /// The log did not answer in time or cannot be reached. Retry later.
    #[error("the log is unavailable: {what}")]
    Unavailable {
        /// What was tried and what came back.
        what: String,
    },
    /// No such topic or partition.
    #[error("no such topic or partition: {topic}/{partition}")]
    Unknown {
        /// Topic.
        topic: String,
        /// Partition; -1 when the topic itself is unknown.
        partition: i32,
    },
    /// The log says no and will say no again: rights, settings, unsupported. An operator must act.
    #[error("the log refuses: {what} ({code})")]
    Refused {
        /// What was tried.
        what: String,
        /// The log's own code, e.g. `TOPIC_AUTHORIZATION_FAILED`.
        code: String,
    },
    /// A topic is not as it must be.
    #[error("{}", .flaws.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Differs {
        /// Topic.
        topic: String,
        /// What is wrong with it; at least one.
        flaws: Vec<Flaw>,
    },
    /// Our own settings are wrong.
    #[error("bad log settings: {0}")]
    Config(String),
    /// Another process has this directory open.
    #[error("{} is in use by another process", .dir.display())]
    Locked {
        /// The directory of the embedded log.
        dir: PathBuf,
    },
    /// Stored bytes are not what was written. Do not go on from here without a human.
    #[error("corrupt log: {0}")]
    Corrupt(String),
    /// This log was closed.
    #[error("the log is closed")]
    Closed,
}

impl BrokerError {
    /// Whether the same call may well succeed a little later.
    pub fn retryable(&self) -> bool {
        matches!(self, BrokerError::Unavailable { .. })
    }
}

/// Why a record is not known to be in the log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The bounded queue is full; nothing was enqueued. Tell the client to come back later.
    #[error("the append queue is full")]
    Full,
    /// The record is larger than the log takes; it is not stored.
    #[error("the record is too large for the log")]
    TooLarge,
    /// The log said no; the record is not stored and will not be.
    #[error("the log refused the record ({code})")]
    Refused {
        /// The log's own code, e.g. `INVALID_RECORD`.
        code: String,
    },
    /// Outcome unknown: the record may be stored, now or a moment later. Retry with the same identity.
    #[error("the outcome of the append is unknown")]
    Unknown,
    /// The producer broke and is being replaced (the log does so itself). Outcome unknown as well, but known
    /// soon: who appends again does so without having waited for a timeout.
    #[error("the producer failed and is being replaced; the outcome of the append is unknown")]
    Fatal,
    /// This log was closed; nothing was enqueued.
    #[error("the log is closed")]
    Closed,
}
