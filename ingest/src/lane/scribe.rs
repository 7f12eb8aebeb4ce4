//! Turns the ledger's answers into what the protocol says.

use protocol::{Cursors, ErrorName, Position, ProtocolError};
use schemas::Channel;
use serde_json::json;

use super::job::Answer;
use super::queue::leaving;
use crate::Published;

/// When to come back after a publish that was not appended in time, ms.
const MISSED_RETRY_MS: u64 = 500;

/// Writes the answers of one partition.
#[derive(Debug)]
pub(crate) struct Scribe {
    pub(crate) generation: u16,
    pub(crate) partition: i32,
    pub(crate) cursors: Cursors,
}

impl Scribe {
    /// What the publisher of event `id` is told. `is_leaving`: this node is on its way out.
    pub(super) fn write(
        &self,
        channel: &Channel,
        id: &str,
        answer: Answer,
        is_leaving: bool,
    ) -> Result<Published, ProtocolError> {
        match answer {
            Answer::Stored { offset } => Ok(Published {
                id: id.to_owned(),
                cursor: Some(self.cursor(
                    channel,
                    service::planted!("ack_off_by_one", offset + 1 => offset),
                )),
                duplicate: false,
            }),
            Answer::Duplicate { offset, id: stored } => Ok(Published {
                id: stored.unwrap_or_else(|| id.to_owned()),
                cursor: offset.map(|offset| self.cursor(channel, offset)),
                duplicate: true,
            }),
            Answer::Stale { epoch } => Err(ProtocolError::new(
                ErrorName::StaleProducer,
                "the outbox was taken over under a higher epoch",
            )
            .with_details(json!({ "epoch": epoch }))),
            Answer::Ahead { next } => Err(ProtocolError::unavailable(
                "the outbox skipped a number: send the one that is next",
                0,
            )
            .with_details(json!({ "seq": next }))),
            Answer::Unknown => Err(ProtocolError::timeout()),
            Answer::Missed if is_leaving => Err(leaving()),
            Answer::Missed => Err(ProtocolError::unavailable(
                "the log or the store took too long, nothing was appended",
                MISSED_RETRY_MS,
            )),
            Answer::Failed(fault) => Err(fault.to_error()),
        }
    }

    fn cursor(&self, channel: &Channel, offset: i64) -> String {
        let position = Position {
            generation: self.generation,
            partition: self.partition,
            next: offset + 1,
        };
        self.cursors.encode(channel, position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::job::Fault;

    fn told(answer: Answer) -> Result<Published, ProtocolError> {
        let scribe = Scribe {
            generation: 2,
            partition: 5,
            cursors: Cursors::new([7; 16]),
        };
        scribe.write(&Channel::parse("session.1").unwrap(), "mine", answer, false)
    }

    #[test]
    fn a_duplicate_names_the_stored_event_and_its_place_where_they_are_known() {
        let known = told(Answer::Duplicate {
            offset: Some(9),
            id: Some("first".to_owned()),
        })
        .unwrap();
        assert_eq!((known.id.as_str(), known.duplicate), ("first", true));
        let place = Cursors::new([7; 16])
            .decode(
                &Channel::parse("session.1").unwrap(),
                &known.cursor.unwrap(),
            )
            .unwrap();
        assert_eq!((place.generation, place.partition, place.next), (2, 5, 10));
        let unknown = told(Answer::Duplicate {
            offset: None,
            id: None,
        })
        .unwrap();
        assert_eq!((unknown.id.as_str(), unknown.cursor), ("mine", None));
    }

    #[test]
    fn every_fault_has_its_code_and_only_an_unknown_outcome_is_a_timeout() {
        let name = |answer| told(answer).unwrap_err().name;
        assert_eq!(name(Answer::Unknown), ErrorName::Timeout);
        assert_eq!(name(Answer::Failed(Fault::Unknown)), ErrorName::Timeout);
        assert_eq!(name(Answer::Failed(Fault::Busy)), ErrorName::Unavailable);
        assert_eq!(name(Answer::Failed(Fault::Refused)), ErrorName::Unavailable);
        assert_eq!(name(Answer::Failed(Fault::Closed)), ErrorName::Unavailable);
        assert_eq!(
            name(Answer::Failed(Fault::TooLarge)),
            ErrorName::MessageTooLarge
        );
        assert_eq!(
            name(Answer::Failed(Fault::Invalid)),
            ErrorName::InvalidMessage
        );
        assert_eq!(name(Answer::Missed), ErrorName::Unavailable);
        assert_eq!(name(Answer::Stale { epoch: 3 }), ErrorName::StaleProducer);
        let ahead = told(Answer::Ahead { next: 4 }).unwrap_err();
        assert_eq!(
            (ahead.name, ahead.retry_after_ms),
            (ErrorName::Unavailable, Some(0))
        );
    }
}
