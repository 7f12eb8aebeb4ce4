//! One subscriber's hold on a kept cursor: acknowledges it, hears of it, and lets go when dropped.

use std::sync::Arc;

use protocol::{Position, ProtocolError};
use schemas::KeptKey;
use tokio::sync::oneshot;

use super::{
    Asker, Keeper, Mark, Seat,
    lookup::{Answered, Question},
    reach,
};
use crate::{mailbox::Mailbox, sub::SubKey};

/// What became of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acked {
    /// The log has it, or a later one, already.
    Already,
    /// It is on its way; the asker hears of it.
    Coming,
}

/// An interest in one kept cursor.
#[derive(Debug)]
pub(crate) struct Watch {
    keeper: Arc<Keeper>,
    key: Arc<KeptKey>,
    seat: u64,
}

impl Keeper {
    /// From now on what is read of this key is remembered, until the watch is dropped.
    pub(crate) fn watch(self: &Arc<Self>, key: KeptKey) -> Watch {
        let key = Arc::new(key);
        let seat = self.lock().audience.enter(&key);
        Watch {
            keeper: Arc::clone(self),
            key,
            seat,
        }
    }
}

impl Watch {
    /// The subscription is told of what is kept from now on; what is known by now is the answer.
    pub(crate) fn sit(&self, mailbox: &Arc<Mailbox>, sub: SubKey) -> Option<Position> {
        let address = Seat {
            mailbox: Arc::clone(mailbox),
            sub,
        };
        let known = self
            .keeper
            .lock()
            .audience
            .sit(&self.key, self.seat, address);
        known.map(|known| known.position)
    }

    /// Keeps a position of the channel, acknowledged at `at_ms`. `UNAVAILABLE` when there is no room for it now.
    pub(crate) fn ack(
        &self,
        position: Position,
        at_ms: i64,
        who: Option<Asker>,
    ) -> Result<Acked, ProtocolError> {
        self.keeper.take(&self.key, Mark { position, at_ms }, who)
    }

    /// The same, waiting until the log has it.
    pub(crate) async fn acked(&self, position: Position, at_ms: i64) -> Result<(), ProtocolError> {
        let (sender, answer) = oneshot::channel();
        match self.ack(position, at_ms, Some(Asker::Once(sender)))? {
            Acked::Already => Ok(()),
            Acked::Coming => answer.await.unwrap_or_else(|_| Err(stopping())),
        }
    }

    /// How far the cursor is kept, everything acknowledged before this question included: the subscription is told.
    pub(crate) fn ask(&self, mailbox: &Arc<Mailbox>, sub: SubKey) -> Result<(), ProtocolError> {
        let answered = Answered::Shard {
            mailbox: Arc::clone(mailbox),
            sub,
        };
        self.question(answered)
    }

    /// The same, waiting for the answer.
    pub(crate) async fn find(&self) -> Result<Option<Position>, ProtocolError> {
        let (sender, answer) = oneshot::channel();
        self.question(Answered::Once(sender))?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    fn question(&self, answered: Answered) -> Result<(), ProtocolError> {
        let busy = || ProtocolError::unavailable("too many subscriptions begin at once", 1_000);
        let room = Arc::clone(&self.keeper.room);
        let question = Question {
            key: Arc::clone(&self.key),
            answered,
            _permit: room.try_acquire_owned().map_err(|_| busy())?,
        };
        self.keeper.questions.try_send(question).map_err(|_| busy())
    }

    /// Whether this is kept already, as far as this node knows.
    pub(crate) fn covers(&self, position: Position) -> bool {
        let known = self.keeper.lock().audience.known(&self.key);
        known.is_some_and(|known| reach(position) <= reach(known.position))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.keeper.lock().audience.leave(&self.key, self.seat);
    }
}

fn stopping() -> ProtocolError {
    ProtocolError::unavailable("this node is stopping", 1_000)
}
