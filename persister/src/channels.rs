//! The states of a partition's channels that are in memory. Any of them may be forgotten after a commit: the store
//! has them all as of the committed offset.

use std::time::{Duration, Instant};

use lru::LruCache;
use schemas::{Channel, Event};
use state::{Acceptance, ChannelState, IdState, Judged, ProducerState};

use crate::folds::Folded;

/// A channel that was quiet for this long has no ids left that matter.
const IDLE: Duration = Duration::from_millis(state::HORIZON_MS.unsigned_abs());
/// What a channel weighs besides its acceptance rule and its state: its name, its place in the cache.
const WEIGHT_BESIDES: usize = 512;

#[derive(Debug)]
pub(crate) struct Channels {
    held: LruCache<Channel, Held>,
    weight: usize,
}

#[derive(Debug)]
struct Held {
    state: ChannelState,
    folded: Folded,
    used: Instant,
    weight: usize,
}

impl Channels {
    pub(crate) fn new() -> Channels {
        Channels {
            // Bounded by weight, in `forget`.
            held: LruCache::unbounded(),
            weight: 0,
        }
    }

    pub(crate) fn knows(&self, channel: &Channel) -> bool {
        self.held.contains(channel)
    }

    /// Takes up a channel as the store knows it, with its state as of the same offset.
    pub(crate) fn learn(&mut self, channel: Channel, known: store::ChannelState, folded: Folded) {
        let mut held = Held {
            state: restored(
                service::planted!("persister_forgets", store::ChannelState::default() => known),
            ),
            folded,
            used: Instant::now(),
            weight: 0,
        };
        held.weigh();
        self.weight += held.weight;
        if let Some(before) = self.held.put(channel, held) {
            self.weight -= before.weight;
        }
    }

    /// Judges the next record of a known channel, and gives its state to whoever folds the event. An unknown channel is
    /// a defect of the caller and counts as new.
    pub(crate) fn judge(
        &mut self,
        event: &Event,
        offset: i64,
        at_ms: i64,
    ) -> (Judged, &mut Folded) {
        if !self.knows(&event.channel) {
            debug_assert!(false, "{} was not loaded", event.channel);
            let unknown = store::ChannelState::default();
            self.learn(event.channel.clone(), unknown, Folded::new(&event.channel));
        }
        let held = self
            .held
            .get_mut(&event.channel)
            .expect("a channel that was learnt just now");
        held.used = Instant::now();
        let judged = held.state.judge(event, offset, at_ms);
        self.weight -= held.weight;
        held.weigh();
        self.weight += held.weight;
        (judged, &mut held.folded)
    }

    /// The state of a known channel.
    pub(crate) fn folded(&mut self, channel: &Channel) -> Option<&mut Folded> {
        self.held.peek_mut(channel).map(|held| &mut held.folded)
    }

    /// After a commit: forgets idle channels, and the longest unused ones while all weigh more than `bytes_max`.
    pub(crate) fn forget(&mut self, bytes_max: usize) {
        let now = Instant::now();
        while let Some((_, held)) = self.held.peek_lru()
            && (self.weight > bytes_max || now.duration_since(held.used) > IDLE)
        {
            if let Some((_, held)) = self.held.pop_lru() {
                self.weight -= held.weight;
            }
        }
    }
}

impl Held {
    fn weigh(&mut self) {
        self.weight = self.state.acceptance.weight() + self.folded.fold().weight() + WEIGHT_BESIDES;
    }
}

fn restored(known: store::ChannelState) -> ChannelState {
    let outboxes = |known: Vec<store::ProducerState>| {
        known.into_iter().map(|producer| ProducerState {
            user: producer.user,
            producer: producer.producer,
            epoch: producer.epoch,
            seq: producer.seq,
        })
    };
    let ids = known.ids.into_iter().map(|known| IdState {
        id: known.id,
        log_time_ms: known.log_time_ms,
    });
    let acceptance = Acceptance::restore(outboxes(known.producers), ids, known.log_time_ms);
    ChannelState {
        acceptance: match known.unheard {
            Some(unheard) => acceptance.with_unheard(outboxes(unheard)),
            None => acceptance,
        },
        last: known.last,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use schemas::{EventName, Lane};

    use super::*;

    fn event(channel: &str, id: &str) -> Event {
        Event {
            channel: Channel::parse(channel).unwrap(),
            name: EventName::parse("draw").unwrap(),
            id: id.into(),
            id_given: true,
            user_id: None,
            data: Bytes::from_static(b"null"),
            to: None,
            lane: Lane::Durable,
            outbox: None,
            traceparent: None,
        }
    }

    #[test]
    fn the_longest_unused_channels_are_forgotten_first() {
        let mut channels = Channels::new();
        for n in 0..100 {
            let event = event(&format!("session.{n}"), "a");
            let unknown = store::ChannelState::default();
            channels.learn(event.channel.clone(), unknown, Folded::new(&event.channel));
            channels.judge(&event, n, 1);
        }
        let half = channels.weight / 2;
        channels.forget(half);
        assert!(channels.weight <= half && channels.weight > 0);
        assert!(channels.knows(&Channel::parse("session.99").unwrap()));
        assert!(!channels.knows(&Channel::parse("session.0").unwrap()));
        channels.forget(0);
        assert_eq!(channels.weight, 0);
    }

    #[test]
    fn a_restored_channel_judges_as_the_one_that_was_forgotten() {
        let mut channels = Channels::new();
        let known = store::ChannelState {
            log_time_ms: 1000,
            last: Some(7),
            ids: vec![store::KnownId {
                id: "a".into(),
                log_time_ms: 1000,
            }],
            ..store::ChannelState::default()
        };
        let channel = Channel::parse("session.1").unwrap();
        let folded = Folded::new(&channel);
        channels.learn(channel, known, folded);
        let (again, _) = channels.judge(&event("session.1", "a"), 8, 1001);
        assert_eq!(again, Judged::Void(state::Void::Duplicate));
        let (new, _) = channels.judge(&event("session.1", "b"), 9, 1002);
        assert_eq!(
            new,
            Judged::Accepted {
                prev: Some(7),
                log_time_ms: 1002
            }
        );
    }
}
