//! One subscription: where it stands in its channel and what it needs next. Pure.

use std::collections::VecDeque;

use schemas::Channel;

use crate::{
    chunk::{Chunk, Wanted},
    event::Delivered,
    kept::Watch,
    pull::Want,
};

/// A connection of a shard, for as long as it lives: places are used again, serials are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnKey {
    pub(crate) index: usize,
    pub(crate) serial: u64,
}

/// A subscription of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SubKey {
    pub(crate) conn: ConnKey,
    pub(crate) serial: u64,
}

/// Where a pull begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// This offset and later.
    Next(i64),
    /// The end, as of now.
    Latest,
    /// The first that is left.
    Earliest,
    /// The first event at this time or later, Unix milliseconds.
    Time(i64),
    /// The last n wanted events.
    Last(u32),
}

/// A subscription of a connection.
#[derive(Debug)]
pub(crate) struct Sub {
    pub(crate) serial: u64,
    /// The channel as it was asked for: it may be a view.
    pub(crate) asked: Channel,
    /// The channel whose events are delivered.
    pub(crate) channel: Channel,
    pub(crate) wanted: Wanted,
    pub(crate) mode: Mode,
    /// Its place in the shard's list of the channel: kept while it falls behind, so that the ephemeral lane still
    /// reaches it.
    pub(crate) slot: Option<usize>,
    /// Everything below this offset was delivered, or is not for this subscriber.
    pub(crate) next: i64,
    /// `caught_up` is owed when the end is reached.
    pub(crate) announce: bool,
    pub(crate) window: Option<Box<Window>>,
    /// The cursor that is kept for it, when it has a name.
    pub(crate) durable: Option<Watch>,
    /// What the answer to the subscription still needs.
    pub(crate) opening: Option<Box<Opening>>,
}

/// What a subscription does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Where it begins is being looked up.
    Asking,
    /// It will pull as soon as the connection has room.
    Ready,
    /// A pull is under way.
    Pulling,
    /// A pull failed for now; it is Ready again at the next tick.
    Waiting,
    /// Broadcasts reach it.
    Live,
    /// Its window is full; it goes on when an ack arrives.
    Paused,
}

/// Until the subscription is answered.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) start: Start,
    /// The request's id; `None` for the subscription that a sugar path makes.
    pub(crate) request: Option<String>,
}

/// Where a subscription starts, and what that needs.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) from: From,
    /// It named a position.
    pub(crate) was_recovering: bool,
    /// The state comes first.
    pub(crate) snapshot: bool,
    /// A cursor of an earlier generation of the topic: everything between is gone.
    pub(crate) outlived: Option<String>,
    /// This user must own the job.
    pub(crate) owner: Option<std::sync::Arc<str>>,
}

impl Start {
    /// What the first pull asks for.
    pub(crate) fn want(&self) -> Want {
        if self.snapshot {
            Want::StateFirst
        } else {
            Want::Events
        }
    }
}

/// A bound on unacknowledged durable events.
#[derive(Debug)]
pub(crate) struct Window {
    max: usize,
    unacked: VecDeque<i64>,
    /// Everything below is acknowledged, sent or not: another reader of the same name may be further.
    acked_to: i64,
}

impl Window {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max: max as usize,
            unacked: VecDeque::new(),
            acked_to: 0,
        }
    }

    /// The window that was asked for, if one was.
    pub(crate) fn of(asked: Option<u32>) -> Option<Box<Self>> {
        asked.map(|max| Box::new(Self::new(max)))
    }

    pub(crate) fn is_full(&self) -> bool {
        service::planted!("window_ignored", { return false });
        self.unacked.len() >= self.max
    }

    fn sent(&mut self, offset: i64) {
        if offset >= self.acked_to {
            self.unacked.push_back(offset);
        }
    }

    /// Everything below `next` is acknowledged.
    fn acked(&mut self, next: i64) {
        self.acked_to = self.acked_to.max(next);
        while self.unacked.front().is_some_and(|&offset| offset < next) {
            self.unacked.pop_front();
        }
    }
}

/// What becomes of an event at a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Deliver it.
    Deliver,
    /// It is not for this subscriber, or was delivered before.
    Pass,
    /// The window is full: not now.
    Full,
}

/// What becomes of a live event at a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Queue it.
    Deliver,
    /// Not for this subscriber, not now, or delivered before.
    Pass,
    /// There is no room: it and what follows is read from the log when there is (D9). `lagging` is owed.
    Lag,
}

impl Sub {
    /// What to do with a durable event that the hub broadcasts; `full` when the connection's queue has no room for it.
    pub(crate) fn offer(&mut self, event: &Delivered, full: bool) -> Offer {
        // Who is behind or paused reads it from the log.
        if self.mode != Mode::Live {
            return Offer::Pass;
        }
        if full && event.offset >= self.next && self.wanted.passes(event) {
            service::planted!("queue_dropped", {
                self.next = event.offset + 1;
                return Offer::Pass;
            });
            self.next = event.offset;
            self.mode = Mode::Ready;
            self.announce = true;
            return Offer::Lag;
        }
        match self.step(event) {
            Step::Deliver => Offer::Deliver,
            Step::Pass => Offer::Pass,
            Step::Full => {
                self.mode = Mode::Paused;
                Offer::Pass
            }
        }
    }

