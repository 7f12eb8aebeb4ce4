//! Where one channel's reading stands: what is new, what is a repetition, and whether something is missing.
//!
//! Events go in, verdicts come out. The invariant: the events judged [`Verdict::New`] are, in order, exactly
//! the channel's events after the position where the reading began.

use crate::message::Event;

/// What an event is to a reading that stands at a known position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The next one: deliver it.
    New,
    /// It was delivered before: drop it.
    Repeated,
    /// Its `prev` is not the event that was delivered last: something between is missing.
    Broken {
        /// What `prev` should have been.
        expected: Option<String>,
        /// What it is.
        found: Option<String>,
    },
}

/// What is known about the last event that every reader may see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Shared {
    /// Nothing: the reading began between two events.
    #[default]
    Unknown,
    /// It is at or before this position: the reading began at a cursor.
    Upto(String),
    /// It is exactly this.
    At(String),
}

/// The position of one reading of one channel.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    position: Option<String>,
    shared: Shared,
    filtered: bool,
}

impl Chain {
    /// A reading that has not begun. `filtered`: it asked for some types only, so `prev` proves nothing.
    pub fn new(filtered: bool) -> Chain {
        Chain {
            position: None,
            shared: Shared::Unknown,
            filtered,
        }
    }

    /// A reading that goes on from a cursor which an earlier one left.
    pub fn resumed(cursor: String, filtered: bool) -> Chain {
        Chain {
            position: Some(cursor.clone()),
            shared: Shared::Upto(cursor),
            filtered,
        }
    }

    /// The cursor to resume from; none before anything is known.
    pub fn position(&self) -> Option<&str> {
        self.position.as_deref()
    }

    /// The server said that nothing before `cursor` is owed any more (a response, `caught_up`, a heartbeat).
    /// Older positions are ignored. The chain stays what it was: a position is not an event.
    pub fn advance(&mut self, cursor: &str) {
        if self
            .position
            .as_deref()
            .is_none_or(|position| position < cursor)
        {
            self.position = Some(cursor.to_owned());
        }
    }

    /// The server said that a range is gone: the next event may follow anything.
    pub fn forget_predecessor(&mut self) {
        self.shared = Shared::Unknown;
    }

    /// Starts again from nothing, as after a `subscribe` that was not a resume.
    pub fn restart(&mut self) {
        self.position = None;
        self.shared = Shared::Unknown;
    }

    /// Judges an event and, when it is new, moves on. Ephemeral events (no cursor) are always new.
    pub fn judge(&mut self, event: &Event) -> Verdict {
        let Some(cursor) = &event.cursor else {
            return Verdict::New;
        };
        if self
            .position
            .as_deref()
            .is_some_and(|position| cursor.as_str() <= position)
        {
            return Verdict::Repeated;
        }
        let fits = self.filtered
            || match (&self.shared, &event.prev) {
                (Shared::Unknown, _) | (Shared::Upto(_), None) => true,
                (Shared::Upto(bound), Some(prev)) => prev <= bound,
                (Shared::At(last), prev) => prev.as_ref() == Some(last),
            };
        if !fits {
            let expected = match &self.shared {
                Shared::Upto(cursor) | Shared::At(cursor) => Some(cursor.clone()),
                Shared::Unknown => None,
            };
            return Verdict::Broken {
                expected,
                found: event.prev.clone(),
            };
        }
        self.accept(event, cursor);
        Verdict::New
    }

    /// Takes an event as new whatever its `prev`: for a reader that has said aloud that something is missing.
    pub fn accept_broken(&mut self, event: &Event) {
        if let Some(cursor) = &event.cursor {
            self.accept(event, cursor);
        }
    }

    fn accept(&mut self, event: &Event, cursor: &str) {
        self.position = Some(cursor.to_owned());
        if event.addressed {
            // It names the shared event before it, which is worth knowing when we did not.
            if let (Shared::Unknown | Shared::Upto(_), Some(prev)) = (&self.shared, &event.prev) {
                self.shared = Shared::At(prev.clone());
            }
        } else {
            self.shared = Shared::At(cursor.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(cursor: &str, prev: Option<&str>, addressed: bool) -> Event {
        Event {
            channel: "session.1".into(),
            name: "draw".into(),
            id: cursor.into(),
            user_id: None,
            data: "null".into(),
            timestamp_ms: 0,
            cursor: Some(cursor.into()),
            prev: prev.map(Into::into),
            addressed,
            replaced: None,
            replay: false,
            raw: String::new(),
        }
    }

    #[test]
    fn a_whole_chain_is_new_and_its_repetition_is_repeated() {
        let mut chain = Chain::new(false);
        let events = [
            event("a", None, false),
            event("b", Some("a"), false),
            event("c", Some("b"), false),
        ];
        assert!(
            events
                .iter()
                .all(|event| chain.judge(event) == Verdict::New)
        );
        assert!(
            events
                .iter()
                .all(|event| chain.judge(event) == Verdict::Repeated)
        );
        assert_eq!(chain.position(), Some("c"));
    }

    #[test]
    fn a_missing_event_breaks_the_chain_and_does_not_move_it() {
        let mut chain = Chain::new(false);
        chain.judge(&event("a", None, false));
        let late = event("c", Some("b"), false);
        let broken = Verdict::Broken {
            expected: Some("a".into()),
            found: Some("b".into()),
        };
        assert_eq!(chain.judge(&late), broken);
        assert_eq!(chain.position(), Some("a"));
        chain.accept_broken(&late);
        assert_eq!(chain.judge(&event("d", Some("c"), false)), Verdict::New);
    }

    #[test]
    fn an_addressed_event_moves_the_position_but_is_nobodys_prev() {
        let mut chain = Chain::new(false);
        chain.judge(&event("a", None, false));
        assert_eq!(chain.judge(&event("b", Some("a"), true)), Verdict::New);
        assert_eq!(chain.position(), Some("b"));
        assert_eq!(chain.judge(&event("c", Some("a"), false)), Verdict::New);
    }

    #[test]
    fn after_a_resume_prev_may_not_lie_beyond_the_cursor() {
        let mut chain = Chain::resumed("m".into(), false);
        assert!(matches!(
            chain.judge(&event("p", Some("n"), false)),
            Verdict::Broken { .. }
        ));
        assert_eq!(chain.judge(&event("n", Some("k"), false)), Verdict::New);
        assert_eq!(chain.judge(&event("p", Some("n"), false)), Verdict::New);
    }

    #[test]
    fn a_gap_said_aloud_is_no_break() {
        let mut chain = Chain::new(false);
        chain.judge(&event("a", None, false));
        chain.forget_predecessor();
        assert_eq!(chain.judge(&event("x", Some("w"), false)), Verdict::New);
        assert_eq!(chain.judge(&event("y", Some("x"), false)), Verdict::New);
    }

    #[test]
    fn a_filtered_reading_does_not_look_at_prev() {
        let mut chain = Chain::new(true);
        chain.judge(&event("a", None, false));
        assert_eq!(chain.judge(&event("c", Some("b"), false)), Verdict::New);
        assert_eq!(
            chain.judge(&event("b", Some("a"), false)),
            Verdict::Repeated
        );
    }

    #[test]
    fn a_position_drops_what_is_older_and_never_goes_back() {
        let mut chain = Chain::new(false);
        chain.advance("m");
        chain.advance("c");
        assert_eq!(chain.position(), Some("m"));
        assert_eq!(chain.judge(&event("m", None, false)), Verdict::Repeated);
        assert_eq!(chain.judge(&event("n", Some("k"), false)), Verdict::New);
    }
}
