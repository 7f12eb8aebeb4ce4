//! The kept cursors that matter to somebody on this node: how far each is known to be, and which subscriptions hear of
//! it. Pure.

use std::{collections::HashMap, sync::Arc};

use schemas::KeptKey;

use super::{Mark, reach};

/// `S` is where a subscription is told.
#[derive(Debug)]
pub(super) struct Audience<S> {
    watched: HashMap<Arc<KeptKey>, Watched<S>>,
    seats: u64,
}

#[derive(Debug)]
struct Watched<S> {
    known: Option<Mark>,
    seats: Vec<(u64, Option<S>)>,
}

impl<S: Clone> Audience<S> {
    pub(super) fn new() -> Self {
        Self {
            watched: HashMap::new(),
            seats: 0,
        }
    }

    /// One more takes an interest; the number is its own, until [`Audience::leave`].
    pub(super) fn enter(&mut self, key: &Arc<KeptKey>) -> u64 {
        self.seats += 1;
        let watched = self
            .watched
            .entry(Arc::clone(key))
            .or_insert_with(|| Watched {
                known: None,
                seats: Vec::new(),
            });
        watched.seats.push((self.seats, None));
        self.seats
    }

    /// From now on it is told at `address`; what is known by now is not told again.
    pub(super) fn sit(&mut self, key: &KeptKey, seat: u64, address: S) -> Option<Mark> {
        let watched = self.watched.get_mut(key)?;
        let mine = watched.seats.iter_mut().find(|(s, _)| *s == seat)?;
        mine.1 = Some(address);
        watched.known
    }

    pub(super) fn leave(&mut self, key: &KeptKey, seat: u64) {
        if let Some(watched) = self.watched.get_mut(key) {
            watched.seats.retain(|(s, _)| *s != seat);
            if watched.seats.is_empty() {
                self.watched.remove(key);
            }
        }
    }

    /// How far the key is known to be kept; `None` also when nobody is interested.
    pub(super) fn known(&self, key: &KeptKey) -> Option<Mark> {
        self.watched.get(key).and_then(|watched| watched.known)
    }

    pub(super) fn watches(&self, key: &KeptKey) -> bool {
        self.watched.contains_key(key)
    }

    /// The key is kept this far: who has to hear of it.
    pub(super) fn learn(&mut self, key: &KeptKey, mark: Mark) -> Vec<S> {
        let Some(watched) = self.watched.get_mut(key) else {
            return Vec::new();
        };
        if watched
            .known
            .is_some_and(|known| reach(mark.position) <= reach(known.position))
        {
            return Vec::new();
        }
        watched.known = Some(mark);
        watched
            .seats
            .iter()
            .filter_map(|(_, address)| address.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use protocol::Position;
    use schemas::Channel;

    use super::*;

    fn mark(next: i64) -> Mark {
        Mark {
            position: Position {
                generation: 0,
                partition: 0,
                next,
            },
            at_ms: 0,
        }
    }

    #[test]
    fn who_sits_is_told_once_of_each_step_and_nothing_is_left_behind() {
        let key = Arc::new(KeptKey {
            channel: Channel::parse("session.42").unwrap(),
            user: "u1".into(),
            durable: "tab".into(),
        });
        let mut audience = Audience::new();
        assert!(audience.learn(&key, mark(1)).is_empty());
        let (one, other) = (audience.enter(&key), audience.enter(&key));
        assert!(audience.learn(&key, mark(5)).is_empty(), "nobody sits yet");
        assert_eq!(audience.sit(&key, one, "one"), Some(mark(5)));
        assert_eq!(audience.learn(&key, mark(7)), ["one"]);
        audience.sit(&key, other, "other");
        assert!(audience.learn(&key, mark(6)).is_empty());
        assert_eq!(audience.learn(&key, mark(8)), ["one", "other"]);
        audience.leave(&key, one);
        assert_eq!(audience.learn(&key, mark(9)), ["other"]);
        audience.leave(&key, other);
        assert!(!audience.watches(&key));
    }
}
