//! Pins (D2): which topics, with which identity and how many partitions, this installation was born
//! with. The first pin record in partition 0 of the state topic wins for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{BrokerError, Log};

/// What was pinned at the first start of this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    /// The key that signs cursors; the same on every node because it comes from the log.
    pub cursor_key: [u8; 16],
    /// Each pinned topic.
    pub topics: BTreeMap<String, Pin>,
}

/// One pinned topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its identity, see [`TopicFacts`](crate::TopicFacts).
    pub id: String,
    /// Its number of partitions.
    pub partitions: u32,
    /// How many times the topic was created again; 0 first.
    pub generation: u16,
}

/// Why there are no pins to work with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PinError {
    /// A topic is not the one that was pinned. Stop appending (D2); an operator must act.
    #[error("topic {topic} is not the one this installation was started with: {what}")]
    Changed {
        /// Topic.
        topic: String,
        /// What differs.
        what: String,
    },
    /// The winning pin record cannot be understood.
    #[error("unreadable pin record: {0}")]
    Unreadable(String),
    /// The log could not be asked.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The pin could not be appended.
    #[error("the pin could not be appended: {0}")]
    Append(#[from] crate::AppendError),
}

/// Reads the pins of this installation, making them when there are none, and checks `topics` against them.
pub async fn pin(log: &Log, state_topic: &str, topics: &[&str]) -> Result<Pins, PinError> {
    let _ = (log, state_topic, topics);
    todo!()
}
