//! Pins (D2): which topics, with which identity and how many partitions, this installation was born
//! with, and the key that signs its cursors.
//!
//! They are records in partition 0 of the state topic, folded in the order of their offsets:
//!
//! - `pins/<uuid>`: written at the first start. Any node may write one; the first wins for ever, so that
//!   nodes that start together agree without talking to each other.
//! - `repin/<topic>/<generation>/<uuid>`: an operator accepts that a topic was created again. It counts
//!   when its generation is the next one, so of two operators at once the first wins.
//!
//! Keys are unique, so compaction keeps all of them.

mod fold;
mod repin;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use self::fold::Fold;
pub use self::repin::{RepinError, repin};
use crate::flaw::{repartition_steps, repin_command};
use crate::{Append, AppendError, BrokerError, Code, Fetched, Flaw, Log, TopicFacts};

/// Reading the whole state partition must be done by then.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long a new topic may take to be known to all brokers, and the pause between two looks at it.
const SPREADING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// What was pinned at the first start of this installation, and since.
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

impl Pin {
    /// What is wrong with a topic that is like this now.
    pub fn judge(&self, topic: &str, now: &TopicFacts) -> Option<Flaw> {
        if now.id != self.id {
            return Some(recreated(topic, &self.id, &now.id));
        }
        (now.partitions != self.partitions).then(|| {
            let what = format!(
                "it has {} partitions, not {}: channels would lie in two places",
                now.partitions, self.partitions
            );
            Flaw::new(
                Code::PartitionsChanged,
                topic,
                what,
                repartition_steps(topic),
            )
        })
    }
}

/// A topic with another identity.
pub(crate) fn recreated(topic: &str, was: &str, is: &str) -> Flaw {
    let what = format!("it was deleted and created again: its id is {is}, not {was}");
    Flaw::new(Code::TopicRecreated, topic, what, repin_command(topic))
}

/// A pinned topic that is not there.
pub(crate) fn gone(topic: &str) -> Flaw {
    Flaw::new(Code::TopicGone, topic, "it is gone", repin_command(topic))
}

/// Why there are no pins to work with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PinError {
    /// A topic is not the one that was pinned. Stop appending (D2); an operator must act.
    #[error("{0}")]
    Changed(Flaw),
    /// The winning pin record cannot be understood. An operator must act.
    #[error(
        "PINS_UNREADABLE a pin record cannot be understood: {0}; mend it: restore partition 0 of the state topic from a backup"
    )]
    Unreadable(String),
    /// The log could not be asked; retry when [`BrokerError::retryable`] says so.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The pin could not be appended; retry (an unknown outcome does no harm here).
    #[error("the pin could not be appended: {0}")]
    Append(#[from] AppendError),
}

/// The value of a `pins/` record.
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
    let first: Vec<(&str, u16)> = topics.iter().map(|topic| (*topic, 0)).collect();
    pin_as(log, state_topic, &first).await
}

/// As [`pin`], but topics that are pinned now begin with these generations: for an installation that has lost its
/// pins and whose rows name generations.
pub async fn pin_as(
    log: &Log,
    state_topic: &str,
    topics: &[(&str, u16)],
) -> Result<Pins, PinError> {
    let mut seen = BTreeMap::new();
    for (topic, generation) in topics {
        let facts = described(log, topic).await?;
        seen.insert((*topic).to_owned(), (facts, *generation));
    }
    let pins = match pinned(log, state_topic).await? {
        Some(pins) => pins,
        None => {
            let first = seen.iter().map(|(topic, (facts, generation))| {
                let pin = Pin {
                    id: facts.id.clone(),
                    partitions: facts.partitions,
                    generation: *generation,
                };
                (topic.clone(), pin)
            });
            write(log, state_topic, first.collect()).await?;
            pinned(log, state_topic)
                .await?
                .ok_or_else(|| PinError::Unreadable("it vanished after writing".into()))?
        }
    };
    for (topic, (now, _)) in seen {
        let flaw = match pins.topics.get(&topic) {
            Some(pin) => pin.judge(&topic, &now),
            None => Some(Flaw::new(
                Code::TopicUnpinned,
                &topic,
                "it was not pinned at the first start",
                "use the topic prefix of the first start".to_owned(),
            )),
        };
        if let Some(flaw) = flaw {
            return Err(PinError::Changed(flaw));
        }
    }
    Ok(pins)
}

/// The pins as the state topic has them now; `None` when nobody has pinned yet. Writes nothing.
///
/// Errors: as [`pin`], but never `Changed` or `Append`; `Unknown` when there is no state topic.
pub async fn pinned(log: &Log, state_topic: &str) -> Result<Option<Pins>, PinError> {
    Ok(read(log, state_topic).await?.into_pins())
}

/// Folds the pin records below the present end of the partition.
async fn read(log: &Log, state_topic: &str) -> Result<Fold, PinError> {
    let marks = log.watermarks(state_topic, 0).await?;
    let mut fold = Fold::default();
    if marks.low == marks.high {
        return Ok(fold);
    }
    let mut reader = log.reader()?;
    reader.assign(state_topic, 0, marks.low)?;
    let scan = async {
        loop {
            for item in reader.next(1000).await? {
                match item {
                    Fetched::Record(record) if record.offset >= marks.high => return Ok(fold),
                    Fetched::Record(record) => fold.take(&record)?,
                    Fetched::End { next, .. } if next >= marks.high => return Ok(fold),
                    Fetched::End { .. } => {}
                    // Compaction was faster; begin again from where the log begins now.
                    Fetched::OutOfRange { .. } => {
                        let low = log.watermarks(state_topic, 0).await?.low;
                        fold = Fold::default();
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
    topics: BTreeMap<String, Pin>,
) -> Result<(), PinError> {
    let stored = Stored {
        cursor_key: Uuid::new_v4().simple().to_string(),
        topics,
    };
    let key = format!("{}{}", fold::PINS, Uuid::now_v7());
    append(log, state_topic, key, &stored).await
}

async fn append(
    log: &Log,
    state_topic: &str,
    key: String,
    value: &impl Serialize,
) -> Result<(), PinError> {
    let value =
        serde_json::to_vec(value).map_err(|error| PinError::Unreadable(error.to_string()))?;
    log.append(Append {
        topic: state_topic.into(),
        partition: 0,
        key: Some(Bytes::from(key)),
        headers: Vec::new(),
        value: Some(Bytes::from(value)),
    })?
    .await?;
    Ok(())
}

// The key signs cursors; it has no business in a log line.
impl std::fmt::Debug for Pins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pins")
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}
