//! The chain of a channel's accepted events: each names the one before it.

use schemas::Event;

use crate::{Acceptance, Verdict, Void};

/// What a channel's durable records add up to.
#[derive(Debug, Clone, Default)]
pub struct ChannelState {
    /// Which records count.
    pub acceptance: Acceptance,
    /// Offset of the last accepted event that every reader of the channel may see.
    pub last: Option<i64>,
}

/// The verdict on one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It is an event of the channel.
    Accepted {
        /// Offset of the event before it that everybody may see; `None` for the first, and for the first after
        /// records were lost.
        prev: Option<i64>,
        /// The channel's log time with it.
        log_time_ms: i64,
    },
    /// It counts for nobody.
    Void(Void),
}

impl ChannelState {
    /// The state before the first record.
    pub fn new() -> ChannelState {
        ChannelState::default()
    }

    /// The state of a channel whose records so far were lost.
    pub fn after_loss() -> ChannelState {
        let mut state = ChannelState::new();
        state.lose();
        state
    }

    /// The records that come next were lost: what counted of them nobody knows, so the first event after them names
    /// none before it.
    pub fn lose(&mut self) {
        self.acceptance.lose();
        self.last = None;
    }

    /// Judges the channel's next durable record and moves on. Offsets must rise.
    pub fn judge(&mut self, event: &Event, offset: i64, at_ms: i64) -> Judged {
        match self.acceptance.apply(event, at_ms) {
            Verdict::Void(void) => Judged::Void(void),
            Verdict::Accepted { log_time_ms } => {
                let prev = self.last;
                if event.to.is_none() {
                    self.last = Some(offset);
                }
                Judged::Accepted { prev, log_time_ms }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::event;

    fn prev(judged: Judged) -> Option<i64> {
        match judged {
            Judged::Accepted { prev, .. } => prev,
            Judged::Void(void) => panic!("void: {void:?}"),
        }
    }

    #[test]
    fn each_event_names_the_last_one_that_everybody_may_see() {
        let mut state = ChannelState::new();
        assert_eq!(prev(state.judge(&event("a"), 3, 1)), None);
        assert_eq!(prev(state.judge(&event("b"), 7, 2)), Some(3));
        let mut whisper = event("c");
        whisper.to = Some(vec!["u2".into()]);
        assert_eq!(prev(state.judge(&whisper, 8, 3)), Some(7));
        assert_eq!(prev(state.judge(&event("d"), 9, 4)), Some(7));
        assert_eq!(prev(state.judge(&event("e"), 10, 5)), Some(9));
    }

    #[test]
    fn the_first_event_after_a_loss_names_none_before_it() {
        let mut state = ChannelState::new();
        state.judge(&event("a"), 0, 1);
        state.lose();
        assert_eq!(prev(state.judge(&event("b"), 7, 2)), None);
        assert_eq!(prev(state.judge(&event("c"), 8, 3)), Some(7));
    }

    #[test]
    fn a_void_record_is_nobodys_prev() {
        let mut state = ChannelState::new();
        state.judge(&event("a"), 0, 1);
        assert_eq!(
            state.judge(&event("a"), 1, 2),
            Judged::Void(Void::Duplicate)
        );
        assert_eq!(prev(state.judge(&event("b"), 2, 3)), Some(0));
    }
}
