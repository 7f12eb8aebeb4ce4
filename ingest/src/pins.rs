//! The door closes when a topic is no longer what was pinned (D2): another topic would take events that belong to
//! the old one, and added partitions would split channels and their order.
//!
//! Who looks is the process ([`broker::PinWatch`]); an operator has to act, and start the process again.

use broker::{AppendError, PinWatch};
use protocol::ProtocolError;
use schemas::Topics;

/// When to come back, ms: not soon, a human has to act.
const RETRY_MS: u64 = 30_000;

/// Whether the topics that publishes go to are the pinned ones.
#[derive(Clone, Debug)]
pub(crate) struct PinGuard {
    watch: PinWatch,
    topics: [String; 3],
}

impl PinGuard {
    pub(crate) fn new(watch: PinWatch, topics: &Topics) -> PinGuard {
        let names = [topics.events(), topics.signals(), topics.jobs()];
        PinGuard {
            watch,
            topics: names.map(str::to_owned),
        }
    }

    /// # Errors
    /// `UNAVAILABLE` once a topic has changed.
    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        if self.changed() {
            return Err(ProtocolError::unavailable(
                "the log is not the one this installation began with, an operator has to act",
                RETRY_MS,
            ));
        }
        Ok(())
    }

    /// # Errors
    /// [`AppendError::Refused`] once `topic` is another one, or gone.
    pub(crate) fn open_for(&self, topic: &str) -> Result<(), AppendError> {
        if self.watch.is_sound() {
            return Ok(());
        }
        match self.watch.lost(topic) {
            Some(flaw) => Err(AppendError::Refused {
                code: flaw.code.as_str().to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn changed(&self) -> bool {
        let mut topics = self.topics.iter();
        !self.watch.is_sound() && topics.any(|topic| self.watch.flaw(topic).is_some())
    }
}
