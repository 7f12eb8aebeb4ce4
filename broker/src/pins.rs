//! Pins (D2): which topics, with which identity and how many partitions, this installation was born
//! with, and the key that signs its cursors.
//!
//! They are a record with a key `pins/<uuid>` in partition 0 of the state topic. Any node may write
//! one at its first start; the one with the lowest offset wins for ever, so that nodes that start
//! together agree without talking to each other. Keys are unique, so compaction keeps them all.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::{Append, AppendError, BrokerError, Fetched, Log, Record, TopicFacts};

const PREFIX: &str = "pins/";
/// Reading the whole state partition must be done by then.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long a new topic may take to be known to all brokers, and the pause between two looks at it.
const SPREADING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// What was pinned at the first start of this installation.
#[derive(Clone, PartialEq, Eq)]
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
    /// The winning pin record cannot be understood. An operator must act.
    #[error("unreadable pin record: {0}")]
    Unreadable(String),
    /// The log could not be asked; retry when [`BrokerError::retryable`] says so.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The pin could not be appended; retry (an unknown outcome does no harm here).
    #[error("the pin could not be appended: {0}")]
    Append(#[from] AppendError),
}

/// The record's value.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// 32 hexadecimal digits; 122 bits of them are random.
    cursor_key: String,
    topics: BTreeMap<String, Pin>,
}

/// The topic's facts. One that was made a moment ago is known to some brokers only, so a broker that does not
/// know it is asked again for a while.
async fn described(log: &Log, topic: &str) -> Result<TopicFacts, BrokerError> {
    let patience = Instant::now() + SPREADING;
    loop {
        match log.describe(topic).await {
            Err(BrokerError::Unknown { .. }) if Instant::now() < patience => {
                tokio::time::sleep(PAUSE).await;
            }
            facts => return facts,
        }
    }
}

/// Reads the pins of this installation, making them when there are none, and checks `topics` (which
/// must exist, as must `state_topic`) against them. May be called again later to look for changes.
pub async fn pin(log: &Log, state_topic: &str, topics: &[&str]) -> Result<Pins, PinError> {
    let mut seen = BTreeMap::new();
    for topic in topics {
        let facts = described(log, topic).await?;
        let pin = Pin {
            id: facts.id,
            partitions: facts.partitions,
            generation: 0,
        };
        seen.insert((*topic).to_owned(), pin);
    }
    let pins = match first(log, state_topic).await? {
        Some(pins) => pins,
        None => {
            write(log, state_topic, &seen).await?;
            first(log, state_topic)
                .await?
                .ok_or_else(|| PinError::Unreadable("it vanished after writing".into()))?
        }
    };
    for (topic, now) in seen {
        let changed = |what| {
            Err(PinError::Changed {
                topic: topic.clone(),
                what,
            })
        };
        match pins.topics.get(&topic) {
            None => return changed("it was not pinned".into()),
            Some(pin) if pin.id != now.id => {
                return changed(format!("its identity is {}, not {}", now.id, pin.id));
            }
            Some(pin) if pin.partitions != now.partitions => {
                return changed(format!(
                    "it has {} partitions, not {}",
                    now.partitions, pin.partitions
                ));
            }
            Some(_) => {}
        }
    }
    Ok(pins)
}

/// The winning pin record, if there is any below the present end of the partition.
async fn first(log: &Log, state_topic: &str) -> Result<Option<Pins>, PinError> {
    let marks = log.watermarks(state_topic, 0).await?;
    if marks.low == marks.high {
        return Ok(None);
    }
    let mut reader = log.reader()?;
    reader.assign(state_topic, 0, marks.low)?;
    let scan = async {
        loop {
            for item in reader.next(1000).await? {
                match item {
                    Fetched::Record(record) if record.offset >= marks.high => return Ok(None),
                    Fetched::Record(record) if is_pin(&record) => return parse(&record).map(Some),
                    Fetched::Record(_) => {}
                    Fetched::End { next, .. } if next >= marks.high => return Ok(None),
                    Fetched::End { .. } => {}
                    // Retention or compaction was faster; begin again from where the log begins now.
                    Fetched::OutOfRange { .. } => {
                        let low = log.watermarks(state_topic, 0).await?.low;
                        reader.assign(state_topic, 0, low)?;
                    }
                    Fetched::Failed { error, .. } => return Err(error.into()),
                }
            }
        }
    };
    match tokio::time::timeout(DEADLINE, scan).await {
        Ok(found) => found,
        Err(_) => Err(BrokerError::Unavailable {
            what: format!("reading {state_topic}/0 for the pins took too long"),
        }
        .into()),
    }
}

async fn write(
    log: &Log,
    state_topic: &str,
    topics: &BTreeMap<String, Pin>,
) -> Result<(), PinError> {
    let stored = Stored {
        cursor_key: Uuid::new_v4().simple().to_string(),
        topics: topics.clone(),
    };
    let value =
        serde_json::to_vec(&stored).map_err(|error| PinError::Unreadable(error.to_string()))?;
    log.append(Append {
        topic: state_topic.into(),
        partition: 0,
        key: Some(Bytes::from(format!("{PREFIX}{}", Uuid::now_v7()))),
        headers: Vec::new(),
        value: Some(Bytes::from(value)),
    })?
    .await?;
    Ok(())
}

fn is_pin(record: &Record) -> bool {
    record.value.is_some()
        && record
            .key
            .as_ref()
            .is_some_and(|key| key.starts_with(PREFIX.as_bytes()))
}

fn parse(record: &Record) -> Result<Pins, PinError> {
    let unreadable = |why: &dyn std::fmt::Display| {
        PinError::Unreadable(format!("offset {}: {why}", record.offset))
    };
    let value = record.value.as_deref().unwrap_or_default();
    let stored: Stored = serde_json::from_slice(value).map_err(|error| unreadable(&error))?;
    let cursor_key = Uuid::try_parse(&stored.cursor_key).map_err(|error| unreadable(&error))?;
    Ok(Pins {
        cursor_key: cursor_key.into_bytes(),
        topics: stored.topics,
    })
}

// The key signs cursors; it has no business in a log line.
impl std::fmt::Debug for Pins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pins")
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}
