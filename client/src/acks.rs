//! What a reader has acknowledged, and what of it the server may be told now. Pure.
//!
//! A server takes no acknowledgement ahead of what it has delivered to this subscription, and after a reconnect it may
//! deliver again what was handled long ago. So what the reader acknowledged is told only as far as it has come again.

use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// The furthest that the reader acknowledged.
    handled: Option<String>,
    /// The furthest that the present subscription has brought.
    seen: Option<String>,
    /// The furthest that it was told.
    told: Option<String>,
    /// The server asked not to be told before.
    pub(crate) not_before: Option<Instant>,
}

impl Acks {
    /// A new subscription begins.
    pub(crate) fn begin(&mut self) {
        (self.seen, self.told, self.not_before) = (None, None, None);
    }

    /// The position of the response, an event, new or again, or `caught_up`.
    pub(crate) fn saw(&mut self, cursor: &str) {
        raise(&mut self.seen, cursor);
    }

    /// The reader is done with everything up to here.
    pub(crate) fn handled(&mut self, cursor: &str) {
        raise(&mut self.handled, cursor);
    }

    /// The acknowledgement to send now, once.
    pub(crate) fn next(&mut self, now: Instant) -> Option<String> {
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.not_before = None;
        let to = self.handled.as_ref().min(self.seen.as_ref())?;
        if self.told.as_ref().is_some_and(|told| told >= to) {
            return None;
        }
        self.told = Some(to.clone());
        self.told.clone()
    }

    /// The server had no room for the last one: again from this moment on.
    pub(crate) fn refused(&mut self, at: Instant) {
        self.told = None;
        self.not_before = Some(at);
    }
}

fn raise(known: &mut Option<String>, cursor: &str) {
    if known.as_deref().is_none_or(|known| known < cursor) {
        *known = Some(cursor.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tell(acks: &mut Acks) -> Option<String> {
        acks.next(Instant::now())
    }

    #[test]
    fn each_is_told_once_and_never_ahead_of_what_came() {
        let mut acks = Acks::default();
        acks.handled("c5");
        assert_eq!(tell(&mut acks), None);
        acks.saw("c3");
        assert_eq!(tell(&mut acks).as_deref(), Some("c3"));
        assert_eq!(tell(&mut acks), None);
        acks.saw("c4");
        assert_eq!(tell(&mut acks).as_deref(), Some("c4"));
        assert_eq!(tell(&mut acks), None);
        acks.saw("c9");
        assert_eq!(tell(&mut acks).as_deref(), Some("c5"));
        acks.handled("c4");
        assert_eq!(tell(&mut acks), None);
    }

    #[test]
    fn after_a_reconnect_what_comes_again_is_acknowledged_again() {
        let mut acks = Acks::default();
        acks.saw("c4");
        acks.handled("c4");
        assert_eq!(tell(&mut acks).as_deref(), Some("c4"));
        // The server had not kept it, and its window is as wide as what it sends again.
        acks.begin();
        assert_eq!(tell(&mut acks), None);
        acks.saw("c1");
        assert_eq!(tell(&mut acks).as_deref(), Some("c1"));
        acks.saw("c4");
        assert_eq!(tell(&mut acks).as_deref(), Some("c4"));
        acks.saw("c5");
        assert_eq!(tell(&mut acks), None);
    }

    #[test]
    fn a_refused_one_is_told_again_when_the_server_said() {
        let mut acks = Acks::default();
        acks.saw("c1");
        acks.handled("c1");
        let now = Instant::now();
        assert!(acks.next(now).is_some());
        acks.refused(now + Duration::from_secs(1));
        assert_eq!(acks.next(now), None);
        assert!(acks.next(now + Duration::from_secs(1)).is_some());
    }
}