    /// The answer to a pull begins: where its events go on, which after a gap is where the gap ends (before its
    /// beginning, when the log was cut).
    pub(crate) fn begin(&mut self, chunk: &Chunk, opening: bool) {
        match chunk.gap {
            Some(gap) => self.next = gap.to,
            None if opening => self.next = chunk.start,
            None => {}
        }
        if let Some(state) = &chunk.state {
            self.next = self.next.max(state.at);
        }
    }

    /// What to do with the next durable event of the channel; a delivered or passed one moves the subscription on.
    pub(crate) fn step(&mut self, event: &Delivered) -> Step {
        if event.is_ephemeral() {
            return if self.wanted.passes(event) {
                Step::Deliver
            } else {
                Step::Pass
            };
        }
        if event.offset < self.next {
            return Step::Pass;
        }
        if !self.wanted.passes(event) {
            self.next = event.offset + 1;
            return Step::Pass;
        }
        if let Some(window) = &mut self.window {
            if window.is_full() {
                self.next = event.offset;
                return Step::Full;
            }
            window.sent(event.offset);
        }
        self.next = event.offset + 1;
        Step::Deliver
    }

    /// A cumulative acknowledgement; `Err` when it is ahead of what was delivered.
    pub(crate) fn ack(&mut self, next: i64) -> Result<(), Ahead> {
        if next > self.next {
            return Err(Ahead);
        }
        self.acked_elsewhere(next);
        Ok(())
    }

    /// The same, when it came another way: it may well be ahead of what was delivered here.
    pub(crate) fn acked_elsewhere(&mut self, next: i64) {
        if let Some(window) = &mut self.window {
            window.acked(next);
            if self.mode == Mode::Paused && !window.is_full() {
                self.mode = Mode::Ready;
            }
        }
    }
}

/// An acknowledgement ahead of what was delivered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ahead;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sub(types: Option<&[&str]>, window: Option<u32>) -> Sub {
        let channel = Channel::parse("session.a").unwrap();
        Sub {
            serial: 1,
            asked: channel.clone(),
            channel,
            wanted: Wanted {
                types: types.map(|t| t.iter().map(|n| (*n).to_owned()).collect()),
                user: "u1".into(),
            },
            mode: Mode::Live,
            slot: None,
            next: 0,
            announce: false,
            window: window.map(|max| Box::new(Window::new(max))),
            durable: None,
            opening: None,
        }
    }

    #[test]
    fn an_event_is_delivered_once_however_often_it_is_offered() {
        let mut sub = sub(None, None);
        let event = Delivered::sample(7, "draw", None);
        assert_eq!(sub.step(&event), Step::Deliver);
        assert_eq!(sub.step(&event), Step::Pass);
        assert_eq!(sub.next, 8);
    }

    #[test]
    fn what_is_not_wanted_moves_the_position_and_takes_no_window() {
        let mut sub = sub(Some(&["draw"]), Some(1));
        assert_eq!(sub.step(&Delivered::sample(1, "erase", None)), Step::Pass);
        assert_eq!(
            sub.step(&Delivered::sample(2, "draw", Some(&["u2"]))),
            Step::Pass
        );
        assert_eq!(sub.next, 3);
        assert_eq!(
            sub.step(&Delivered::sample(3, "draw", Some(&["u1"]))),
            Step::Deliver
        );
        assert_eq!(sub.step(&Delivered::sample(4, "draw", None)), Step::Full);
        assert_eq!(sub.next, 4);
    }

    #[test]
    fn what_another_reader_of_the_name_acknowledged_takes_no_window_here() {
        let mut sub = sub(None, Some(1));
        sub.acked_elsewhere(3);
        for offset in 0..3 {
            assert_eq!(
                sub.step(&Delivered::sample(offset, "draw", None)),
                Step::Deliver
            );
        }
        assert_eq!(sub.step(&Delivered::sample(3, "draw", None)), Step::Deliver);
        assert_eq!(sub.step(&Delivered::sample(4, "draw", None)), Step::Full);
        sub.mode = Mode::Paused;
        sub.acked_elsewhere(4);
        assert_eq!(sub.mode, Mode::Ready);
    }

    proptest! {
        #[test]
        fn a_window_is_never_exceeded_and_every_event_comes_in_order(
            window in 1u32..8,
            acks in prop::collection::vec(0usize..6, 60),
        ) {
            let mut sub = sub(None, Some(window));
            let (mut delivered, mut acked) = (Vec::new(), 0usize);
            for ack in acks {
                // Offer from where the subscription stands until it can take no more.
                while delivered.len() < 40 {
                    let event = Delivered::sample(sub.next.max(delivered.len() as i64), "draw", None);
                    match sub.step(&event) {
                        Step::Deliver => delivered.push(event.offset),
                        Step::Full => { sub.mode = Mode::Paused; break; }
                        Step::Pass => unreachable!(),
                    }
                }
                prop_assert!(delivered.len() - acked <= window as usize);
                acked = (acked + ack).min(delivered.len());
                prop_assert_eq!(sub.ack(acked as i64), Ok(()));
                prop_assert_eq!(sub.ack(sub.next + 1), Err(Ahead));
            }
            prop_assert_eq!(delivered.clone(), (0..delivered.len() as i64).collect::<Vec<_>>());
        }
    }
}
