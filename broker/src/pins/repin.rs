//! Repinning: an operator accepts that a topic was created again, and it becomes the topic's next generation.

use thiserror::Error;
use uuid::Uuid;

use super::fold::{REPIN, Repin};
use super::{Pin, PinError, append, described, read};
use crate::flaw::repin_command;
use crate::{Code, Flaw, Log};

/// Why a topic was not repinned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RepinError {
    /// There is nothing to repin, or the topic is not as it was pinned. An operator must act.
    #[error("{0}")]
    Refused(Flaw),
    /// As for [`pin`](super::pin).
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// Pins `topic` as it is now as its next generation. `topic` must exist, with the pinned number of partitions
/// and another identity than the pinned one. Processes that run already do not notice: they are started again.
///
/// Errors: [`RepinError::Refused`] with `REPIN_UNKNOWN` (not pinned), `REPIN_NOTHING` (still the same topic),
/// `PARTITIONS_CHANGED`, `REPIN_LOST` (somebody else was first; look again). A topic that does not exist is
/// [`BrokerError::Unknown`](crate::BrokerError::Unknown).
pub async fn repin(log: &Log, state_topic: &str, topic: &str) -> Result<Pin, RepinError> {
    let now = described(log, topic).await.map_err(PinError::from)?;
    let fold = read(log, state_topic).await?;
    let known = fold.pins().and_then(|pins| pins.topics.get(topic));
    let Some(known) = known else {
        return Err(RepinError::Refused(Flaw::new(
            Code::RepinUnknown,
            topic,
            "it is not one of the topics this installation has pinned",
            "name one of the topics that `rivermouth doctor` lists".to_owned(),
        )));
    };
    if now.id == known.id {
        return Err(RepinError::Refused(Flaw::new(
            Code::RepinNothing,
            topic,
            format!("it is the pinned topic, generation {}", known.generation),
            "nothing is to be done".to_owned(),
        )));
    }
    let pin = Pin {
        id: now.id.clone(),
        partitions: now.partitions,
        generation: known.generation.saturating_add(1),
    };
    let as_new = Pin {
        id: now.id.clone(),
        ..known.clone()
    };
    if let Some(flaw) = as_new.judge(topic, &now) {
        return Err(RepinError::Refused(flaw));
    }
    let by = Uuid::now_v7().to_string();
    let key = format!("{REPIN}{topic}/{}/{by}", pin.generation);
    let record = Repin {
        topic: topic.to_owned(),
        pin: pin.clone(),
        by: by.clone(),
    };
    append(log, state_topic, key, &record).await?;
    if read(log, state_topic).await?.by(topic) == Some(&*by) {
        return Ok(pin);
    }
    Err(RepinError::Refused(Flaw::new(
        Code::RepinLost,
        topic,
        "somebody else repinned it at the same moment",
        format!(
            "look with `rivermouth doctor`; if it still says so: {}",
            repin_command(topic)
        ),
    )))
}
