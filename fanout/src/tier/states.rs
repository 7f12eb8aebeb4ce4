//! Acceptance states where earlier readings of the log ended, so that the next one is judged from there and not from
//! the checkpoint again. Bounded by bytes; the least recently used goes first, and only costs a longer reading. Pure.

use std::collections::{BTreeMap, HashMap};

use schemas::Channel;
use state::ChannelState;

/// Bytes of all states together.
const BYTES_MAX: usize = 32 << 20;
/// States of one channel: readers that are behind stand in different places.
const PLACES_MAX: usize = 64;

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct States {
    channels: HashMap<Channel, BTreeMap<i64, Known>>,
    /// By the time of use, which is a count.
    used: BTreeMap<u64, (Channel, i64)>,
    clock: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Known {
    state: ChannelState,
    weight: usize,
    used: u64,
}

impl States {
    /// The state nearest before `next`, and the offset up to which it has judged everything.
    pub(crate) fn before(&mut self, channel: &Channel, next: i64) -> Option<(i64, ChannelState)> {
        let (&at, known) = self
            .channels
            .get_mut(channel)?
            .range_mut(..=next)
            .next_back()?;
        self.clock += 1;
        self.used.remove(&known.used);
        known.used = self.clock;
        self.used.insert(self.clock, (channel.clone(), at));
        Some((at, known.state.clone()))
    }

    /// Remembers the state of a channel that has judged everything below `at`.
    pub(crate) fn put(&mut self, channel: &Channel, at: i64, state: ChannelState) {
        self.remove(channel, at);
        self.clock += 1;
        let weight = state.acceptance.weight() + 128;
        let known = Known {
            state,
            weight,
            used: self.clock,
        };
        self.bytes += weight;
        self.used.insert(self.clock, (channel.clone(), at));
        let places = self.channels.entry(channel.clone()).or_default();
        places.insert(at, known);
        let crowded = (places.len() > PLACES_MAX)
            .then(|| places.iter().min_by_key(|(_, known)| known.used))
            .flatten()
            .map(|(at, _)| *at);
        if let Some(oldest) = crowded {
            self.remove(channel, oldest);
        }
        while self.bytes > BYTES_MAX
            && let Some((_, (channel, at))) = self.used.first_key_value()
        {
            let (channel, at) = (channel.clone(), *at);
            self.remove(&channel, at);
        }
    }

    /// Forgets what was known of a channel: the log is no longer the one that it was judged by.
    pub(crate) fn forget(&mut self, channel: &Channel) {
        for known in self.channels.remove(channel).into_iter().flatten() {
            self.used.remove(&known.1.used);
            self.bytes -= known.1.weight;
        }
    }

    fn remove(&mut self, channel: &Channel, at: i64) {
        let Some(places) = self.channels.get_mut(channel) else {
            return;
        };
        if let Some(known) = places.remove(&at) {
            self.used.remove(&known.used);
            self.bytes -= known.weight;
        }
        if places.is_empty() {
            self.channels.remove(channel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Channel {
        Channel::parse(name).unwrap()
    }

    fn state(last: i64) -> ChannelState {
        ChannelState {
            last: Some(last),
            ..ChannelState::new()
        }
    }

    #[test]
    fn the_nearest_state_before_a_place_is_found_and_none_after_it() {
        let (a, b) = (channel("session.a"), channel("session.b"));
        let mut states = States::default();
        states.put(&a, 10, state(9));
        states.put(&a, 20, state(19));
        states.put(&b, 15, state(14));
        let found = |states: &mut States, next| states.before(&a, next).map(|(at, s)| (at, s.last));
        assert_eq!(found(&mut states, 9), None);
        assert_eq!(found(&mut states, 19), Some((10, Some(9))));
        assert_eq!(found(&mut states, 20), Some((20, Some(19))));
        states.forget(&a);
        assert_eq!(found(&mut states, 20), None);
        assert!(states.before(&b, 15).is_some());
    }

    #[test]
    fn memory_is_bounded_and_what_was_used_last_stays() {
        let mut states = States::default();
        let a = channel("session.a");
        states.put(&a, 0, state(0));
        for at in 1..1_000 {
            states.before(&a, 0);
            states.put(&a, at, state(at));
        }
        assert!(states.channels[&a].len() <= PLACES_MAX);
        assert_eq!(states.before(&a, 0).map(|(at, _)| at), Some(0));
        assert_eq!(states.used.len(), states.channels[&a].len());
        states.forget(&a);
        assert_eq!((states.bytes, states.used.len()), (0, 0));
    }
}
