//! The state of a hot channel, kept beside its ring.

use bytes::Bytes;
use schemas::Channel;
use state::{Entry, Fold};

/// A channel's fold, as far as it is known.
#[derive(Debug)]
pub(crate) struct Folded {
    fold: Fold,
    /// It has all of the channel's events. What only has the last of them still tells a job's owner, and no state.
    whole: bool,
    /// Built at first use and shared until the next event.
    view: Option<Bytes>,
}

impl Folded {
    /// A fold; whether it has all of the channel's events so far.
    pub(crate) fn new(fold: Fold, whole: bool) -> Self {
        let whole = whole || !fold.is_moved();
        Self {
            fold,
            whole,
            view: None,
        }
    }

    /// The fold of a channel that had no event.
    pub(crate) fn of(channel: &Channel, whole: bool) -> Self {
        Self::new(Fold::of(channel), whole)
    }

    /// The channel's next accepted event.
    pub(crate) fn apply(&mut self, entry: &Entry<'_>) {
        if self.fold.is_moved() {
            self.fold.apply(entry);
            self.view = None;
        }
    }

    /// The state as clients are told it; `None` when some of its events are not known.
    pub(crate) fn view(&mut self) -> Option<Bytes> {
        if !self.whole {
            return None;
        }
        let view = self.view.get_or_insert_with(|| self.fold.view().into());
        Some(view.clone())
    }

    /// The user that the channel's job runs for.
    pub(crate) fn job_owner(&self) -> Option<&str> {
        self.fold.job()?.owner_id.as_deref()
    }

    /// Bytes it occupies, about. The view counts though it may not be built yet: the sum must not change unless an
    /// event does it.
    pub(crate) fn weight(&self) -> usize {
        2 * self.fold.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(data: &str) -> Entry<'_> {
        Entry {
            offset: 3,
            at_ms: 5,
            id: "a",
            name: "job.update",
            user: None,
            data: data.as_bytes(),
        }
    }

    #[test]
    fn the_view_follows_every_event_and_an_incomplete_one_is_never_told() {
        let jobs = Channel::parse("jobs.9f").unwrap();
        let (mut whole, mut part) = (Folded::of(&jobs, true), Folded::of(&jobs, false));
        assert_eq!(whole.view().unwrap(), "null");
        let running = update(r#"{"jobId":"9f","status":"running","ownerId":"u1"}"#);
        for folded in [&mut whole, &mut part] {
            let before = folded.weight();
            folded.apply(&running);
            assert!(folded.weight() > before);
            assert_eq!(folded.job_owner(), Some("u1"));
        }
        assert!(whole.view().unwrap().starts_with(b"{\"jobId\":\"9f\""));
        assert_eq!(part.view(), None);
    }

    #[test]
    fn where_events_move_nothing_the_state_is_always_known() {
        let mut plain = Folded::of(&Channel::parse("user.u1").unwrap(), false);
        plain.apply(&update("{}"));
        assert_eq!(
            (plain.view().unwrap(), plain.weight()),
            (Bytes::from("null"), 0)
        );
    }
}
