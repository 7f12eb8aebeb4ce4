//! Pulls that want the channel's state: at the head it is the hot one, in the same step that attaches; at older
//! positions it is folded off the hub, and then the pull goes on as any other.

use std::sync::Arc;

use protocol::{ErrorName, ProtocolError};
use tokio::time::timeout_at;

use super::{Hub, hot::Hot, hot::Slot, work::Done};
use crate::{
    chunk::{Chunk, Gap, State},
    place::Spot,
    pull::{Pull, Reply, Want},
    sub::From,
    tier::{CatchUp, Tiers},
};

impl Hot {
    /// The state at `next`, if it is the present one: no event at or after `next` is in it.
    fn state_at(&mut self, next: i64) -> Option<State> {
        if !service::planted!("snapshot_late", true => self.warm.ring.ends_before(next)) {
            return None;
        }
        let json = self.warm.folded.view()?;
        Some(State { at: next, json })
    }
}

impl Hub {
    /// A pull of a hot channel that wants the state at `next`. `gap`: the log was cut before `next`.
    pub(super) fn with_state(&mut self, index: usize, pull: Pull, (next, gap): (i64, Option<Gap>)) {
        let feed = &mut self.feeds[index];
        let spot = Spot {
            place: feed.place.clone(),
            channel: pull.channel.clone(),
        };
        let Some(Slot::Hot(hot)) = feed.slots.get_mut(&pull.channel) else {
            return self.answer(pull.reply, Err(crate::chunk::away()));
        };
        if let (Some(gap), Want::StateOnly) = (gap, pull.want) {
            let error = gap.erased(&self.tiers.framer, &spot);
            return self.answer(pull.reply, Err(error));
        }
        let at = gap.map_or(next, |gap| gap.to);
        if let Some(state) = hot.state_at(at) {
            return self.stated(index, pull, (next, Ok(state)));
        }
        let until = hot.warm.ring.from();
        let deadline = pull.asked + self.config.request_timeout;
        let (tiers, catch_up) = (Arc::clone(&self.tiers), self.catch_up.clone());
        self.work.spawn(async move {
            let folding = fold(&tiers, &catch_up, &spot, pull.want, (at, until));
            let state = timeout_at(deadline, folding).await;
            Done::Stated {
                index,
                pull,
                next,
                state: state.unwrap_or_else(|_| Err(late())),
            }
        });
    }

    /// The state was found, or not: who wanted no more has its answer, others go on to their events.
    pub(super) fn stated(
        &mut self,
        index: usize,
        pull: Pull,
        (next, state): (i64, Result<State, ProtocolError>),
    ) {
        let state = match state {
            Ok(state) => state,
            Err(error) => return self.answer(pull.reply, Err(error)),
        };
        if let Want::StateOnly = pull.want {
            let alone = Chunk::of(pull.channel, next, None, Vec::new(), next);
            let reply = Reply::stated(pull.reply, state);
            return self.answer(reply, Ok(alone));
        }
        let pull = Pull {
            from: From::Next(next),
            want: Want::Events,
            reply: Reply::stated(pull.reply, state),
            ..pull
        };
        self.reach(index, pull);
    }
}

async fn fold(
    tiers: &Tiers,
    catch_up: &CatchUp,
    spot: &Spot,
    want: Want,
    (next, until): (i64, i64),
) -> Result<State, ProtocolError> {
    match want {
        Want::StateOnly => tiers.state_at(catch_up, spot, next).await,
        _ => tiers.state_from(catch_up, spot, next, until).await,
    }
}

fn late() -> ProtocolError {
    ProtocolError::new(ErrorName::Timeout, "the state could not be folded in time")
}
