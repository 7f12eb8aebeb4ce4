//! What one subscriber got of one channel.

use client::Event;

use super::{Accepted, Fact, assert_same, facts};

/// Events in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Received(pub Vec<Event>);

impl Received {
    /// Asserts that these are exactly the accepted events, in order, and that each is well placed:
    /// cursors ascend, `prev` names the event before, and the frame's own fields say what the log says.
    pub fn assert_equal(&self, who: &str, accepted: &[Accepted]) {
        assert_same(who, &self.facts(), &facts(accepted));
        self.assert_chain(who);
        for (event, accepted) in self.0.iter().zip(accepted) {
            assert_eq!(
                event.addressed,
                accepted.to.is_some(),
                "{who}: `addressed` of {event:?}"
            );
        }
    }

    /// Asserts that cursors ascend and that each `prev` names the event before that everybody may see. The first
    /// event's own `prev` is not judged: it depends on where the reading began.
    pub fn assert_chain(&self, who: &str) {
        let mut last: Option<&Event> = None;
        let mut shared: Option<&str> = None;
        for event in &self.0 {
            let cursor = event
                .cursor
                .as_deref()
                .unwrap_or_else(|| panic!("{who}: a durable event without cursor: {event:?}"));
            if let Some(last) = last {
                assert!(
                    last.cursor.as_deref() < Some(cursor),
                    "{who}: {last:?} sorts after {event:?}"
                );
            }
            if let Some(shared) = shared {
                assert_eq!(
                    event.prev.as_deref(),
                    Some(shared),
                    "{who}: `prev` of {event:?}"
                );
            }
            if !event.addressed {
                shared = Some(cursor);
            }
            last = Some(event);
        }
    }

    /// What the events say.
    pub fn facts(&self) -> Vec<Fact> {
        let fact = |event: &Event| Fact {
            id: event.id.clone(),
            event: event.name.clone(),
            user_id: event.user_id.clone(),
            data: event.data.clone(),
            timestamp_ms: event.timestamp_ms,
        };
        self.0.iter().map(fact).collect()
    }

    /// The events as they came over the wire: equal for all subscribers.
    pub fn raw(&self) -> Vec<&str> {
        self.0.iter().map(|event| event.raw.as_str()).collect()
    }
}
